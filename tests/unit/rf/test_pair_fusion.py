"""Sparse images of pairs that are not coherent, through the stages, against dense iterations."""

import numpy as np
import pytest
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross

from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene

FREQUENCIES = np.linspace(9.6e9, 10.4e9, 6)
SCENE = Scene((7, 6, 5), (0.12, 0.1, 0.15))
# Pairs that see nearly the same, or alternation needs many rounds.
PAIRS = [mills_cross((4, 3), 0.6, 12.0, (0.02, 0.003 * index)) for index in range(3)]
PHASES = np.exp(1j * np.array([0.0, 2.0, -1.3]))
SPARSITY = 0.1
COMMON = {"model": "W+D(fc)", "sparsity": SPARSITY, "precision": "double"}


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Return the folder, and of each pair its dense matrix and its measurement."""
    folder = tmp_path_factory.mktemp("turned")
    generator = np.random.default_rng(5)
    truth = np.zeros(SCENE.voxels, np.complex128)
    truth[[30, 101, 160]] = 1, 1j, -0.8
    columns = [
        pair_model(SCENE, pair, FREQUENCIES, "W+D(fc)").columns(np.arange(SCENE.voxels))
        for pair in PAIRS
    ]
    matrices = [one.reshape(-1, SCENE.voxels) for one in columns]
    data = []
    for one, phase in zip(matrices, PHASES, strict=True):
        clean = one @ truth * phase
        noise = generator.standard_normal((2, len(clean))) * 0.1 * np.abs(clean).mean()
        data.append(clean + noise[0] + 1j * noise[1])
    shapes = [(1, len(FREQUENCIES), *pair.measurement_shape) for pair in PAIRS]
    written = [values.reshape(shape) for values, shape in zip(data, shapes, strict=True)]
    write_pairs(folder, SCENE, PAIRS, FREQUENCIES, measured=written)
    return folder, matrices, [values.astype(np.complex64).astype(complex) for values in data]


def group_sparse(grams, rights):
    """Return images ``(pair, voxel)`` by 1500 dense proximal gradients, with Nesterov's momentum.

    Groups are the voxels of all pairs; the weight is relative to the brightest of the start.
    """
    weight = SPARSITY * np.linalg.norm(rights, axis=0).max()
    step = 1 / max(np.linalg.eigvalsh(gram)[-1] for gram in grams)
    image = old = np.zeros_like(rights)
    for count in range(1500):
        ahead = image + count / (count + 3) * (image - old)
        gradient = np.einsum("pij,pj->pi", grams, ahead) - rights
        moved = ahead - step * gradient
        size = np.maximum(np.linalg.norm(moved, axis=0), 1e-300)
        old, image = image, moved * np.maximum(0, 1 - step * weight / size)
    return image


def relative(found, expected):
    return np.linalg.norm(found.ravel() - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def group_sparse_images(turned):
    """Return the images ``(pair, voxel)``, and the cost function there."""
    _, matrices, data = turned
    grams = np.stack([one.conj().T @ one for one in matrices])
    rights = np.stack([one.conj().T @ y for one, y in zip(matrices, data, strict=True)])
    images = group_sparse(grams, rights)
    weight = SPARSITY * np.linalg.norm(rights, axis=0).max()
    cost = weight * np.linalg.norm(images, axis=0).sum()
    for one, each, y in zip(matrices, images, data, strict=True):
        cost += 0.5 * np.linalg.norm(one @ each - y) ** 2
    return images, cost


@pytest.mark.parametrize(
    ("algorithm", "normal"), [("fista", "auto"), ("fista", "factors"), ("admm", "auto")]
)
def test_images_of_pairs_share_their_voxels(turned, group_sparse_images, algorithm, normal):
    folder, _, _ = turned
    apart, cost = group_sparse_images
    image, receipt = reconstructed_rf(
        folder,
        **COMMON,
        algorithm=algorithm,
        penalty="l21",
        fusion="non-coherent",
        iterations=2000,
        normal=normal,
    )
    assert receipt["stopped"] == ["tolerance"]
    assert relative(image, np.linalg.norm(apart, axis=0)) < (1e-3 if algorithm == "fista" else 1e-2)
    found = np.abs(image).ravel()
    assert (found == 0).sum() > 0.8 * found.size
    assert receipt["objective"][0] == pytest.approx(cost, rel=1e-4)
    assert receipt["penalty_value"] == pytest.approx([found.sum()], rel=1e-4)


def test_a_sparse_image_and_the_phases_of_its_pairs(turned):
    folder, matrices, data = turned
    image, receipt = reconstructed_rf(
        folder, **COMMON, algorithm="fista", fusion="phase-aligned", iterations=3000
    )
    phases = np.array(receipt["pair_phases"]).ravel()
    assert np.abs(np.exp(1j * phases) - PHASES).max() < 0.05
    gram = sum(one.conj().T @ one for one in matrices)
    right = sum(
        one.conj().T @ y * np.exp(-1j * phase)
        for one, y, phase in zip(matrices, data, phases, strict=True)
    )
    expected = group_sparse(gram[None], right[None])[0]
    assert relative(image, expected) < 2e-3


@pytest.mark.parametrize(("level", "normal"), [("W", "toeplitz"), ("W+D(fc)", "factors")])
def test_one_pair_at_one_tone_is_solved_without_conjugate_gradients(tmp_path, level, normal):
    tone, pair = FREQUENCIES[:1], PAIRS[1]
    (data,) = write_pairs(tmp_path, SCENE, [pair], tone)
    image, receipt = reconstructed_rf(
        tmp_path,
        algorithm="admm",
        iterations=2000,
        sparsity=SPARSITY,
        precision="double",
        model=level,
        normal=normal,
        force_model=True,
    )
    columns = pair_model(SCENE, pair, tone, level).columns(np.arange(SCENE.voxels))
    system = columns.reshape(-1, SCENE.voxels)
    right = system.conj().T @ data.ravel()
    expected = group_sparse((system.conj().T @ system)[None], right[None])[0]
    assert relative(system @ image.ravel(), system @ expected) < 1e-2
    # One to begin with, one for the cost function: none in between.
    assert receipt["operator_evaluations"] <= 2
