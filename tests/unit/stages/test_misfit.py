"""The data misfit of images, through the stages, against exact sums in double precision."""

import numpy as np
import pytest
import torch
from acquisitions import complex_normal, write_acquisition
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross
from stage_runs import files_in, reconstructed

from pipeline.engine.misfit import misfit_resolution
from pipeline.errors import DataError
from pipeline.geometry.axes import voxel_positions
from pipeline.mri.raw import RawData
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.solvers.unrolled import UnrolledProximalGradient
from pipeline.storage.calibration import Calibration
from pipeline.storage.networks import write_network

SHAPE, FRAMES = (10, 7), 2
SIZES = {"shape": SHAPE, "coils": 3, "readouts": 9, "samples": 11, "frames": FRAMES}


def systems(folder):
    """Return of each frame the dense matrix of all coils, the data and the weights."""
    raw, stored = RawData.open(folder / "raw.json"), Calibration.open(folder / "calibration.json")
    maps = stored.sensitivities().reshape(raw.coils, -1)
    axes = np.meshgrid(*(voxel_positions(size) for size in raw.shape), indexing="ij")
    voxels = np.stack([axis.ravel() for axis in axes])
    found = []
    for frame in range(raw.frames):
        positions = raw.trajectory(frame).reshape(-1, len(raw.shape)).astype(np.float64)
        fourier = np.exp(-1j * positions @ voxels)
        matrix = np.concatenate([fourier * one for one in maps])
        weights = np.tile(stored.weights(frame).ravel().astype(np.float64), raw.coils)
        found.append((matrix, raw.kspace(frame).ravel().astype(np.complex128), weights))
    return found


def exact(matrix, data, weights, image):
    left = np.sum(weights * np.abs(matrix @ image.ravel() - data) ** 2)
    return np.sqrt(left / np.sum(weights * np.abs(data) ** 2))


def assert_told(receipt, expected, tolerance=1e-3):
    """The squares agree to what the receipt says it resolves."""
    resolution = misfit_resolution(tolerance)
    assert receipt["misfit_resolution"] == resolution
    found = np.array(receipt["misfit"])
    assert np.abs(found**2 - np.maximum(expected, resolution) ** 2).max() < resolution**2
    assert min(expected) > 20 * resolution**2  # or anything would do


@pytest.fixture(scope="module")
def coils(tmp_path_factory):
    """Return the folder of random data: what is left of them is large, and differs by frame."""
    folder = tmp_path_factory.mktemp("coils")
    write_acquisition(folder, **SIZES)
    return folder, systems(folder)


SOLVERS = {
    "not converged": {"algorithm": "cg-sense", "iterations": 2},
    "converged": {"algorithm": "cg-sense", "iterations": 40, "regularization": 0.01},
    "shards": {"algorithm": "cg-sense", "iterations": 5, "shards": 3},
    "explicit": {"algorithm": "cg-sense", "iterations": 5, "normal": "explicit"},
    "strong penalty": {"algorithm": "fista", "iterations": 9, "sparsity": 0.3},
    "debiased": {"algorithm": "fista", "iterations": 9, "sparsity": 0.4, "debias": True},
    "split": {"algorithm": "admm", "iterations": 4, "penalty": "tv"},
    "points": {"algorithm": "omp", "points": 6},
}


@pytest.mark.parametrize("weighted", [True, False], ids=["density", "no weights"])
@pytest.mark.parametrize("settings", SOLVERS.values(), ids=SOLVERS)
def test_coils_are_told_the_exact_misfit_of_every_image(coils, settings, weighted):
    folder, frames = coils
    images, receipt = reconstructed(folder, weights="density" if weighted else "none", **settings)
    expected = [
        exact(matrix, data, weights if weighted else np.ones_like(weights), image)
        for (matrix, data, weights), image in zip(frames, images, strict=True)
    ]
    assert abs(expected[0] - expected[1]) > 1e-3
    assert_told(receipt, expected)


