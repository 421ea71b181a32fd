import numpy as np
import pytest
from scipy.integrate import quad

from pipeline.mri.formats.phantoms import (
    Ellipsoid,
    fourier_transform,
    moving_ellipsoid,
    shepp_logan,
    voxel_average,
)

SHAPES = [(13, 16), (8, 9, 11)]


def fine_sum(values, k, shape, supersampling):
    """Sum over a supersampled grid, whose points are spread within the voxels."""
    axes = []
    for size in shape:
        fine = (np.arange(size * supersampling) + 0.5) / supersampling - 0.5 - size // 2
        axes.append(fine)
    result = values(*np.meshgrid(*axes, indexing="ij")).astype(np.complex128)
    phases = [np.exp(-1j * np.outer(k[:, i], axis)) for i, axis in enumerate(axes)]
    letters = "abc"[: len(shape)]
    factors = ",".join(f"s{letter}" for letter in letters)
    total = np.einsum(f"{letters},{factors}->s", result, *phases, optimize=True)
    return total / supersampling ** len(shape)


def inside(ellipsoid, shape):
    def values(*positions):
        relative = np.stack(positions, axis=-1) - ellipsoid.centre_in_voxels(shape)
        radius = np.linalg.norm(relative @ ellipsoid.to_unit_ball(shape).T, axis=-1)
        return ellipsoid.intensity * (radius <= 1)

    return values


@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
def test_transform_matches_numerical_integration(shape):
    rng = np.random.default_rng(2)
    semi_axes, centre = rng.uniform(0.3, 0.6, len(shape)), rng.uniform(-0.3, 0.3, len(shape))
    ellipsoid = Ellipsoid(1.7, tuple(semi_axes), tuple(centre), angle=0.6)
    k = rng.uniform(-1.5, 1.5, (12, len(shape)))
    k[0] = 0
    found = fourier_transform([ellipsoid], shape, k)[0]
    expected = fine_sum(inside(ellipsoid, shape), k, shape, 32 if len(shape) == 2 else 12)
    np.testing.assert_allclose(found, expected, atol=3e-3 * abs(found[0]))


def test_transform_of_a_disk_matches_adaptive_quadrature():
    # A line integral of a disk is a half circle, so its transform is a 1D integral.
    disk = Ellipsoid(1.0, (0.5, 0.5), (0.0, 0.0))
    radius = 0.25 * 20
    for k in (1e-9, 0.01, 0.3, 2.5):
        expected, _ = quad(
            lambda r, k=k: 2 * np.sqrt(radius**2 - r**2) * np.cos(k * r), -radius, radius
        )
        found = fourier_transform([disk], (20, 20), np.array([[k, 0.0], [0.0, -k]]))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_transform_of_a_ball_is_smooth_where_the_series_takes_over():
    ball = Ellipsoid(1.0, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    k = np.zeros((3, 3))
    k[:, 1] = [0.1 - 1e-7, 0.1, 0.1 + 1e-7]
    values = fourier_transform([ball], (2, 2, 2), k)[0].real
    assert abs(values[2] - 2 * values[1] + values[0]) < 1e-12
    np.testing.assert_allclose(values, 4 * np.pi / 3, rtol=2e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])
def test_voxel_average_matches_supersampling(shape):
    objects = (*shepp_logan(len(shape)), moving_ellipsoid(len(shape), 1.0))
    fine = 24 if len(shape) == 2 else 10
    axes = [(np.arange(size * fine) + 0.5) / fine - 0.5 - size // 2 for size in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    expected = sum(inside(ellipsoid, shape)(*grid) for ellipsoid in objects)
    for axis in range(len(shape)):
        expected = np.stack(
            [part.mean(axis=axis) for part in np.split(expected, shape[axis], axis=axis)],
            axis=axis,
        )
    np.testing.assert_allclose(
        voxel_average(objects, shape, supersampling=fine), expected, atol=1e-12
    )
    found = voxel_average(objects, shape)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.01
    np.testing.assert_array_equal(voxel_average(objects, shape, slice(2, 5)), found[2:5])


def test_shepp_logan_has_its_known_values():
    image = voxel_average(shepp_logan(2), (256, 256))
    assert image[128, 128] == pytest.approx(0.2)
    assert image[90, 128] == pytest.approx(0.3)  # the large grey spot, in the upper half
    assert image[128, 100] == pytest.approx(0.0, abs=1e-12)  # a ventricle
    assert image.max() == pytest.approx(1.0)
    assert image[0].max() == 0.0
    middle = voxel_average(shepp_logan(3), (64, 64, 64))[32]
    flat = voxel_average(shepp_logan(2), (64, 64))
    assert np.corrcoef(middle.ravel(), flat.ravel())[0, 1] > 0.97
