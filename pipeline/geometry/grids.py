"""One field of view on several matrices: voxel ``N // 2`` stays where it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.axes import voxel_positions


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