def test_a_network_is_told_its_misfit(coils, tmp_path):
    folder, frames = coils
    torch.manual_seed(0)
    arguments = {"image_axes": 2, "layers": 2, "channels": 3}
    network = UnrolledProximalGradient(**arguments)
    write_network(
        tmp_path / "network.npz",
        arguments=arguments,
        parameters=network.state_dict(),
        training={},
    )
    images, receipt = reconstructed(
        folder, algorithm="unrolled", weights_file=str(tmp_path / "network.npz")
    )
    assert_told(receipt, [exact(*one, image) for one, image in zip(frames, images, strict=True)])


def test_no_misfit_is_told_that_single_precision_cannot_tell(tmp_path):
    """Of data without noise that the model explains: the exact misfit is ten times smaller."""
    write_acquisition(tmp_path, **SIZES)
    scene = complex_normal(np.random.default_rng(3), (SHAPE[0] * SHAPE[1],))
    measured = np.stack([matrix @ scene for matrix, *_ in systems(tmp_path)])
    measured = measured.reshape(FRAMES, 3, SIZES["readouts"], SIZES["samples"])
    write_acquisition(tmp_path, **SIZES, measured=measured)
    settings = {"algorithm": "cg-sense", "iterations": 100, "tolerance": 1e-5}
    images, receipt = reconstructed(tmp_path, **settings)
    resolution = misfit_resolution(1e-5)
    for one, image in zip(systems(tmp_path), images, strict=True):
        assert exact(*one, image) < resolution / 3
    assert receipt["misfit"] == pytest.approx([resolution] * FRAMES)
    assert "expected_misfit" not in receipt  # nobody has told the noise


def test_an_algorithm_that_solves_nothing_has_none(coils):
    folder, _ = coils
    assert "misfit" not in reconstructed(folder, algorithm="gridding")[1]


