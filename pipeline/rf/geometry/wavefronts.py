"""Paths from a transmitter over a voxel to a receiver, expanded about the centre of a scene.

With ``u = x - x_c`` and the unit vector ``uhat`` from an antenna at ``s`` to the centre ``x_c``,

    |x - s| = R + uhat . u + |u_perp|^2 / (|x - s| + R + uhat . u),   u_perp = u - (uhat . u) uhat

exactly. The first term belongs to the antenna, the second is a plane wave, the third is the
curvature of the wavefront [1]_.

References
----------
.. [1] M. Soumekh, "Synthetic Aperture Radar Signal Processing", Wiley (1999), chapter 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene


def beyond_plane(along: Any, squares: Any, distance: float) -> Any:
    """Return what a plane wave lacks of the leg from an antenna to positions [m].

    ``along`` is ``uhat . u`` and ``squares`` is ``|u|^2`` of each, arrays of NumPy or of torch, and
    ``distance`` is ``R``.
    """
    across, end = squares - along**2, along + distance
    # |x - s| - R - along without the cancellation of large, nearly equal numbers
    return across / ((across + end**2) ** 0.5 + end)


def path_curvature(
    positions: NDArray[np.float64],
    centre: NDArray[np.float64],
    tx: NDArray[np.float64],
    rx: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what a plane wave lacks of the path over positions ``(position, 3)`` [m].

    float64 ``(position,)`` [m]. At ``centre``, ``(3,)`` [m], the plane wave is right.
    """
    offsets = positions - centre
    squares = np.sum(offsets**2, axis=1)
    total = np.zeros(len(positions))
    for antenna in (tx, rx):
        sight = centre - antenna
        distance = float(np.linalg.norm(sight))
        total += beyond_plane(offsets @ (sight / distance), squares, distance)
    return total


@dataclass(frozen=True, eq=False)
class SeparableRows:
    """Paths and directions of a pair's measurements, separated over the scene axes.

    The sum of the paths is the best separable fit; it is exact for linear arrays. The directions
    are those of the sum of both unit vectors from the elements to the centre of the scene; a third
    axis has a single row.
    """

    paths: tuple[NDArray[np.float64], ...]  # (m_i,) of each axis: beyond the ranges, m
    directions: tuple[NDArray[np.float64], ...]  # (m_i,) of each axis: its component
    ranges: tuple[float, float]  # from the centres of both arrays to that of the scene, m


def separable_rows(scene: Scene, pair: Pair) -> SeparableRows:
    """Separate the paths of a pair, not paired one by one, to the centre of a scene.

    Each element has the direction from its own position, averaged over the other axis of its array.
    To first order that is its offset transverse to the line of sight, divided by the range, so that
    oblique arrays need no treatment of their own.
    """
    paths, directions = [np.zeros(1)] * 3, [np.zeros(1)] * 3
    ranges = []
    for centre, positions, grid in zip(pair.centres, (pair.tx, pair.rx), pair.grids, strict=True):
        sight = scene.centre - positions
        distance = np.linalg.norm(sight, axis=1)
        unit = (sight / distance[:, None]).reshape(*grid, 3)
        ranges.append(float(np.linalg.norm(scene.centre - centre)))
        excess = (distance - ranges[-1]).reshape(grid)
        of_axis = [excess.mean(axis=1 - axis) - excess.mean() for axis in (0, 1)]
        of_axis[int(np.argmax(grid))] += excess.mean()
        for axis in (0, 1):
            towards = unit[..., axis].mean(axis=1 - axis)
            paths[axis] = np.add.outer(paths[axis], of_axis[axis]).ravel()
            directions[axis] = np.add.outer(directions[axis], towards).ravel()
        directions[2] = directions[2] + unit[..., 2].mean()
    axes = len(scene.shape)
    return SeparableRows(tuple(paths[:axes]), tuple(directions[:axes]), (ranges[0], ranges[1]))


def chirp_paths(
    scene: Scene, antennas: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], ...]:
    """Return the Fresnel approximation of the curvature, separated over the scene axes.

    For each axis float64 ``(n_i,)`` [m]: ``u_i^2 (1 - uhat_i^2) / (2 R)`` of the legs from the
    centres of both arrays, ``(3,)`` [m]. The products ``u_i u_j uhat_i uhat_j``, which do not
    separate, are left out.
    """
    paths = []
    for axis in range(len(scene.shape)):
        rate = 0.0
        for antenna in antennas:
            sight = scene.centre - antenna
            distance = float(np.linalg.norm(sight))
            rate += (1 - float(sight[axis] / distance) ** 2) / (2 * distance)
        paths.append(rate * scene.offsets(axis) ** 2)
    return tuple(paths)


def unit_phasor(phase: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return ``exp(-j phase)`` of a float64 phase [rad], reduced modulo 2 pi first."""
    return np.exp(-1j * np.remainder(phase, 2 * np.pi))
