"""Noise of a region of the measurement, against a covariance that is known."""

import numpy as np
import pytest
from acquisitions import complex_normal, write_attributes
from calibrating import calibrated_in

from pipeline.config.base import validate
from pipeline.config.calibration import NoiseRegionSettings
from pipeline.errors import ConfigError, DataError
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan
from pipeline.mri.generators.radial import golden_radial
from pipeline.mri.pictures import shown_calibration
from pipeline.mri.raw import RawData
from pipeline.storage.publish import published_store, read_json

SHAPE, COILS, READOUTS, SAMPLES, FRAMES = (30, 36), 5, 40, 150, 2
MIXTURE = complex_normal(np.random.default_rng(3), (COILS, COILS)) + 2 * np.eye(COILS)
COVARIANCE = 0.02**2 * MIXTURE @ MIXTURE.conj().T


def write_scan(folder, *, silent_readouts=0, not_measured=0, correlated=0.0, smooth=False):
    """An exact phantom with correlated noise; some readouts, or their ends, have noise alone."""
    generator = np.random.default_rng(4)
    k = np.stack([golden_radial(READOUTS, SAMPLES, frame=frame) for frame in range(FRAMES)])
    coils = coils_around(SHAPE, COILS)
    signal = fourier_transform(
        shepp_logan(2), SHAPE, k.reshape(-1, 2), coils.shifts, coils.coefficients
    )
    y = np.moveaxis(signal.reshape(COILS, *k.shape[:-1]), 0, 1) / np.abs(signal).max()
    y[:, :, :silent_readouts] = 0
    if smooth:
        y *= (np.linalg.norm(k, axis=-1) < 0.79 * np.pi)[:, None]
    drawn = complex_normal(generator, (FRAMES, COILS, READOUTS, SAMPLES + 1))
    drawn = drawn[..., 1:] + correlated * drawn[..., :-1]
    drawn /= np.sqrt(np.mean(np.abs(drawn) ** 2))
    y = y + 0.02 * np.einsum("dc,fcrs->fdrs", MIXTURE, drawn)
    y[..., SAMPLES - not_measured :] = 0
    with published_store(folder / "raw.json") as group:
        write_attributes(group, SHAPE, (2e-3, 3e-3))
        group.attrs["pattern"] = "radial"
        for name, values in (("trajectory", k), ("kspace", y)):
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)


def calibrated(folder, region, **settings):
    settings = {"coil_maps": "none", "density": "none", "consistency": False, **settings}
    found = calibrated_in(folder, noise_region=region, **settings)
    return found, read_json(folder / "calibrate.json")


@pytest.mark.parametrize(
    ("region", "scan", "samples"),
    [
        ({"readouts": [0, 9]}, {"silent_readouts": 9}, FRAMES * 9 * SAMPLES),
        ({"readouts": [-40, -31], "samples": [20, None]}, {"silent_readouts": 9}, FRAMES * 9 * 130),
        (
            {"readouts": [0, 9]},
            {"silent_readouts": 9, "not_measured": 10, "correlated": 0.4},
            FRAMES * 9 * 140,
        ),
    ],
    ids=["readouts", "samples of readouts", "filtered, and not measured at the end"],
)
def test_noise_is_white_as_the_known_covariance_says(tmp_path, region, scan, samples):
    write_scan(tmp_path, **scan)
    found, receipt = calibrated(tmp_path, region)
    assert (found.whitening, found.noise) == ("region", "region")
    assert receipt["noise_region"]["samples"] == samples
    assert receipt["noise_region"]["fourth_moment"] == pytest.approx(1, abs=0.1)
    assert "warnings" not in receipt
    level = np.sqrt(np.trace(COVARIANCE).real / COILS)
    # Of N samples, eigenvalues deviate by twice the root of coils over samples.
    apart = 3 * np.sqrt(COILS / samples)
    white = found.mixing() @ COVARIANCE @ found.mixing().conj().T / level**2
    assert np.abs(np.linalg.eigvalsh(white) - 1).max() < apart
    before = np.linalg.eigvalsh(COVARIANCE) / level**2
    assert before.max() > 3 * before.min()
    np.testing.assert_allclose(found.noise_level(), level, rtol=0.03)


def test_the_outermost_samples_and_their_picture(tmp_path):
    write_scan(tmp_path, smooth=True)
    found, receipt = calibrated(tmp_path, {"outermost": 0.2})
    assert receipt["noise_region"]["samples"] == pytest.approx(
        0.2 * FRAMES * READOUTS * SAMPLES, rel=0.05
    )
    assert "warnings" not in receipt
    white = found.mixing() @ COVARIANCE @ found.mixing().conj().T
    values = np.linalg.eigvalsh(white)
    assert values.max() < 1.3 * values.min()
    (panels,) = shown_calibration(RawData.open(tmp_path / "raw.json"), found).panels
    assert "as acquired in a region of the measurement: correlated by up to 0." in panels.caption


def test_noise_is_not_mixed_where_whitening_is_none(tmp_path):
    write_scan(tmp_path, silent_readouts=9)
    found, _ = calibrated(tmp_path, {"readouts": [0, 9]}, whitening="none")
    assert found.mixing() is None
    np.testing.assert_allclose(found.noise_level(), np.sqrt(np.diag(COVARIANCE).real), rtol=0.06)


@pytest.mark.parametrize(
    "region",
    [{"readouts": [9, 20]}, {"samples": [70, 80]}, {"samples": [0, None]}, {"outermost": 0.5}],
    ids=["whole readouts", "the centre", "everything", "outermost half"],
)
def test_signal_is_noticed(tmp_path, region):
    write_scan(tmp_path)
    _, receipt = calibrated(tmp_path, region)
    (warning,) = receipt["warnings"]
    assert warning.startswith("scan: calibration.noise_region holds signal: ")


@pytest.mark.parametrize(
    ("region", "not_measured", "message"),
    [
        ({"samples": [-160, None]}, 0, r"samples is \[-160, None\], but there are 150 samples"),
        ({"readouts": [3, 41]}, 0, r"readouts is \[3, 41\], but there are 40 readouts"),
        ({"readouts": [3, 4], "samples": [7, 30]}, 0, "46 samples .* the noise of 5 coils"),
        ({"readouts": [5, 3]}, 0, "has 0 samples"),
        ({"outermost": 0.004}, 0, "48 samples that were measured.* 50 or more"),
        ({"samples": [-5, None]}, 5, "has 0 samples that were measured"),
    ],
)
def test_regions_that_tell_nothing(tmp_path, region, not_measured, message):
    write_scan(tmp_path, not_measured=not_measured)
    with pytest.raises(DataError, match=message):
        calibrated(tmp_path, region)


def test_a_region_is_named_in_one_way():
    for content in ({}, {"outermost": 0.1, "samples": [0, 3]}):
        with pytest.raises(ConfigError, match="either `outermost`, or `readouts` or `samples`"):
            validate(NoiseRegionSettings, content, "config")
