"""Trajectories in rad/voxel, in the conventions of `pipeline.geometry.axes`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OFF_GRID = 1e-3
"""Cycles per field of view by which samples may miss the grid and still be taken for Cartesian."""


def wrapped(trajectory: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a trajectory in single precision, within ``[-pi, pi)`` [rad/voxel].

    It may leave ``[-pi, pi]`` by rounding. On voxel positions, which are integers, k and k + 2 pi
    are the same, so that the upper edge, pi, is moved to the lower one. Rounding to single
    precision can move a value that was just inside to just outside, so this comes after it.
    """
    single = np.array(trajectory, dtype=np.float32)
    turn = np.float32(2 * np.pi)
    single[single >= np.float32(np.pi)] -= turn
    single[single < np.float32(-np.pi)] += turn
    return single


def resampled(
    trajectory: NDArray[np.floating], from_shape: Sequence[int], to_shape: Sequence[int]
) -> NDArray[np.floating]:
    """Return a trajectory ``[..., axis]`` for another matrix over the same field of view.

    From rad per voxel of ``from_shape`` to rad per voxel of ``to_shape``; both are in the order of
    the trajectory's components. On a coarser matrix the outer part of the result lies outside
    ``[-pi, pi)``: that resolution cannot be had there.
    """
    if not trajectory.shape[-1] == len(from_shape) == len(to_shape):
        raise ValueError(
            f"a trajectory of {trajectory.shape[-1]} components cannot go from matrix "
            f"{tuple(from_shape)} to {tuple(to_shape)}"
        )
    ratio = np.asarray(from_shape, dtype=np.float64) / np.asarray(to_shape, dtype=np.float64)
    return trajectory * ratio.astype(trajectory.dtype)
