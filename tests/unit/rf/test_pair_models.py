"""Pairs of arrays through the stages, against dense matrices: every model, form and fusion."""

import numpy as np
import pytest
from acquisitions import complex_normal
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross
from stage_runs import files_in

from pipeline.algorithms.registry import check_kind, parse_algorithm
from pipeline.errors import ConfigError, PlanError
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.publish import read_json

FREQUENCIES = np.linspace(9.6e9, 10.4e9, 6)
PAIRS = [
    mills_cross((4, 3), 0.6, 12.0, (0.02, 0.05)),
    mills_cross((5, 3), 0.5, 14.0, (-0.04, 0.01)),
    mills_cross((4, 3), 0.6, 11.0, (0.03, -0.06)),
]
SCENE = Scene((7, 6, 5), (0.12, 0.1, 0.15))
COSINES = Scene((7, 6, 5), (0.01, 0.01, 0.15), range=12.0)


def matrix(scene, pair, level):
    """Return what each voxel gives at one pair, ``(measurement, voxel)``."""
    columns = pair_model(scene, pair, FREQUENCIES, level).columns(np.arange(scene.voxels))
    return columns.reshape(-1, scene.voxels)


def tikhonov(matrices, data, weight=1.0):
    """Return the least-squares image; the weight is relative to the mean diagonal."""
    system = np.concatenate(matrices)
    gram = system.conj().T @ system
    gram += weight * np.trace(gram).real / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, system.conj().T @ np.concatenate(data))


def relative(found, expected):
    return np.linalg.norm(found.ravel() - expected.ravel()) / np.linalg.norm(expected)


