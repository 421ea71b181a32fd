"""Phases of channels that nobody knows, told by a target, and the image that they spoilt."""

import numpy as np
import pytest
from calibrating import calibrated_in
from rf_acquisitions import pulses, reconstructed_rf, store

from pipeline.errors import ConfigError, DataError
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene

SCENE = Scene((13, 12, 11), (0.01, 0.01, 0.01), (0.0, 0.01, 0.05))
FREQUENCIES = np.linspace(1.5e9, 4.5e9, 14)
RANDOM = np.random.default_rng(4)
SITES = RANDOM.normal(size=(2, 40, 3)) * 0.3 + [0, 0, 0.6]
PATHS = AntennaPaths(*SITES, RANDOM.uniform(0, 1, 40), RANDOM.uniform(0.9, 1.1, 40))
TURNS = RANDOM.uniform(-np.pi, np.pi, 40)
TARGET = (0.03, -0.02, 0.07)


def measured(points, amplitudes):
    excess = sum(np.linalg.norm(np.array(points) - site[:, None], axis=-1) for site in SITES)
    excess = excess - PATHS.reference_path[:, None]
    k = 2 * np.pi / 299_792_458.0 * FREQUENCIES * PATHS.frequency_scale[:, None]
    return np.exp(-1j * k[..., None] * excess[:, None]) @ np.array(amplitudes)


CLEAN = measured([(-0.02, 0.01, 0.05), (0.02, 0.03, 0.03)], [1, 0.7j])
TURNED = np.exp(1j * TURNS)[:, None]


def image(folder, data, instruments=None, **arrays):
    folder.mkdir()
    store(folder / "raw.json", pulses(SCENE, FREQUENCIES, PATHS, data, **arrays), "radar")
    calibrated_in(folder, dataset="radar", instruments=instruments)
    return reconstructed_rf(folder, algorithm="matched-filter", model="exact")[0]


def test_a_target_measured_before_brings_the_image_back(tmp_path):
    noise = 0.3 * (RANDOM.normal(size=CLEAN.shape) + 1j * RANDOM.normal(size=CLEAN.shape))
    seen = {"y_target": ((2 * measured([TARGET], [1]) + noise) * TURNED)[None]}
    told = {"reference_target": {"position": TARGET}}
    expected = image(tmp_path / "clean", CLEAN)
    spoilt = image(tmp_path / "spoilt", CLEAN * TURNED)
    found = image(tmp_path / "found", CLEAN * TURNED, told, **seen)
    size = np.linalg.norm(expected)
    # Noise leaves a tenth of a radian or less of each phase.
    assert np.linalg.norm(found - expected) < 0.1 * size
    assert np.linalg.norm(spoilt - expected) > 0.7 * size
    wrong = {"reference_target": {"position": (0.03, -0.3, 0.07)}}
    with pytest.raises(DataError, match=r"radar: no scatterer stands out at the reference target"):
        image(tmp_path / "wrong", CLEAN * TURNED, wrong, **seen)


def test_a_target_in_the_scene_tells_as_much(tmp_path):
    point = (0.02, 0.03, 0.03)
    alone = measured([point], [0.7j])
    found = image(tmp_path / "found", alone * TURNED, {"reference_target": {"position": point}})
    # Its own phase goes with those of the pulses.
    expected = image(tmp_path / "clean", alone / 1j)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("instruments", "calibration", "arrays", "message"),
    [
        (
            {"reference_target": {"position": TARGET, "element_gains": True}},
            {},
            {},
            "element_gains is",
        ),
        ({"coherent": False}, {}, {}, r"radar\.coherent is for pairs"),
        (
            {"reference_target": {"position": TARGET}},
            {"autofocus": "entropy"},
            {},
            "leave one of them",
        ),
        (None, {}, {"y_target": CLEAN[None]}, r"give sources\.radar\.reference_target\.position"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path, instruments, calibration, arrays, message
):
    store(tmp_path / "raw.json", pulses(SCENE, FREQUENCIES, PATHS, CLEAN, **arrays), "radar")
    with pytest.raises(ConfigError, match=message):
        calibrated_in(tmp_path, dataset="radar", instruments=instruments, **calibration)
