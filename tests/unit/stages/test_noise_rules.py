"""Weights that go by the noise, through the stages, against dense matrices."""

import numpy as np
import pytest
from acquisitions import complex_normal, write_acquisition
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross
from stage_runs import reconstructed

from pipeline.geometry.axes import voxel_positions
from pipeline.mri.raw import RawData
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.calibration import Calibration

SHAPE = (10, 7)
SIZES = {"shape": SHAPE, "coils": 3, "readouts": 11, "samples": 26}
DEVIATIONS = np.array([0.6, 1.5, 1.0])
"""Of the noise in each coil, or each pair."""


def sparse_scene(generator, voxels):
    scene = np.zeros(voxels, np.complex128)
    scene[generator.choice(voxels, 8, replace=False)] = complex_normal(generator, (8,))
    return scene


@pytest.fixture(scope="module")
def coils(tmp_path_factory):
    """Return the folder, ``A`` and ``y`` of all coils together, and each sample's deviation."""
    folder = tmp_path_factory.mktemp("coils")
    write_acquisition(folder, **SIZES)
    trajectory = RawData.open(folder / "raw.json").trajectory(0).reshape(-1, 2).astype(np.float64)
    stored = Calibration.open(folder / "calibration.json")
    maps, density = stored.sensitivities().reshape(3, -1), stored.weights(0).ravel()
    axes = np.meshgrid(*(voxel_positions(size) for size in SHAPE), indexing="ij")
    fourier = np.exp(-1j * trajectory @ np.stack([axis.ravel() for axis in axes]))
    system = np.concatenate([fourier * one for one in maps])
    generator = np.random.default_rng(11)
    deviations = np.repeat(DEVIATIONS, len(fourier))
    noise = deviations / np.sqrt(2) * complex_normal(generator, (len(system),))
    data = 2 * system @ sparse_scene(generator, len(system.T)) + noise
    prescan = DEVIATIONS[:, None] / np.sqrt(2) * complex_normal(generator, (3, 4000))
    written = data.astype(np.complex64).reshape(1, 3, SIZES["readouts"], SIZES["samples"])
    write_acquisition(folder, **SIZES, measured=written, noise=prescan)
    return folder, system, written.ravel(), deviations, np.tile(density, 3).astype(np.float64)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Return the same of pairs, whose frequencies have weights."""
    folder = tmp_path_factory.mktemp("pairs")
    scene, tones = Scene((9, 8), (0.12, 0.1)), np.linspace(9.6e9, 10.4e9, 6)
    crosses = [mills_cross((4, 3), 0.6, 12.0, (0.02, 0.03 * index)) for index in range(3)]
    generator = np.random.default_rng(12)
    weights = complex_normal(generator, (3, 6)).astype(np.complex128)
    matrices = []
    for cross, weight in zip(crosses, weights, strict=True):
        model = pair_model(scene, cross, tones, "W+D(fc)")
        columns = model.columns(np.arange(scene.voxels)).reshape(6, -1, scene.voxels)
        own = model.weights[:, None, None]
        matrices.append((columns / own * weight[:, None, None]).reshape(-1, scene.voxels))
    truth = 3 * sparse_scene(generator, scene.voxels)
    data = [
        one @ truth + deviation / np.sqrt(2) * complex_normal(generator, (len(one),))
        for one, deviation in zip(matrices, DEVIATIONS, strict=True)
    ]
    shapes = [(1, 6, *cross.measurement_shape) for cross in crosses]
    written = [y.reshape(shape) for y, shape in zip(data, shapes, strict=True)]
    common = {"weights": weights, "noise_std": DEVIATIONS, "measured": written}
    write_pairs(folder, scene, crosses, tones, **common)
    deviations = np.repeat(DEVIATIONS, [len(one) for one in matrices])
    return folder, np.concatenate(matrices), np.concatenate(data), deviations


SOLVERS = {
    "Tikhonov": {"regularization": "discrepancy", "iterations": 300, "residual": 1e-9},
    "sparse": {"algorithm": "fista", "sparsity": "discrepancy", "iterations": 400},
}


def misfit(image, system, data, weights=1.0):
    return np.linalg.norm(np.sqrt(weights) * (system @ image.ravel() - data))


@pytest.mark.parametrize("weighted", [True, False], ids=["density", "no weights"])
@pytest.mark.parametrize("settings", SOLVERS.values(), ids=SOLVERS)
def test_coils_are_left_the_misfit_of_their_noise(coils, settings, weighted):
    folder, system, data, deviations, density = coils
    weights = density if weighted else np.ones(len(data))
    image, receipt = reconstructed(
        folder,
        **{"algorithm": "cg-sense", **settings},
        weights="density" if weighted else "none",
        precision="double",
        tolerance=1e-7,
    )
    expected = np.sqrt(np.sum(weights * deviations**2))  # sigma sqrt(M) of unit weights
    assert misfit(image, system, data, weights) == pytest.approx(expected, rel=0.05 + 0.02)
    whole = np.linalg.norm(np.sqrt(weights) * data)
    assert receipt["expected_misfit"][0] == pytest.approx(expected / whole, rel=0.02)  # of 4000
    assert misfit(0 * image, system, data, weights) > 2 * expected


@pytest.mark.parametrize("settings", SOLVERS.values(), ids=SOLVERS)
def test_pairs_are_left_the_misfit_of_their_noise(pairs, settings):
    folder, system, data, deviations = pairs
    chosen = {"algorithm": "tikhonov", **settings, "model": "W+D(fc)"}
    image, _ = reconstructed_rf(folder, **chosen, precision="double")
    expected = np.sqrt(np.sum(deviations**2))
    assert misfit(image, system, data) == pytest.approx(expected, rel=0.05 + 1e-3)
    assert misfit(0 * image, system, data) > 2 * expected


def noise_level(system, deviations, weights=1.0):
    """Return what ``A^H W n`` seldom exceeds, by the mean of its variance over all voxels."""
    variance = np.sum(np.abs(system * (weights * deviations)[:, None]) ** 2, axis=0).mean()
    return np.sqrt(variance * np.log(system.shape[1]))


@pytest.mark.parametrize("weighted", [True, False], ids=["density", "no weights"])
def test_noise_alone_seldom_exceeds_the_weight_of_coils(coils, weighted):
    folder, system, _, deviations, density = coils
    chosen = {"algorithm": "fista", "sparsity": "noise", "iterations": 2}
    _, receipt = reconstructed(folder, **chosen, weights="density" if weighted else "none")
    expected = noise_level(system, deviations, density if weighted else np.ones(len(system)))
    assert receipt["weight"][0] == pytest.approx(expected, rel=0.02)


def test_noise_alone_seldom_exceeds_the_weight_of_pairs(pairs):
    folder, system, _, deviations = pairs
    chosen = {"algorithm": "fista", "sparsity": "noise", "iterations": 2, "model": "W+D(fc)"}
    _, receipt = reconstructed_rf(folder, **chosen)
    assert receipt["weight"][0] == pytest.approx(noise_level(system, deviations), rel=1e-3)
