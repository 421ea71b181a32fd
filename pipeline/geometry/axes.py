"""The conventions that every other module refers to.

Image axes are ``(z, y, x)``, or ``(y, x)`` in 2D, in C order. Component ``i`` of a trajectory
belongs to image axis ``i``. Voxel ``n`` of an axis with ``N`` voxels lies at ``r = n - N // 2``.
Trajectories are in rad/voxel in ``[-pi, pi)``, and

    kspace(k) = sum_r image[r] exp(-j k.r)

without any scaling; the adjoint is the exact conjugate transpose.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def voxel_positions(size: int) -> NDArray[np.float64]:
    """Return the positions of an axis' voxels, float64 ``(size,)``: ``n - N // 2`` [voxel]."""
    return np.arange(size, dtype=np.float64) - size // 2


def as_volume(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return ``shape`` as ``(z, y, x)``; a 2D ``(y, x)`` becomes ``(1, y, x)``."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) == 2:
        return (1, *sizes)
    if len(sizes) == 3:
        return sizes
    raise ValueError(f"an image has 2 or 3 axes, found shape {sizes}")


def resampled_coordinates(from_size: int, to_size: int) -> NDArray[np.float64]:
    """Return where the voxels of one axis of a new matrix lie on the old one.

    float64 ``(to_size,)``: fractional indices into the old matrix. Up to one voxel at either end
    may lie outside it.
    """
    return voxel_positions(to_size) * (from_size / to_size) + from_size // 2


def resampled_affine(
    affine: NDArray[np.floating], from_shape: Sequence[int], to_shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return the affine of a new matrix over the same field of view, float64 ``(4, 4)``.

    Affines take indices to positions; sizes are in the order of their indices.
    """
    to_old = np.eye(4)
    for axis, (before, after) in enumerate(zip(from_shape, to_shape, strict=True)):
        to_old[axis, axis] = before / after
        to_old[axis, 3] = before // 2 - (after // 2) * (before / after)
    return np.asarray(affine, dtype=np.float64) @ to_old


def centred_affine(
    shape: Sequence[int], voxel_size: Sequence[float], thickness: float | None = None
) -> NDArray[np.float64]:
    """Return the affine ``(4, 4)`` that puts the voxel ``N // 2`` of each axis at the origin.

    It maps the index ``(z, y, x, 1)`` to a position ``(z, y, x, 1)`` [m]. The size of voxels is
    given per image axis [m]. A 2D image is as thick as they are wide, unless a thickness is given.
    """
    sizes = (thickness or voxel_size[-1], *voxel_size)[-3:]
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = [
        -size * (count // 2) for size, count in zip(sizes, as_volume(shape), strict=True)
    ]
    return affine