SOLVED = {
    "algorithm": "tikhonov",
    "iterations": 100,
    "regularization": 1.0,
    "residual": 1e-7,
    "precision": "double",
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    return folder, [values[0].ravel() for values in write_pairs(folder, SCENE, PAIRS, FREQUENCIES)]


@pytest.fixture(scope="module")
def measured_in_cosines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cosines")
    return folder, [v[0].ravel() for v in write_pairs(folder, COSINES, PAIRS, FREQUENCIES)]


@pytest.mark.parametrize(
    ("level", "normal", "form"),
    [
        ("W", "toeplitz", "toeplitz, 1 kernel for 3 pairs"),
        ("W", "factors", "factors, resident, of 3 pairs"),
        ("W+D(fc)", "toeplitz", "toeplitz, 3 kernels for 3 pairs"),
        ("W+D(fc)", "factors", "factors, resident, of 3 pairs"),
        ("W+D", "auto", "factors, resident, of 3 pairs"),
        ("F", "auto", "factors, resident, of 3 pairs"),
        ("N", "auto", "factors, resident, of 3 pairs"),
        ("UPA", "toeplitz", "toeplitz, 1 kernel for 3 pairs"),
        ("UPA", "factors", "factors, resident, of 3 pairs"),
    ],
)
def test_each_model_is_inverted_in_each_form(request, level, normal, form):
    scene = COSINES if level == "UPA" else SCENE
    folder, data = request.getfixturevalue("measured_in_cosines" if level == "UPA" else "measured")
    image, receipt = reconstructed_rf(
        folder, **SOLVED, model=level, normal=normal, force_model=True
    )
    assert (receipt["model"], receipt["normal"]) == (level, form)
    expected = tikhonov([matrix(scene, pair, level) for pair in PAIRS], data)
    assert relative(image, expected) < 1e-6


def test_auto_takes_the_cheapest_model_that_is_right(measured):
    folder, _ = measured
    errors = read_json(folder / "calibrate.json")["model_errors"]
    assert list(errors)[:5] == ["W", "W+D(fc)", "W+D", "F", "N"]
    assert errors["W"] > 0.3
    assert 0.1 > errors["W+D(fc)"] > errors["W+D"]
    _, receipt = reconstructed_rf(folder, algorithm="tikhonov", iterations=2)
    assert receipt["model"] == "W+D(fc)"
    notes = read_json(files_in(folder).receipt("plan"))["notes"]
    assert any("pairs" in note and "factors" in note and " ms" in note for note in notes)


def test_settings_that_a_model_does_not_have_are_refused(measured):
    folder, _ = measured
    with pytest.raises(
        PlanError, match=r"W leaves .* dB of error.* The model W\+D\(fc\) would leave -\d\d"
    ):
        reconstructed_rf(folder, algorithm="tikhonov", model="W")
    with pytest.raises(PlanError, match=r"does not allow the model UPA; it allows W, W\+D\(fc\)"):
        reconstructed_rf(folder, algorithm="tikhonov", model="UPA")
    with pytest.raises(PlanError, match=r"the model W\+D has no Toeplitz kernels"):
        reconstructed_rf(folder, algorithm="tikhonov", model="W+D", normal="toeplitz")
    with pytest.raises(ConfigError, match="normal: explicit` does not apply to rf"):
        check_kind(parse_algorithm({"algorithm": "tikhonov", "normal": "explicit"}), "rf")
    with pytest.raises(ConfigError, match="preconditioner: spectrum` does not apply to rf"):
        check_kind(parse_algorithm({"algorithm": "tikhonov", "preconditioner": "spectrum"}), "rf")


@pytest.mark.parametrize("normal", ["toeplitz", "factors"])
def test_images_of_pairs_are_solved_apart(measured, normal):
    folder, data = measured
    image, receipt = reconstructed_rf(
        folder, **SOLVED, model="W+D(fc)", normal=normal, fusion="non-coherent"
    )
    matrices = [matrix(SCENE, pair, "W+D(fc)") for pair in PAIRS]
    apart = [tikhonov([one], [values]) for one, values in zip(matrices, data, strict=True)]
    assert relative(image, np.sqrt(np.sum(np.abs(apart) ** 2, axis=0))) < 1e-6
    assert len(receipt["residuals"]) == 1


@pytest.mark.parametrize("algorithm", ["matched-filter", "tikhonov"])
def test_unknown_phases_of_pairs_are_found(tmp_path, algorithm):
    """Of pairs that see nearly the same, or alternation needs many rounds."""
    pairs = [mills_cross((4, 3), 0.6, 12.0, (0.02, 0.003 * index)) for index in range(3)]
    truth = np.zeros(SCENE.voxels, np.complex128)
    truth[[30, 101, 160]] = 1, 1j, -0.8
    phases = np.array([0.0, 2.0, -1.3])
    matrices = [matrix(SCENE, pair, "W+D(fc)") for pair in pairs]
    data = [one @ truth * np.exp(1j * phase) for one, phase in zip(matrices, phases, strict=True)]
    shapes = [(1, len(FREQUENCIES), *pair.measurement_shape) for pair in pairs]
    written = [values.reshape(shape) for values, shape in zip(data, shapes, strict=True)]
    write_pairs(tmp_path, SCENE, pairs, FREQUENCIES, measured=written)
    settings = SOLVED if algorithm == "tikhonov" else {"precision": "double"}
    settings = {**settings, "algorithm": algorithm, "model": "W+D(fc)"}
    image, _ = reconstructed_rf(tmp_path, **settings, fusion="phase-aligned")
    known, _ = reconstructed_rf(tmp_path, **settings)
    turned = [values * np.exp(-1j * phase) for values, phase in zip(data, phases, strict=True)]
    if algorithm == "tikhonov":
        expected = tikhonov(matrices, turned)
    else:
        system = np.concatenate(matrices)
        expected = system.conj().T @ np.concatenate(turned) / np.sum(np.abs(system[:, 0]) ** 2)
    # The phase of all pairs together is that of the first.
    assert relative(image, expected) < 0.05
    assert relative(known, expected) > 0.3


@pytest.mark.parametrize("kept", ["A", "kappa"])
def test_factors_that_came_with_the_data_are_taken_as_they_are(tmp_path, kept):
    """Random factors, or random wave vectors, of pairs without positions."""
    generator = np.random.default_rng(3)
    scene, rows, count = Scene((6, 7), (0.1, 0.2)), (4, 3), 3
    sizes = [(len(FREQUENCIES), rows[axis]) for axis in (0, 1)]
    stored = {}
    for axis, size in enumerate(sizes):
        if kept == "A":
            arrays = [complex_normal(generator, (*size, scene.shape[axis])) for _ in range(count)]
        else:
            arrays = [generator.uniform(-20, 20, size) for _ in range(count)]
        stored[f"{kept}{axis + 1}"] = arrays
    weights = complex_normal(generator, (count, len(FREQUENCIES))).astype(np.complex128)
    values = [complex_normal(generator, (2, len(FREQUENCIES), *rows)) for _ in range(count)]
    arguments = {"positions": False, "stored": stored, "weights": weights, "measured": values}
    data = write_pairs(tmp_path, scene, [None] * count, FREQUENCIES, frames=2, **arguments)
    images, receipt = reconstructed_rf(tmp_path, **SOLVED)
    assert receipt["model"] == "stored"
    factors = [
        [
            np.complex64(one) if kept == "A" else np.exp(-1j * one[..., None] * scene.offsets(axis))
            for one in stored[f"{kept}{axis + 1}"]
        ]
        for axis in (0, 1)
    ]
    matrices = [
        np.einsum("f,fam,fbn->fabmn", weights[p], factors[0][p], factors[1][p]).reshape(-1, 42)
        for p in range(count)
    ]
    # The weight of Tikhonov goes by the sum of the weights, not by the factors' own size.
    diagonal = np.sum(np.abs(weights) ** 2) * np.prod(rows)
    system = np.concatenate(matrices)
    gram = system.conj().T @ system + diagonal * np.eye(42)
    for frame in (0, 1):
        right = system.conj().T @ np.concatenate([one[frame].ravel() for one in data])
        assert relative(images[frame], np.linalg.solve(gram, right)) < 1e-5
