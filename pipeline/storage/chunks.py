"""Sizes of stored chunks, and where images lie."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.axes import as_volume

CHUNK_BYTES = 8 * 2**20
"""Size of stored chunks; a reader holds one beside the array that it fills."""


def centred_affine(shape: Sequence[int], voxel_size: Sequence[float]) -> NDArray[np.float64]:
    """Return the affine that puts the voxel ``N // 2`` of each axis at the origin.

    Parameters
    ----------
    shape
        Image matrix, ``(y, x)`` or ``(z, y, x)``.
    voxel_size
        Per image axis [m]. A 2D image is as thick as its voxels are wide.

    Returns
    -------
    ndarray
        float64 ``(4, 4)``: maps the index ``(z, y, x, 1)`` to a position ``(z, y, x, 1)`` [m].
    """
    sizes = (voxel_size[-1], *voxel_size)[-3:]
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = [
        -size * (count // 2) for size, count in zip(sizes, as_volume(shape), strict=True)
    ]
    return affine
