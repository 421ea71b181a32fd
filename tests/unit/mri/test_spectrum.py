"""Signal and noise at each spatial frequency: what is found of them, and what is made of it."""

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from adjointness import random_complex
from allocations import Allocations
from stage_runs import reconstructed

from pipeline.algorithms.base import Problem
from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.equations import Known, decided
from pipeline.mri.calibration.spectrum import fitted_law, measured_shells
from pipeline.mri.raw import RawData
from pipeline.operators.circulant import voxel_averages
from pipeline.operators.inner import chunk_size, inner_product_bytes
from pipeline.solvers.checkpoints import NO_CHECKPOINT
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.spectrum import Spectrum
from pipeline.storage.calibration import Calibration


class Found:
    """Weights and noise of a calibration, in memory."""

    def __init__(self, weights, levels):
        self._weights, self._levels = weights, levels

    def weights(self, frame, readouts):
        return self._weights[readouts]

    def noise_level(self):
        return self._levels


class Samples:
    """Random samples whose power is a law of the radius, and noise."""

    def __init__(self, generator, exponent, noise):
        self.shape, self.voxel_size = (64, 48), (0.002, 0.003)
        self.frames, self.coils, self.readouts, self.samples = 1, 2, 300, 40
        self.k = generator.uniform(-np.pi, np.pi, (300, 40, 2)).astype(np.float32)
        self.radius = np.linalg.norm(self.k / np.array(self.voxel_size), axis=-1)
        deviation = np.sqrt(1e3 * self.radius**exponent)
        drawn = generator.standard_normal((2, 2, 300, 40, 2)) @ [1, 1j] / np.sqrt(2)
        self.y = drawn[0] * deviation + drawn[1] * np.array(noise)[:, None, None]

    def trajectory(self, frame, readouts):
        return self.k[readouts]

    def kspace(self, frame, coils, readouts):
        return self.y[coils, readouts]


@pytest.mark.parametrize("exponent", [-2.0, -3.5])
def test_the_law_is_found_beside_noise(exponent):
    generator = np.random.default_rng(1)
    level = np.array([1.0, 2.0]) * np.sqrt(1e3 * 800.0**exponent)
    data = Samples(generator, exponent, level)
    weights = generator.uniform(0.5, 1.5, (300, 40))
    shells = measured_shells(data, Found(weights, level))
    slope, height = fitted_law(shells)
    assert slope == pytest.approx(exponent, abs=0.1)
    # Of two coils; at 400 rad/m.
    expected = 2e3 * 400.0**exponent
    assert np.exp(height + slope * np.log(400)) == pytest.approx(expected, rel=0.1)
    assert shells.noise == pytest.approx(np.sum(level**2))
    np.testing.assert_allclose(shells.weight, 13 / 12, rtol=0.05)


def test_noise_alone_has_no_law():
    generator = np.random.default_rng(2)
    data = Samples(generator, -2.0, (1.0, 1.0))
    data.y = generator.standard_normal((2, 300, 40, 2)) @ [1, 1j] / np.sqrt(2)
    assert fitted_law(measured_shells(data, Found(np.ones((300, 40)), np.ones(2)))) is None


def dense_prior(shape, voxel, radius, ratio):
    """Return the matrix of a weight for each spatial frequency, by a sum of waves."""
    positions = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    positions = positions.reshape(-1, len(shape))
    total = 0
    for index in np.ndindex(*shape):
        k = [2 * np.pi * ((i + n // 2) % n - n // 2) / n for i, n in zip(index, shape, strict=True)]
        distance = np.linalg.norm(np.divide(k, voxel))
        where = np.log(max(distance, radius[0]))
        weight = np.exp(np.interp(where, np.log(radius), np.log(ratio)))
        wave = np.exp(1j * positions @ k)
        total = total + weight / len(wave) * np.outer(wave, wave.conj())
    return total


@pytest.mark.parametrize("weights", ["density", "none"])
@pytest.mark.parametrize("apodization", ["none", "voxel"])
def test_wiener_images_solve_the_dense_equations(tmp_path, weights, apodization):
    shape, coils, frames = (10, 7), 3, 2
    radius = np.array([300.0, 900.0, 2000.0, 3500.0])
    signal, noise, enlarged = 40 * radius**-0.5, np.full(4, 0.5), np.array([1.0, 1.5, 2.0, 1.2])
    write_acquisition(
        tmp_path, shape=shape, coils=coils, readouts=11, samples=13, frames=frames,
        spectrum=np.stack([radius, signal, noise, enlarged]),
    )  # fmt: skip
    before = Calibration.open(tmp_path / "calibration.json")
    found, receipt = reconstructed(
        tmp_path, algorithm="cg-sense", frames_per_image="all", weights=weights,
        apodization=apodization, tolerance=1e-9, converged=1e-12, iterations=200,
        precision="double",
    )  # fmt: skip
    raw, maps = RawData.open(tmp_path / "raw.json"), before.sensitivities().reshape(coils, -1)
    squares = np.sum(np.abs(maps) ** 2, axis=0)
    gram, b = 0, 0
    positions = np.stack(np.meshgrid(np.arange(10) - 5, np.arange(7) - 3, indexing="ij"), 0)
    for frame in range(frames):
        k = raw.trajectory(frame).reshape(-1, 2).astype(np.float64)
        fourier = np.exp(-1j * k @ positions.reshape(2, -1))
        w = before.weights(frame).ravel().astype(np.float64) / frames
        w = w if weights == "density" else np.full_like(w, 1 / frames)
        for coil, y in zip(maps, raw.kspace(frame).reshape(coils, -1), strict=True):
            system = fourier * coil
            gram = gram + system.conj().T @ (w[:, None] * system)
            b = b + system.conj().T @ (w * y)
    factor = enlarged if weights == "density" else 1.0
    mean = np.sum(squares**2) / np.sum(squares)
    ratio = 70 / frames * mean * noise / coils * factor / signal
    expected = np.linalg.solve(gram + dense_prior(shape, (1e-3, 1e-3), radius, ratio), b)
    expected = expected.reshape(shape)
    if apodization == "voxel":
        expected = voxel_averages(torch.from_numpy(expected), shape).numpy()
    assert np.linalg.norm(found.squeeze() - expected) < 1e-5 * np.linalg.norm(expected)
    chosen = receipt["defaults"]
    assert chosen["regularization"] == "wiener"
    assert chosen["preconditioner"] == "spectrum"
    assert "signal and noise are known" in chosen["because"]
    assert set(receipt["stopped"]) == {"tolerance"}


def test_the_memory_of_a_wiener_solve_is_predicted():
    shape = (40, 48, 36)
    settings, _ = decided(parse_algorithm({"algorithm": "cg-sense"}), Known("mri"))
    b = random_complex(1, *shape, dtype=torch.complex64)
    energy = torch.tensor([1e9], dtype=torch.float64)

    def spectrum():
        return Spectrum(torch.ones(shape), torch.rand(shape))

    problem = Problem(
        NormalEquations(b, lambda x: 1.5 * x, energy), torch.ones(1, dtype=torch.float64), 3, None,
        lambda: None, "a test", spectrum,
    )  # fmt: skip
    with Allocations() as measured:
        found = settings.run(problem, lambda *told: None, NO_CHECKPOINT)
    predicted = settings.vectors(b.shape, itemsize=8, kernels=1)
    # Inner products take less on a CPU than on a device.
    predicted += 24 * chunk_size(b.device) - inner_product_bytes()
    assert 0.6 * predicted < measured.peak <= predicted
    assert found.stopped == ["tolerance"]
