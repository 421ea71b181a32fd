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
