"""Measured trajectories, read some readouts at a time, and of what kind they are.

A trajectory may be longer than memory, so whoever looks at all of it does so in slabs.
"""

from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

_SAMPLES_AT_A_TIME = 2**18


Pattern = Literal["radial", "stack-of-stars", "other"]


class Readouts(Protocol):
    """The trajectory of one frame, read some readouts at a time: an array, or a store of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes ``(readout, sample, axis)``."""

    def __getitem__(self, readouts: slice, /) -> NDArray[np.floating]:
        """Return some readouts, ``[readout, sample, axis]`` [rad/voxel]."""


def readout_slabs(trajectory: Readouts) -> Iterator[slice]:
    """Yield ranges of readouts that cover a trajectory, of some 2**18 samples each."""
    readouts, samples = trajectory.shape[:2]
    rows = max(1, _SAMPLES_AT_A_TIME // samples)
    for start in range(0, readouts, rows):
        yield slice(start, min(start + rows, readouts))


def sampling_pattern(trajectory: Readouts) -> Pattern:
    """Return of what kind the readouts of a trajectory ``[readout, sample, axis]`` are."""
    if is_radial(trajectory):
        return "radial"
    return "stack-of-stars" if is_stack_of_stars(trajectory) else "other"


def is_radial(trajectory: Readouts, *, tolerance: float = 1e-4) -> bool:
    """Say whether each readout lies on a straight line through the centre of k-space.

    Parameters
    ----------
    trajectory
        ``[readout, sample, axis]`` of one frame.
    tolerance
        Distance from the line that passes, relative to the largest ``|k|``.
    """
    if trajectory.shape[1] < 2:  # a point always lies on a line
        return False
    found = [_line_distance(trajectory[slab]) for slab in readout_slabs(trajectory)]
    distance, radius = np.max(found, axis=0)
    return bool(distance <= tolerance * radius)


def _line_distance(points: NDArray[np.floating]) -> tuple[float, float]:
    """Return the largest distance of readouts from lines through the centre, and from it."""
    radius = np.linalg.norm(points, axis=-1)
    outermost = np.argmax(radius, axis=1)
    rows = np.arange(points.shape[0])
    length = np.maximum(radius[rows, outermost], np.finfo(radius.dtype).tiny)
    directions = points[rows, outermost] / length[:, None]
    along = np.einsum("rsa,ra->rs", points, directions)
    distance = np.linalg.norm(points - along[..., None] * directions[:, None, :], axis=-1)
    return float(distance.max()), float(radius.max())


def is_stack_of_stars(trajectory: Readouts, *, tolerance: float = 1e-4) -> bool:
    """Say whether a 3D trajectory is spokes through the z axis, in planes of constant kz.

    Parameters
    ----------
    trajectory
        ``[readout, sample, (z, y, x)]`` of one frame.
    tolerance
        Deviation that passes, relative to the largest ``|k|``.
    """
    if trajectory.shape[-1] != 3 or trajectory.shape[1] < 2:
        return False
    slope, farthest, distance, in_plane = 0.0, 0.0, 0.0, 0.0
    lowest, highest = np.inf, -np.inf
    for slab in readout_slabs(trajectory):
        points = trajectory[slab]
        height = points[..., 0]
        slope = max(slope, float(np.ptp(height, axis=1).max()))
        lowest, highest = min(lowest, float(height.min())), max(highest, float(height.max()))
        farthest = max(farthest, float(np.linalg.norm(points, axis=-1).max()))
        distance, in_plane = np.maximum((distance, in_plane), _line_distance(points[..., 1:]))
    allowed = tolerance * farthest
    return bool(
        slope <= allowed and highest - lowest > allowed and distance <= tolerance * in_plane
    )