def test_noise_of_coils_leaves_what_is_expected(tmp_path):
    """Of data that are noise alone, nearly all is left, and it is what was expected."""
    sizes = {"shape": (4, 3), "coils": 3, "readouts": 30, "samples": 40}
    deviations = np.array([0.5, 2.0, 1.0])[:, None, None]
    generator = np.random.default_rng(4)
    noise = deviations / np.sqrt(2) * complex_normal(generator, (1, 3, 30, 40))
    prescan = deviations[..., 0] / np.sqrt(2) * complex_normal(generator, (3, 5000))
    write_acquisition(tmp_path, **sizes, measured=noise, noise=prescan)
    _, receipt = reconstructed(tmp_path, algorithm="cg-sense", iterations=20)
    # Twelve voxels explain some of 3600 samples.
    assert receipt["expected_misfit"][0] == pytest.approx(1, rel=0.03)
    assert receipt["misfit"][0] == pytest.approx(receipt["expected_misfit"][0], rel=0.03)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Return the folder, matrices and data of pairs whose phases do not agree."""
    folder = tmp_path_factory.mktemp("pairs")
    scene, tones = Scene((9, 8), (0.12, 0.1)), np.linspace(9.6e9, 10.4e9, 5)
    crosses = [mills_cross((4, 3), 0.6, 12.0, (0.02, 0.03 * index)) for index in range(3)]
    matrices = [
        pair_model(scene, cross, tones, "W+D(fc)")
        .columns(np.arange(scene.voxels))
        .reshape(-1, scene.voxels)
        for cross in crosses
    ]
    deviations = np.array([0.5, 2.0, 1.0])
    measured = write_pairs(folder, scene, crosses, tones, noise_std=deviations)
    return folder, matrices, [one.ravel() for one in measured], deviations


@pytest.mark.parametrize(
    ("fusion", "shards"),
    [("coherent", 1), ("coherent", 2), ("phase-aligned", 1), ("non-coherent", 2)],
)
def test_pairs_are_told_the_exact_misfit(pairs, fusion, shards):
    folder, matrices, data, deviations = pairs
    settings = {"algorithm": "tikhonov", "regularization": 0.05, "residual": 1e-4}
    image, receipt = reconstructed_rf(
        folder, **settings, iterations=60, fusion=fusion, model="W+D(fc)", shards=shards
    )
    whole = sum(np.linalg.norm(y) ** 2 for y in data)
    left = 0.0
    phases = receipt["pair_phases"][0] if fusion == "phase-aligned" else np.zeros(len(data))
    for matrix, y, phase in zip(matrices, data, phases, strict=True):
        own = np.exp(1j * phase) * image.ravel()
        if fusion == "non-coherent":  # the images of pairs are not kept: dense ones
            gram = matrix.conj().T @ matrix
            weight = 0.05 * np.trace(gram).real / len(gram)
            own = np.linalg.solve(gram + weight * np.eye(len(gram)), matrix.conj().T @ y)
        left += np.linalg.norm(matrix @ own - y) ** 2
    # Phases settle to a thousandth of a radian after the last image.
    assert receipt["misfit"][0] == pytest.approx(np.sqrt(left / whole), rel=1e-3)
    noise = sum(len(y) * one**2 for y, one in zip(data, deviations, strict=True))
    assert receipt["expected_misfit"][0] == pytest.approx(np.sqrt(noise / whole), rel=1e-5)


NOTHING = {
    "maps": {"sensitivities": np.zeros((3, 1, *SHAPE))},
    "weights": {"weights": np.r_[np.ones((1, 9, 11)), np.zeros((1, 9, 11))]},
    "k-space": {"measured": np.zeros((FRAMES, 3, 9, 11))},
    "small k-space": {"measured": np.full((FRAMES, 3, 9, 11), 1e-37 + 1e-37j)},
}


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("algorithm", ["gridding", "cg-sense"])
def test_an_image_of_nothing_is_refused(tmp_path, nothing, algorithm):
    write_acquisition(tmp_path, **SIZES, **nothing)
    first = int("weights" in nothing)  # its first image has some
    small = r"A\^H W y reaches .* scale the measurement"  # met before it is solved for
    zero = rf"image {first} is zero throughout.*check that k-space"
    with pytest.raises(DataError, match=f"{zero}|{small}"):
        reconstructed(tmp_path, algorithm=algorithm)
    assert not files_in(tmp_path).block("0000").exists()


def test_gridding_takes_the_squares_of_maps_away_and_leaves_normalised_maps_alone(tmp_path):
    """Whatever factor each voxel's maps have, a scene comes out as it was, but for its blur."""
    shape, coils, generator = (16, 12), 4, np.random.default_rng(2)
    axes = np.meshgrid(*(np.arange(size) - size // 2 for size in shape), indexing="ij")
    every = np.stack([axis.ravel() for axis in axes])
    angles = generator.uniform(-3, 3, (coils, 2)) / 16
    maps = np.exp(-np.abs(angles @ every) + 2j * angles @ every)
    maps /= np.linalg.norm(maps, axis=0)
    scene = complex_normal(generator, (every.shape[1],))
    # A Cartesian trajectory, whose adjoint with equal weights is the inverse.
    sizes = {"shape": shape, "coils": coils, "readouts": shape[0], "samples": shape[1]}
    frequencies = 2 * np.pi * every / np.array(shape)[:, None]
    fourier = np.exp(-1j * frequencies.T @ every)
    images = []
    for factor in (1.0, np.exp(np.cos(every[0] / 3)) * 2.7 * 3, 1e-3):
        own = (maps * factor).astype(np.complex64)
        write_acquisition(
            tmp_path,
            **sizes,
            measured=(fourier @ (own * scene).T).T.reshape(1, coils, *shape),
            trajectory=frequencies.T.reshape(1, *shape, 2).astype(np.float32),
            weights=np.full((1, *shape), 1 / scene.size),
            sensitivities=own.reshape(coils, 1, *shape),
        )
        image, receipt = reconstructed(tmp_path, algorithm="gridding", tolerance=1e-5)
        assert receipt["normalised_maps"] is (np.ndim(factor) == 0 and factor == 1.0)
        images.append(image.ravel())
    for image in images:
        assert np.linalg.norm(image - scene) < 1e-3 * np.linalg.norm(scene)
