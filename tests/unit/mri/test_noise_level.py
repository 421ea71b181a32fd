from dataclasses import dataclass

import numpy as np
import pytest
from acquisitions import write_attributes
from calibrating import calibrated_in

from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.noise import estimated_noise
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, random_ellipsoids, shepp_logan
from pipeline.mri.generators.radial import golden_radial, kooshball, stack_of_stars
from pipeline.mri.generators.winding import spiral
from pipeline.storage.publish import published_store, read_json


@dataclass
class Measurement:
    """Samples in memory, read as `RawData` is."""

    k: np.ndarray
    y: np.ndarray

    def __post_init__(self):
        self.frames, self.coils, self.readouts, self.samples = self.y.shape

    def trajectory(self, frame, readouts):
        return self.k[frame, readouts].astype("float32")

    def kspace(self, frame, coils, readouts):
        return self.y[frame, coils, readouts].astype("complex64")


def white(generator, shape):
    return generator.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)


def series(make, frames):
    return np.stack([make(frame) for frame in range(frames)])


@pytest.mark.parametrize("phantom", [shepp_logan, random_ellipsoids])
@pytest.mark.parametrize(
    ("shape", "k"),
    [
        ((160, 150), series(lambda frame: golden_radial(34, 320, frame=frame), 2)),
        ((160, 150), series(lambda frame: golden_radial(13, 300, frame=frame), 3)),
        ((64, 70), spiral(4, 3000)[None]),
        ((44, 52, 60), kooshball(900, 96)[None]),
        ((8, 44, 52), stack_of_stars(40, 104, 8)[None]),
    ],
    ids=["radial", "few spokes", "spiral", "kooshball", "stack of stars"],
)
def test_signal_is_not_taken_for_noise(shape, k, phantom):
    generator = np.random.default_rng(5)
    objects = phantom(len(shape), *([generator] if phantom is random_ellipsoids else []))
    coils = coils_around(shape, 3)
    points = k.reshape(-1, len(shape))
    signal = fourier_transform(objects, shape, points, coils.shifts, coils.coefficients)
    signal = np.moveaxis(signal.reshape(3, *k.shape[:-1]), 0, 1)
    rms = np.sqrt(np.mean(np.abs(signal) ** 2))
    for decibel in (5, 25, 45):
        # Coils differ in their noise by more than the error that is allowed.
        true = rms * 10 ** (-decibel / 20) * np.array([0.6, 1.0, 1.5])
        noisy = signal + true[:, None, None] * white(generator, signal.shape)
        np.testing.assert_allclose(estimated_noise(Measurement(k, noisy)), true, rtol=0.2)


def test_what_was_not_measured_has_no_noise_and_hides_none():
    generator = np.random.default_rng(6)
    y = 0.3 * white(generator, (2, 3, 40, 128))
    y[:, :, ::2] = 0
    y[:, 1] = 0
    k = series(lambda frame: golden_radial(40, 128, frame=frame), 2)
    found = estimated_noise(Measurement(k, y))
    assert found[1] == 0
    np.testing.assert_allclose(found[[0, 2]], 0.3, rtol=0.1)


def test_noise_of_another_bandwidth_is_told(tmp_path):
    """Of twice the deviation, as of a quarter of the dwell time; and not once that is known."""
    generator = np.random.default_rng(8)
    k = generator.uniform(-3, 3, (1, 60, 64, 2))
    y, noise = white(generator, (1, 2, 60, 64)), 2 * white(generator, (2, 500))
    told = {}
    for name, times in (
        ("unknown", {}),
        ("right", {"dwell_time": 4e-6, "noise_dwell_time": 1e-6}),
        ("wrong", {"dwell_time": 4e-6, "noise_dwell_time": 4e-6}),
    ):
        folder = tmp_path / name
        with published_store(folder / "raw.json") as group:
            write_attributes(group, (24, 20), (1e-3, 1e-3))
            group.attrs.update(pattern="other", **times)
            for array, values in (("trajectory", k), ("kspace", y), ("noise", noise)):
                stored = ARRAYS.create(group, array, values.shape)
                stored[:] = values.astype(stored.dtype)
        found = calibrated_in(folder, coil_maps="none", density="none", whitening="none")
        assert found.noise == "measured"
        told[name] = read_json(folder / "calibrate.json").get("warnings", [])
    assert any("times as strong" in one and "set both" in one for one in told["unknown"])
    assert any("check them" in one for one in told["wrong"])
    assert not any("times as strong" in one for one in told["right"])


@pytest.mark.parametrize("samples", [1, 5, 17])
def test_short_readouts(samples):
    generator = np.random.default_rng(7)
    y = 2 * white(generator, (1, 2, 500, samples))
    k = generator.uniform(-3, 3, (1, 500, samples, 2))
    np.testing.assert_allclose(estimated_noise(Measurement(k, y)), 2, rtol=0.15)
