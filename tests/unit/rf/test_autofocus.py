"""Phases of pulses that nobody knows, and the image that was there before."""

import os
from pathlib import Path

import numpy as np
import pytest
from calibrating import calibrated_in
from rf_acquisitions import pulses, reconstructed_rf, store

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, PlanError
from pipeline.rf.formats.gotcha import gotcha_files, read_gotcha
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.measures.point_response import point_response
from pipeline.stages.calibrate import calibrate

FREQUENCIES = np.linspace(9.6e9, 10.4e9, 24)


def entropy(image):
    power = np.abs(image) ** 2
    share = power / power.sum()
    return -np.sum(share * np.log(share + 1e-30))


def widths(image, scene):
    """Widths of the brightest point along both axes [m]."""
    brightest = np.unravel_index(np.abs(image).argmax(), image.shape)
    return [cut.width for cut in point_response(image, scene.spacing, brightest, extent=1.5).lobes]


def focused(folder, scene, frequencies, paths, measured, autofocus):
    store(folder / "raw.json", pulses(scene, frequencies, paths, measured))
    calibrated_in(folder, dataset="radar", autofocus=autofocus)
    return reconstructed_rf(folder, algorithm="matched-filter", model="exact")[0][0, 0]


def assert_back(folder, scene, frequencies, paths, measured, autofocus, entropy_=0.02, width=0.02):
    turns = np.random.default_rng(1).uniform(-np.pi, np.pi, len(paths))
    disturbed = measured * np.exp(1j * turns)[:, None]
    before = focused(folder, scene, frequencies, paths, measured, "none")
    blurred = focused(folder, scene, frequencies, paths, disturbed, "none")
    after = focused(folder, scene, frequencies, paths, disturbed, autofocus)
    assert entropy(blurred) > 1.1 * entropy(before)
    assert entropy(after) == pytest.approx(entropy(before), rel=entropy_)
    for there, expected in zip(widths(after, scene), widths(before, scene), strict=True):
        assert there == pytest.approx(expected, rel=width)


METHODS = pytest.mark.parametrize("autofocus", ["sharpness", "entropy", "phase-gradient"])


@METHODS
def test_points_come_into_focus(tmp_path, autofocus):
    scene = Scene((60, 56), (0.08, 0.1))
    angles = np.radians(np.linspace(-3, 3, 48))
    antenna = 500 * np.stack([np.cos(angles), np.sin(angles), 0.5 + 0 * angles], axis=1)
    paths = AntennaPaths(antenna, antenna, 2 * np.linalg.norm(antenna, axis=1))
    points = np.array([[0.4, 0.3, 0], [-1.2, -0.9, 0], [1.5, -1.4, 0], [-0.6, 1.7, 0]])
    k = 2 * np.pi * FREQUENCIES / SPEED_OF_LIGHT
    excess = paths.path_differences(points)
    measured = np.exp(-1j * k[:, None] * excess[:, None]) @ np.array([1, 0.7j, -0.5, 0.6])
    # Points are moved between voxels, and each other's side lobes with them.
    assert_back(tmp_path, scene, FREQUENCIES, paths, measured, autofocus, 0.03, 0.1)


@pytest.mark.slow
@METHODS
@pytest.mark.skipif("KRONUFFT_DATA" not in os.environ, reason="KRONUFFT_DATA names no data")
def test_a_measured_scene_comes_into_focus(tmp_path, autofocus):
    folder = Path(os.environ["KRONUFFT_DATA"]) / "gotcha"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    history = read_gotcha(gotcha_files(folder), "gotcha", Budget("gotcha", 600))
    measured = history.measurements[(slice(None), slice(None))]
    scene = Scene((500, 500), (0.2, 0.2))
    assert_back(tmp_path, scene, history.frequencies, history.paths, measured, autofocus)


def test_preconditioners_of_one_kernel_are_refused_before_any_job(tmp_path):
    scene, line = Scene((12, 10), (0.1, 0.1)), np.linspace(-1, 1, 9)
    antenna = np.stack([40 + 0 * line, line, 0 * line], axis=1)
    paths = AntennaPaths(antenna, antenna, 2 * np.linalg.norm(antenna, axis=1))
    store(tmp_path / "raw.json", pulses(scene, FREQUENCIES, paths, np.ones((9, 24))))
    calibrated_in(tmp_path, dataset="radar")
    with pytest.raises(PlanError, match=r"circulant.* a phase history has none"):
        reconstructed_rf(tmp_path, algorithm="tikhonov", preconditioner="circulant")


def test_pairs_have_no_pulses(tmp_path):
    from rf_acquisitions import write_pairs
    from rf_scenes import mills_cross

    write_pairs(tmp_path, Scene((5, 4), (0.2, 0.2)), [mills_cross((3, 2), 0.2, 30)], FREQUENCIES)
    with pytest.raises(DataError, match=r"calibration\.autofocus is sharpness, but it is"):
        calibrate(
            settings=CalibrateSettings.model_validate(
                {"calibration": {"autofocus": "sharpness"}, "nufft": {}}
            ),
            dataset="pairs",
            raw=tmp_path / "raw.json",
            calibration=tmp_path / "other.json",
            receipt=tmp_path / "calibrate.json",
            device="cpu",
            threads=1,
        )
