"""Pairs whose arrays are too long for one voxel phase: split, against dense exact Born sums."""

import numpy as np
import pytest
import torch
from acquisitions import complex_normal
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross, planar

from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.sub_arrays import Cut, model_name, model_of, sub_pairs
from pipeline.rf.model.born import Born, simulate
from pipeline.storage.publish import read_json

FREQUENCIES = np.linspace(9.95e9, 10.05e9, 6)
SCENE = Scene((9, 8), (0.14, 0.16))
PAIRS = [
    mills_cross((8, 10), 1.0, 4.0, (0.02, 0.05)),
    mills_cross((7, 9), 0.9, 4.5, (-0.04, 0.01)),
]
SOLVED = {"algorithm": "tikhonov", "iterations": 150, "regularization": 1.0, "residual": 1e-6}


def test_a_model_in_parts_has_a_name():
    for name, level, cut in (("W+D(fc) 2x16", "W+D(fc)", Cut(2, 16)), ("W+D", "W+D", Cut())):
        assert model_of(name) == (level, cut)
        assert model_name(level, cut) == name


@pytest.mark.parametrize(
    ("pair", "cut", "parts"),
    [
        (PAIRS[0], Cut(2, 4), 8),
        (PAIRS[1], Cut(4, 2), 8),
        (planar((4, 3), (2, 5), 0.1, np.array([[0, 0, -4.0], [1, 0, -4.0]])), Cut(4, 2), 8),
        (Pair([[0.0, 0, 3]], [[0.1 * n, 0, 3] for n in range(3)]), Cut(2, 4), 2),
    ],
)
def test_parts_are_all_measurements_once_and_shorter(pair, cut, parts):
    whole = paths_of_pair(pair)
    shape = pair.measurement_shape
    seen = np.zeros(shape, int)
    found = sub_pairs(pair, cut)
    assert len(found) == parts
    for part in found:
        seen[np.ix_(*part.rows)] += 1
        own = paths_of_pair(part.pair)
        for name in ("transmitter", "receiver"):
            expected = getattr(whole, name).reshape(*shape, 3)[np.ix_(*part.rows)]
            assert np.array_equal(getattr(own, name), expected.reshape(-1, 3))
        for name in ("tx", "rx"):
            extents = [np.ptp(getattr(one, name), axis=0).max() for one in (part.pair, pair)]
            assert extents[0] < 0.6 * extents[1] or extents[1] == 0
    assert np.all(seen == 1)


def exact_matrices():
    voxels = torch.eye(SCENE.voxels, dtype=torch.complex128).reshape(-1, *SCENE.shape)
    return [
        Born(SCENE, [pair], FREQUENCIES)(voxels).numpy().reshape(SCENE.voxels, -1).T
        for pair in PAIRS
    ]


@pytest.fixture(scope="module")
def long_arrays(tmp_path_factory):
    """Return folder, exact matrices, and what was measured of a random scene."""
    folder = tmp_path_factory.mktemp("long")
    matrices = exact_matrices()
    truth = complex_normal(np.random.default_rng(4), SCENE.shape).astype(np.complex128).ravel()
    data = [one @ truth for one in matrices]
    shapes = [(1, len(FREQUENCIES), *pair.measurement_shape) for pair in PAIRS]
    written = [one.reshape(shape) for one, shape in zip(data, shapes, strict=True)]
    write_pairs(folder, SCENE, PAIRS, FREQUENCIES, measured=written)
    return folder, matrices, data


def tikhonov(matrices, data):
    system, right = np.concatenate(matrices), np.concatenate(data)
    gram = system.conj().T @ system
    gram += np.trace(gram).real / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, system.conj().T @ right)


def relative(found, expected):
    return np.linalg.norm(found.ravel() - expected.ravel()) / np.linalg.norm(expected)


def test_arrays_are_split_until_the_model_is_as_right_as_is_asked(long_arrays):
    folder, matrices, data = long_arrays
    expected = tikhonov(matrices, data)
    errors = read_json(folder / "calibrate.json")["model_errors"]
    assert errors["W+D"] > 0.1
    wrong = {}
    for allowed in (0.1, 0.04):
        image, receipt = reconstructed_rf(folder, **SOLVED, model="W+D", model_error=allowed)
        level, cut = model_of(receipt["model"])
        assert level == "W+D"
        assert cut.parts > 1
        assert errors[receipt["model"]] < allowed
        wrong[allowed] = relative(image, expected)
        assert wrong[allowed] < allowed
    whole, receipt = reconstructed_rf(folder, **SOLVED, model="W+D", force_model=True)
    assert receipt["model"] == "W+D"
    assert wrong[0.04] < 0.6 * wrong[0.1] < 0.6 * relative(whole, expected)


