"""Coils mixed as they are read, whitened and compressed, against dense least squares."""

from dataclasses import replace

import numpy as np
import pytest
from acquisitions import complex_normal, reconstruction_settings, write_attributes
from calibrating import calibrated_in
from exact import dense_matrix
from stage_runs import files_in, reconstructed

from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.table import read_plan
from pipeline.engine.work import Work
from pipeline.errors import DataError
from pipeline.mri import corrected
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.compression import principal_components
from pipeline.mri.calibration.noise_samples import noise_covariance
from pipeline.mri.calibration.whitening import whitening_matrix
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.plan import models
from pipeline.mri.raw import RawData
from pipeline.storage.publish import published_store, read_json

SHAPE, COILS, READOUTS, SAMPLES, FRAMES = (6, 7), 5, 9, 13, 2


def correlated_noise(generator, coils, samples):
    mixture = complex_normal(generator, (coils, coils)) + 3 * np.eye(coils)
    return (mixture @ complex_normal(generator, (coils, samples))).astype("complex64")


def write_raw(folder, noise=None, **attributes):
    generator = np.random.default_rng(8)
    arrays = {
        "trajectory": generator.uniform(-3.1, 3.1, (FRAMES, READOUTS, SAMPLES, 2)),
        "kspace": complex_normal(generator, (FRAMES, COILS, READOUTS, SAMPLES)),
        "sensitivities": complex_normal(generator, (COILS, 1, *SHAPE)),
    }
    if noise is not None:
        arrays["noise"] = noise
    with published_store(folder / "raw.json") as group:
        write_attributes(group, SHAPE, (1e-3,) * 2)
        group.attrs.update(attributes)
        for name, values in arrays.items():
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)


def calibrated(folder, **settings):
    settings = {"consistency": False, "density": "none", **settings}
    return calibrated_in(folder, **settings)


def dense_solution(folder, mixing, frame):
    """Least squares of the coils as they are mixed, in double precision."""
    raw = RawData.open(folder / "raw.json")
    fourier = dense_matrix(SHAPE, raw.trajectory(frame).reshape(-1, 2).T)
    maps = np.tensordot(mixing, raw.sensitivities().reshape(COILS, -1), axes=1)
    samples = np.tensordot(mixing, raw.kspace(frame).reshape(COILS, -1), axes=1)
    system = np.concatenate([fourier * one for one in maps])
    return np.linalg.lstsq(system, samples.ravel(), rcond=None)[0]


def solved(folder):
    images, receipt = reconstructed(
        folder,
        algorithm="cg-sense", weights="none", iterations=80, residual=1e-9, precision="double",
        tolerance=1e-9,
    )  # fmt: skip
    return images.reshape(FRAMES, -1), receipt


def assert_close(found, expected, tolerance):
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_whitened_images_are_generalised_least_squares(tmp_path):
    noise = correlated_noise(np.random.default_rng(3), COILS, 300)
    write_raw(tmp_path, noise)
    found = calibrated(tmp_path, coil_maps="source")
    covariance = noise.astype(complex) @ noise.conj().T / noise.shape[1]
    # Any root of the inverse covariance gives the same solution: another one than ours.
    other = np.linalg.inv(np.linalg.cholesky(covariance))
    images, _ = solved(tmp_path)
    for frame in range(FRAMES):
        assert_close(images[frame], dense_solution(tmp_path, other, frame), 1e-4)
    # White, and as strong as the coils were on average.
    level = np.sqrt(np.trace(covariance).real / COILS)
    white = found.mixing() @ covariance @ found.mixing().conj().T
    np.testing.assert_allclose(white, level**2 * np.eye(COILS), atol=1e-4 * level**2)
    np.testing.assert_allclose(found.noise_level(), level, rtol=1e-4)


@pytest.mark.parametrize("whitening", ["none", "auto"])
def test_compressed_coils_are_mixed_alike_in_samples_and_maps(tmp_path, monkeypatch, whitening):
    noise = correlated_noise(np.random.default_rng(4), COILS, 300)
    write_raw(tmp_path, noise)
    found = calibrated(tmp_path, coil_maps="source", whitening=whitening, virtual_coils=3)
    assert found.mixing().shape == (3, COILS)
    assert found.sensitivities().shape == (3, 1, *SHAPE)
    monkeypatch.setattr(corrected, "_READ_BYTES", 2 * 8 * READOUTS * SAMPLES)  # two coils at once
    images, receipt = solved(tmp_path)
    assert receipt["coils"] == 3
    for frame in range(FRAMES):
        assert_close(images[frame], dense_solution(tmp_path, found.mixing(), frame), 1e-4)


def test_sets_of_the_sources_maps_are_solved_for_together(tmp_path):
    generator = np.random.default_rng(9)
    write_raw(tmp_path)
    raw = RawData.open(tmp_path / "raw.json")
    arrays = {
        "trajectory": np.stack([raw.trajectory(frame) for frame in range(FRAMES)]),
        "kspace": np.stack([raw.kspace(frame) for frame in range(FRAMES)]),
        "sensitivities": complex_normal(generator, (COILS, 1, *SHAPE, 2)),
    }
    with published_store(tmp_path / "raw.json") as group:
        write_attributes(group, SHAPE, (1e-3,) * 2)
        for name, values in arrays.items():
            ARRAYS.create(group, name, values.shape)[...] = values
    found = calibrated(tmp_path, coil_maps="source", virtual_coils=4)
    assert found.map_sets == 2
    images, _ = solved(tmp_path)
    maps = np.tensordot(found.mixing(), arrays["sensitivities"].reshape(COILS, -1, 2), axes=1)
    for frame in range(FRAMES):
        fourier = dense_matrix(SHAPE, arrays["trajectory"][frame].reshape(-1, 2).T)
        system = np.block([[fourier * one[:, number] for number in (0, 1)] for one in maps])
        samples = np.tensordot(found.mixing(), arrays["kspace"][frame].reshape(COILS, -1), axes=1)
        both = np.linalg.lstsq(system, samples.ravel(), rcond=None)[0].reshape(2, -1)
        root = np.linalg.norm(both, axis=0) * np.exp(1j * np.angle(both[0]))
        assert_close(images[frame], root, 1e-3)


