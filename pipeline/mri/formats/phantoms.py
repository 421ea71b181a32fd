"""Ellipses and ellipsoids whose Fourier transform is known in closed form.

Positions are in units of half the field of view: -1 and 1 are its edges, 0 is voxel ``N // 2`` (a
voxel of width ``2 / N`` is centred there). Transforms are those of the continuous object in voxel
units: the integral of ``object(r) exp(-j k.r)`` over positions r [voxel], which is what the sum
over voxels in `pipeline.geometry.axes` approximates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.axes import voxel_positions

_SAMPLES_AT_ONCE = 4096  # so that the temporaries stay in the processor's cache


@dataclass(frozen=True)
class Ellipsoid:
    """A uniform ellipse (two axes) or ellipsoid (three axes)."""

    intensity: float
    semi_axes: tuple[float, ...]
    """Along the image axes, before it is turned [half field of view]."""
    centre: tuple[float, ...]
    """Along the image axes [half field of view]."""
    angle: float = 0.0
    """Rotation in the plane of the last two axes, from x towards y [rad]."""

    def to_unit_ball(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return the matrix from positions relative to the centre [voxel] to the unit ball."""
        rotation = np.eye(len(shape))
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        rotation[-2:, -2:] = [[cosine, -sine], [sine, cosine]]
        half = np.asarray(shape) / 2
        return np.asarray(rotation / np.asarray(self.semi_axes)[:, None] / half)

    def centre_in_voxels(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return the centre relative to voxel ``N // 2`` [voxel]."""
        return np.multiply(self.centre, shape) / 2


# Intensity; semi-axes x, y, z; centre x, y, z; angle [degree]. y points up.
_SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.81, 0.0, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.78, 0.0, -0.0184, 0.0, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.22, 0.0, 0.0, -18.0),
    (-0.2, 0.16, 0.41, 0.28, -0.22, 0.0, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.41, 0.0, 0.35, -0.15, 0.0),
    (0.1, 0.046, 0.046, 0.05, 0.0, 0.1, 0.25, 0.0),
    (0.1, 0.046, 0.046, 0.05, 0.0, -0.1, 0.25, 0.0),
    (0.1, 0.046, 0.023, 0.05, -0.08, -0.605, 0.0, 0.0),
    (0.1, 0.023, 0.023, 0.02, 0.0, -0.606, 0.0, 0.0),
    (0.1, 0.023, 0.046, 0.02, 0.06, -0.605, 0.0, 0.0),
)


def shepp_logan(dimensions: int) -> tuple[Ellipsoid, ...]:
    """Return the Shepp-Logan phantom [1]_ in 2D or 3D [2]_, with Toft's higher contrast [3]_.

    References
    ----------
    .. [1] L. A. Shepp, B. F. Logan, "The Fourier reconstruction of a head section", IEEE Trans.
       Nucl. Sci. 21, 21-43 (1974).
    .. [2] M. Schabel, "3D Shepp-Logan phantom", MATLAB Central File Exchange 9416 (2006), after
       A. C. Kak, M. Slaney, "Principles of computerized tomographic imaging", IEEE Press (1988).
    .. [3] P. A. Toft, "The Radon transform: theory and implementation", PhD thesis, Technical
       University of Denmark (1996), appendix B.
    """
    return tuple(
        Ellipsoid(
            intensity,
            semi_axes=(*(depth,) * (dimensions - 2), height, width),
            centre=(*(z,) * (dimensions - 2), -y, x),  # image rows run downwards
            angle=-np.radians(angle),
        )
        for intensity, width, height, depth, x, y, z, angle in _SHEPP_LOGAN
    )


def moving_ellipsoid(dimensions: int, phase: float) -> Ellipsoid:
    """Return a bright ellipse that circles within the Shepp-Logan phantom and changes its size."""
    size = 1 + 0.25 * np.cos(phase)
    return Ellipsoid(
        0.5,
        semi_axes=(*(0.2,) * (dimensions - 2), 0.14 * size, 0.1 * size),
        centre=(*(0.0,) * (dimensions - 2), 0.25 * np.sin(phase), 0.3 * np.cos(phase)),
    )


def random_ellipsoids(dimensions: int, generator: np.random.Generator) -> tuple[Ellipsoid, ...]:
    """Return a body with four to eleven parts of random place, size, direction and intensity."""
    uniform = generator.uniform
    parts = [Ellipsoid(1.0, tuple(uniform(0.6, 0.85, dimensions)), (0.0,) * dimensions)]
    for _ in range(generator.integers(4, 12)):
        parts.append(
            Ellipsoid(
                uniform(-0.6, 0.6),
                semi_axes=tuple(uniform(0.03, 0.25, dimensions)),
                centre=tuple(uniform(-0.45, 0.45, dimensions)),
                angle=uniform(0, np.pi),
            )
        )
    return tuple(parts)


