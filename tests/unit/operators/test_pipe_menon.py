import numpy as np
import pytest

from pipeline.config.transforms import NufftSettings
from pipeline.mri.calibration.radial_density import radial_weights
from pipeline.mri.generators.radial import golden_radial
from pipeline.mri.generators.winding import spiral
from pipeline.operators.pipe_menon import pipe_menon_weights

SETTINGS = NufftSettings(tolerance=1e-5)


def weights_of(trajectory: np.ndarray, shape, iterations=20, device="cpu") -> np.ndarray:
    found = pipe_menon_weights(
        trajectory, shape, iterations=iterations, nufft=SETTINGS, device=device
    )
    assert (found.dtype, found.shape) == (np.float32, trajectory.shape[:2])
    return found


@pytest.mark.parametrize("shape", [(12, 15), (6, 8, 5)])
def test_cartesian_samples_stand_for_one_cell_each(shape):
    axes = [2 * np.pi * (np.arange(size) - size // 2) / size for size in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, len(shape))
    np.testing.assert_allclose(weights_of(grid, shape), 1 / np.prod(shape), rtol=0.03)


def test_repeated_samples_share_a_cell():
    shape = (10, 10)
    axes = [2 * np.pi * (np.arange(size) - size // 2) / size for size in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, 2)
    weights = weights_of(np.concatenate([grid, grid[:, :30]], axis=1), shape)
    np.testing.assert_allclose(weights[0, 40:100], 0.01, rtol=0.03)
    np.testing.assert_allclose(weights[0, :30], 0.005, rtol=0.03)
    np.testing.assert_allclose(weights[0, 100:], 0.005, rtol=0.03)


def test_agrees_with_closed_form_on_spokes():
    trajectory = golden_radial(144, 96)
    found = weights_of(trajectory, (48, 48)).mean(axis=0)
    expected = radial_weights(trajectory).mean(axis=0)
    # Near the centre and at the edge the kernel sees that the density changes within its width.
    middle = np.r_[8:40, 57:89]
    np.testing.assert_allclose(found[middle], expected[middle], rtol=0.03)


@pytest.mark.parametrize(
    "trajectory",
    [spiral(16, 1200), golden_radial(101, 64)],
    ids=["spiral", "barely sampled spokes"],
)
def test_gridded_object_has_its_intensity(trajectory):
    shape = (64, 64)
    weights = weights_of(trajectory, shape).ravel()
    assert (weights > 0).all()
    points = trajectory.reshape(-1, 2)
    width = 4.0  # of a Gaussian [voxel]
    kspace = 2 * np.pi * width**2 * np.exp(-(width**2) * np.sum(points**2, axis=-1) / 2)
    positions = np.array([[0, 0], [3, 4], [-8, 0], [20, 0]])
    image = np.exp(1j * positions @ points.T) @ (weights * kspace)
    expected = np.exp(-np.sum(positions**2, axis=1) / (2 * width**2))
    np.testing.assert_allclose(image, expected, atol=0.03)


@pytest.mark.gpu
def test_gpu_agrees():
    trajectory = golden_radial(55, 64)
    on_cpu = weights_of(trajectory, (32, 30))
    on_gpu = weights_of(trajectory, (32, 30), device="cuda")
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-2, atol=1e-3 * on_cpu.max())