def test_the_error_of_parts_is_that_of_the_exact_sum(long_arrays):
    """Here of all voxels and measurements; `calibrate` draws some."""
    folder, matrices, _ = long_arrays
    errors = read_json(folder / "calibrate.json")["model_errors"]
    name = next(name for name in errors if name.startswith("W+D ") and errors[name] < 0.05)
    wrong = energy = 0.0
    for pair, exact in zip(PAIRS, matrices, strict=True):
        truth = exact.reshape(len(FREQUENCIES), *pair.measurement_shape, SCENE.voxels)
        energy += np.sum(np.abs(truth) ** 2)
        for part in sub_pairs(pair, model_of(name)[1]):
            model = pair_model(SCENE, part.pair, FREQUENCIES, "W+D")
            own = truth[:, part.rows[0][:, None], part.rows[1]]
            wrong += np.sum(np.abs(model.columns(np.arange(SCENE.voxels)) - own) ** 2)
    assert errors[name] == pytest.approx(np.sqrt(wrong / energy), rel=0.3)


def test_each_form_fusion_and_shard_is_the_same_operator(long_arrays):
    """Kernels of each part, and forward and back; images of pairs apart; cut by frequencies."""
    folder, matrices, data = long_arrays
    settings = {**SOLVED, "model": "W+D(fc)", "model_error": 0.1, "precision": "double"}
    kernels, of_kernels = reconstructed_rf(folder, **settings, normal="toeplitz")
    factors, of_factors = reconstructed_rf(folder, **settings, normal="factors")
    assert of_kernels["model"] == of_factors["model"] != "W+D(fc)"
    parts = model_of(of_kernels["model"])[1].parts
    assert of_kernels["normal"] == f"toeplitz, {2 * parts} kernels for 2 pairs"
    assert relative(kernels, factors) < 1e-5
    assert relative(kernels, tikhonov(matrices, data)) < 0.1
    for normal in ("toeplitz", "factors"):
        cut, receipt = reconstructed_rf(folder, **settings, normal=normal, shards=3)
        assert receipt["shards"] == 3
        assert relative(cut, kernels) < 1e-5
    apart, _ = reconstructed_rf(folder, **settings, fusion="non-coherent")
    expected = [tikhonov([one], [values]) for one, values in zip(matrices, data, strict=True)]
    assert relative(apart, np.sqrt(np.sum(np.abs(expected) ** 2, axis=0))) < 0.1


def test_plane_waves_of_parts_collapse_into_one_kernel(tmp_path):
    """Far from a deep scene, whose third axis elements see under angles of their own."""
    scene = Scene((6, 5, 12), (0.3, 0.32, 0.2))
    pairs = [mills_cross((8, 6), 1200.0, 1e4, aspect) for aspect in ((0.05, 0.03), (-0.06, 0.02))]
    voxels = torch.eye(scene.voxels, dtype=torch.complex128).reshape(-1, *scene.shape)
    born = Born(scene, pairs, FREQUENCIES)
    system = born(voxels).numpy().reshape(scene.voxels, -1).T
    truth = complex_normal(np.random.default_rng(6), (scene.voxels,)).astype(np.complex128)
    data = (system @ truth).reshape(2, 1, len(FREQUENCIES), *pairs[0].measurement_shape)
    write_pairs(tmp_path, scene, pairs, FREQUENCIES, measured=list(data))
    image, receipt = reconstructed_rf(tmp_path, **SOLVED, model="W")
    level, cut = model_of(receipt["model"])
    assert (level, receipt["normal"]) == ("W", "toeplitz, 1 kernel for 2 pairs")
    assert cut.parts > 1
    expected = tikhonov([system], [data.ravel()])
    assert relative(image, expected) < 0.1
    factors, _ = reconstructed_rf(tmp_path, **SOLVED, model="W", normal="factors")
    assert relative(factors, image) < 1e-4


def test_a_point_in_the_origin_is_one_whatever_the_parts_lose_on_their_way(tmp_path):
    pair = mills_cross((8, 10), 2.0, 2.0, (0.02, 0.05))
    scene = Scene(SCENE.shape, (0.03, 0.04))
    measured = simulate([scene.centre], [1.0], pair, FREQUENCIES)
    write_pairs(tmp_path, scene, [pair], FREQUENCIES, measured=[measured[None]])
    for model in ("W+D", "exact"):
        image, receipt = reconstructed_rf(tmp_path, algorithm="matched-filter", model=model)
        assert model_of(receipt["model"])[1].parts > 1 or model == "exact"
        assert abs(image[0, 0, 4, 4] - 1) < 0.03
