"""Measured trajectories, read some readouts at a time, and of what kind they are.

A trajectory may be longer than memory, so whoever looks at all of it does so in slabs.
"""

from itertools import product
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.pieces import pieces

SAMPLES_AT_A_TIME = 2**18
"""Samples of a trajectory that are looked at together."""

_FARTHEST = 4 * np.pi
"""More than any ``|k|`` is, also where a correction has moved it [rad/voxel]."""

POSITIONS_AT_ONCE = 2**20
"""Samples whose positions are brought into the form of a tile at one moment."""

Spokes = Literal["radial", "stack-of-stars", "other"]
Pattern = Literal["cartesian", Spokes]
"""Of what kind readouts are; Cartesian where all samples lie on the grid of the matrix."""


class Readouts(Protocol):
    """The trajectory of one frame, read some readouts at a time: an array, or a store of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes ``(readout, sample, axis)``."""

    def __getitem__(self, readouts: slice, /) -> NDArray[np.floating]:
        """Return some readouts, ``[readout, sample, axis]`` [rad/voxel]."""


def readout_slabs(trajectory: Readouts) -> list[slice]:
    """Return ranges of readouts that cover a trajectory, of some 2**18 samples each."""
    readouts, samples = trajectory.shape[:2]
    return pieces(readouts, max(1, SAMPLES_AT_A_TIME // samples))


def sampling_pattern(trajectory: Readouts) -> Spokes:
    """Return of what kind the readouts of a trajectory ``[readout, sample, axis]`` are."""
    if is_radial(trajectory):
        return "radial"
    return "stack-of-stars" if is_stack_of_stars(trajectory) else "other"


def is_radial(trajectory: Readouts, *, tolerance: float = 1e-4) -> bool:
    """Say whether each readout lies on a straight line through the centre of k-space.

    ``tolerance`` is the distance from the line that passes, relative to the largest ``|k|``.
    """
    if trajectory.shape[1] < 2:  # a point always lies on a line
        return False
    distance = radius = 0.0
    for slab in readout_slabs(trajectory):
        distance, radius = np.maximum((distance, radius), _line_distance(trajectory[slab]))
        if distance > tolerance * _FARTHEST:
            return False
    return bool(distance <= tolerance * radius)


def _line_distance(points: NDArray[np.floating]) -> tuple[float, float]:
    """Return the largest distance of readouts from lines through the centre, and from it."""
    radius = _lengths(points)
    # pi and -pi are one frequency on a grid, and stored as -pi: such a sample may lie on either end
    # of its line, and does not tell the direction.
    at_edge = np.abs(points) >= np.pi * (1 - 1e-6)
    some = at_edge.any(axis=-1)
    inside = np.where(some, 0.0, radius)
    told = inside.max(axis=1, keepdims=True) > 0
    outermost = np.argmax(np.where(told, inside, radius), axis=1)
    rows = np.arange(points.shape[0])
    length = np.maximum(radius[rows, outermost], np.finfo(radius.dtype).tiny)
    directions = points[rows, outermost] / length[:, None]
    across = _across(points, directions[:, None, :])
    readout = np.nonzero(some)[0]
    for signs in product((1, -1), repeat=points.shape[-1]):
        turned = np.where(at_edge[some], points[some] * np.asarray(signs), points[some])
        across[some] = np.minimum(across[some], _across(turned, directions[readout]))
    return float(across.max()), float(radius.max())


def _across(points: NDArray[np.floating], directions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the distance of points from lines through the centre."""
    along = np.einsum("...i,...i->...", points, directions)[..., None]
    return _lengths(points - along * directions)


def _lengths(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return lengths along the last axis: a short one, along which `numpy.linalg.norm` is slow."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", points, points)))


def is_stack_of_stars(trajectory: Readouts, *, tolerance: float = 1e-4) -> bool:
    """Say whether a 3D trajectory is spokes through the z axis, in planes of constant kz.

    ``tolerance`` is the deviation that passes, relative to the largest ``|k|``.
    """
    if trajectory.shape[-1] != 3 or trajectory.shape[1] < 2:
        return False
    slope, farthest, distance, in_plane = 0.0, 0.0, 0.0, 0.0
    lowest, highest = np.inf, -np.inf
    for slab in readout_slabs(trajectory):
        points = trajectory[slab]
        height = points[..., 0]
        slope = max(slope, float(np.ptp(height, axis=1).max()))
        if slope > tolerance * _FARTHEST:
            return False
        lowest, highest = min(lowest, float(height.min())), max(highest, float(height.max()))
        farthest = max(farthest, float(np.linalg.norm(points, axis=-1).max()))
        distance, in_plane = np.maximum((distance, in_plane), _line_distance(points[..., 1:]))
    allowed = tolerance * farthest
    return bool(
        slope <= allowed and highest - lowest > allowed and distance <= tolerance * in_plane
    )