def test_virtual_coils_are_read_in_parts(tmp_path):
    write_raw(tmp_path)
    found = calibrated(tmp_path, coil_maps="none", virtual_coils=2)
    raw = RawData.open(tmp_path / "raw.json")
    data = CorrectedData(raw, found)
    expected = np.tensordot(found.mixing(), raw.kspace(1), axes=1)
    np.testing.assert_allclose(data.kspace(1), expected, rtol=1e-5)
    part = data.kspace(1, slice(1, 2), slice(2, 7))
    np.testing.assert_allclose(part, expected[1:2, 2:7], rtol=1e-5)


def test_jobs_are_planned_for_virtual_coils_that_are_mixed_from_all(tmp_path):
    write_raw(tmp_path)
    found = calibrated(tmp_path, coil_maps="source", virtual_coils=3)
    solved(tmp_path)
    (row,) = read_plan(files_in(tmp_path).plan).blocks.values()
    assert (row.channels, row.coil_batch) == (3, 3)
    settings, _ = reconstruction_settings(algorithm="cg-sense")
    machine, rates = Machine.of(settings, on_device=False, threads=2), Rates.host(2)
    raw = RawData.open(tmp_path / "raw.json")
    (mixed, *_), _ = models(raw, found, settings.reconstruction, machine, rates, "scan")
    plain = replace(mixed, mixed_from=0)

    def seconds(model, **batch):
        work = Work.whole(SHAPE, settings.reconstruction, model, machine, FRAMES)
        return sum(model.accumulation(replace(work, **batch), rates))

    # Two coils more are read than are transformed; for each coil by itself, all five.
    sample = FRAMES * READOUTS * SAMPLES * 8 / rates.read
    for together, more in ((3, 2), (1, 3 * 5 - 3)):
        longer = seconds(mixed, channel_batch=together) - seconds(plain, channel_batch=together)
        assert longer == pytest.approx(more * sample, rel=0.2)


def test_a_share_of_the_energy(tmp_path):
    write_raw(tmp_path)
    receipts = tmp_path / "calibrate.json"
    kept = []
    for share in (0.3, 0.7, 0.999):
        found = calibrated(tmp_path, coil_maps="none", virtual_coils=share)
        told = read_json(receipts)
        assert told["energy_kept"] >= share
        assert told["virtual_coils"] == len(found.mixing())
        kept.append(len(found.mixing()))
    assert kept == sorted(set(kept))


def test_components_are_those_of_the_singular_values():
    samples = complex_normal(np.random.default_rng(1), (4, 50)) * np.array([[1], [4], [2], [0.1]])
    (energy,), (components,) = principal_components((samples @ samples.conj().T)[None])
    singular = np.linalg.svd(samples, compute_uv=False)
    np.testing.assert_allclose(energy, singular**2, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(components @ samples, axis=1), singular, rtol=1e-5)
    np.testing.assert_allclose(components @ components.conj().T, np.eye(4), atol=1e-6)


def test_a_coil_without_noise_is_left_out():
    noise = correlated_noise(np.random.default_rng(5), 4, 100)
    noise[2] = 0
    matrix = whitening_matrix(noise_covariance(noise), "scan")
    assert not matrix[2].any()
    assert not matrix[:, 2].any()
    kept = [0, 1, 3]
    white = (matrix @ noise_covariance(noise) @ matrix.conj().T)[np.ix_(kept, kept)]
    np.testing.assert_allclose(white, white[0, 0].real * np.eye(3), atol=1e-6 * white[0, 0].real)


def test_noise_of_another_bandwidth_is_scaled(tmp_path):
    noise = correlated_noise(np.random.default_rng(6), COILS, 100)
    write_raw(tmp_path, noise, dwell_time=2e-6, noise_dwell_time=8e-6)
    found = calibrated(tmp_path, coil_maps="none", whitening="none")
    level = np.sqrt(np.mean(np.abs(noise) ** 2, axis=1))
    np.testing.assert_allclose(found.noise_level(), 2 * level, rtol=1e-5)


@pytest.mark.parametrize(
    ("noise", "settings", "message"),
    [
        (None, {"whitening": "noise"}, "scan: calibration.whitening is noise, but the source has"),
        (3, {"whitening": "noise"}, "3 samples of noise do not tell the covariance of 5 coils"),
        ("copies", {}, "some combination of coils has no noise"),
        (None, {"virtual_coils": 6}, "calibration.virtual_coils is 6, but there are 5 coils"),
    ],
)
def test_what_cannot_be_mixed(tmp_path, noise, settings, message):
    drawn = correlated_noise(np.random.default_rng(7), COILS, noise if noise == 3 else 300)
    if noise == "copies":
        drawn[1] = drawn[0]
    write_raw(tmp_path, None if noise is None else drawn)
    with pytest.raises(DataError, match=message):
        calibrated(tmp_path, coil_maps="none", **settings)


def test_few_samples_of_noise_are_not_used_unasked(tmp_path):
    write_raw(tmp_path, correlated_noise(np.random.default_rng(7), COILS, 8))
    assert calibrated(tmp_path, coil_maps="none").mixing() is None