def fourier_transform(
    ellipsoids: Sequence[Ellipsoid],
    shape: Sequence[int],
    k: NDArray[np.float64],
    shifts: NDArray[np.float64] | None = None,
    coefficients: NDArray[np.complex128] | None = None,
    moved: NDArray[np.float64] | None = None,
) -> NDArray[np.complex128]:
    """Return the transform of an object times modulations, at any points of k-space [1]_.

    The modulation of coil c is the Fourier series ``sum_m coefficients[c, m] exp(j shifts[m].r)``,
    so that its transform is the sum of shifted transforms of the object and exact; by default it is
    1.

    Parameters
    ----------
    ellipsoids, shape
        The object, and the image matrix, which sets the voxel.
    k, shifts
        ``[sample, axis]`` and ``[term, axis]`` [rad/voxel].
    coefficients
        ``[coil, term]``.
    moved
        By how much the object is elsewhere when each sample is taken, ``[sample, axis]`` [voxel].

    Returns
    -------
    ndarray
        complex128 ``[coil, sample]``.

    References
    ----------
    .. [1] M. Guerquin-Kern, L. Lejeune, K. P. Pruessmann, M. Unser, "Realistic analytical phantoms
       for parallel magnetic resonance imaging", IEEE Trans. Med. Imaging 31, 626-636 (2012).
    """
    if shifts is None or coefficients is None:
        shifts, coefficients = np.zeros((1, len(shape))), np.ones((1, 1), dtype=np.complex128)
    result = np.zeros((coefficients.shape[0], k.shape[0]), dtype=np.complex128)
    for start in range(0, k.shape[0], _SAMPLES_AT_ONCE):
        part = slice(start, start + _SAMPLES_AT_ONCE)
        turned = None if moved is None else np.exp(1j * (shifts @ moved[part].T))
        for ellipsoid in ellipsoids:
            to_ball = ellipsoid.to_unit_ball(shape)
            from_ball = np.linalg.inv(to_ball)
            centre = ellipsoid.centre_in_voxels(shape)
            points, offsets = k[part] @ from_ball, shifts @ from_ball
            squared = (
                np.sum(offsets**2, axis=1)[:, None]
                - 2 * (offsets @ points.T)
                + np.sum(points**2, axis=1)
            )
            ball = _unit_ball_transform(np.sqrt(np.maximum(squared, 0.0)), len(shape))
            at_centre = coefficients * np.exp(1j * (shifts @ centre))
            volume = ellipsoid.intensity * np.linalg.det(from_ball)
            phase = k[part] @ centre
            if moved is None or turned is None:
                # Real times real twice: half the work of a complex product.
                sums = at_centre.real @ ball + 1j * (at_centre.imag @ ball)
            else:
                sums = at_centre @ (ball * turned)
                phase += np.sum(k[part] * moved[part], axis=1)
            result[:, part] += sums * (volume * np.exp(-1j * phase))
    return result


def _unit_ball_transform(radius: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Return the transform of the unit disk or ball at the distance ``radius`` from k = 0."""
    small = radius < 0.1  # in 3D the two terms of the numerator cancel there
    square = radius[small] ** 2
    radius = np.where(small, 1.0, radius)
    if dimensions == 2:
        from scipy.special import j1

        result = 2 * np.pi * j1(radius) / radius
        result[small] = np.pi * (1 - square / 8 * (1 - square / 24 * (1 - square / 48)))
    else:
        import torch

        # Sine and cosine are nearly all the work, and torch's are five times faster than NumPy's.
        points = torch.from_numpy(radius)
        sine, cosine = points.sin().numpy(), points.cos().numpy()
        result = 4 * np.pi * (sine - radius * cosine) / (radius * radius * radius)
        series = 1 - square / 10 * (1 - square / 28 * (1 - square / 54))
        result[small] = 4 * np.pi / 3 * series
    return np.asarray(result)


def voxel_average(
    ellipsoids: Sequence[Ellipsoid],
    shape: Sequence[int],
    rows: slice = slice(None),
    *,
    supersampling: int | None = None,
) -> NDArray[np.float64]:
    """Return the object averaged over each voxel of some rows, float64 ``[row, ...]``.

    ``supersampling`` is the points per axis in the voxels that a boundary may cross, by default 16
    in 2D and 8 in 3D; the other voxels are exact.
    """
    if supersampling is None:
        supersampling = 16 if len(shape) == 2 else 8
    axes = [voxel_positions(size) for size in shape]
    axes[0] = axes[0][rows]
    image = np.zeros([axis.size for axis in axes])
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inner = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    inside = np.stack(np.meshgrid(*[inner] * len(shape), indexing="ij"), axis=-1)
    inside = inside.reshape(-1, len(shape))
    for ellipsoid in ellipsoids:
        to_ball = ellipsoid.to_unit_ball(shape)
        mapped = (positions - ellipsoid.centre_in_voxels(shape)) @ to_ball.T
        distance = np.linalg.norm(mapped, axis=-1)
        reach = 0.5 * np.linalg.norm(to_ball, axis=0).sum()  # no corner of a voxel is further
        image[distance <= 1 - reach] += ellipsoid.intensity
        boundary = np.abs(distance - 1) < reach
        corners = mapped[boundary]
        covered = np.zeros(corners.shape[0])
        for offset in inside @ to_ball.T:
            covered += np.sum((corners + offset) ** 2, axis=-1) <= 1
        image[boundary] += ellipsoid.intensity * covered / inside.shape[0]
    return image
