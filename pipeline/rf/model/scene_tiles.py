"""Tiles of a scene: voxels next to each other, and how far from the origin they are."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene


@dataclass(frozen=True, eq=False)
class SceneTile:
    """Voxels next to each other."""

    sizes: tuple[int, ...]
    """Voxels along each axis."""
    first: int
    """Flat index of the first voxel."""
    voxels: NDArray[np.int64]
    """Flat indices of all, counted from the first."""
    middle: NDArray[np.float64]
    """``[3]`` [m]."""
    offsets: NDArray[np.float32]
    """``[4, voxel]``: from the middle along x, y and z [m], and the square of their length."""


def tile_sides(scene: Scene, most: int) -> tuple[int, ...]:
    """Return the sides of tiles of at most so many voxels, about as long as wide."""
    sides = [1] * len(scene.shape)
    while True:
        lengths = [
            side * step if side < size else math.inf
            for side, step, size in zip(sides, scene.spacing, scene.shape, strict=True)
        ]
        axis = int(np.argmin(lengths))
        if 2 * math.prod(sides) > most or math.isinf(lengths[axis]):
            return tuple(sides)
        sides[axis] = min(2 * sides[axis], scene.shape[axis])


def grid_offsets(positions: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Return offsets as of a `SceneTile`, of the grid of these positions along axes [m]."""
    axes = np.meshgrid(*positions, indexing="ij")
    offsets = np.zeros((4, axes[0].size))
    offsets[: len(axes)] = [axis.ravel() for axis in axes]
    offsets[3] = np.sum(offsets[:3] ** 2, axis=0)
    return offsets.astype(np.float32)


def side_positions(size: int, step: float) -> NDArray[np.float64]:
    """Return voxels of one side of a tile, from its middle [m]."""
    return np.asarray((np.arange(size) - (size - 1) / 2) * step, np.float64)


def scene_tiles(scene: Scene, sides: tuple[int, ...]) -> Iterator[SceneTile]:
    """Cut a Cartesian scene into tiles of these sides, smaller at its ends."""

    @cache
    def pattern(sizes: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        index = np.indices(sizes).reshape(len(sizes), -1)
        flat = np.asarray(np.ravel_multi_index(tuple(index), scene.shape), np.int64)
        return flat, grid_offsets([*map(side_positions, sizes, scene.spacing)])

    ranges = (range(0, size, side) for size, side in zip(scene.shape, sides, strict=True))
    for corner in itertools.product(*ranges):
        sizes = tuple(
            min(side, size - at) for side, size, at in zip(sides, scene.shape, corner, strict=True)
        )
        voxels, offsets = pattern(sizes)
        middle = scene.centre.copy()
        for axis, (at, size) in enumerate(zip(corner, sizes, strict=True)):
            voxel = at + (size - 1) / 2 - scene.shape[axis] // 2
            middle[axis] += voxel * scene.spacing[axis]
        first = int(np.ravel_multi_index(corner, scene.shape))
        yield SceneTile(sizes, first, voxels, middle, offsets)


def reach(scene: Scene, paths: AntennaPaths | None = None) -> float:
    """Return how much longer or shorter than over the origin a path over a voxel is, at most [m].

    A leg changes at most by the distance from the origin. Of pulses with bands of their own it is
    times the largest scale.
    """
    farthest = [float(np.abs(scene.offsets(axis)).max()) for axis in range(len(scene.shape))]
    scale = 1.0
    if paths is not None and paths.frequency_scale is not None:
        scale = float(paths.frequency_scale.max())
    return 2 * scale * math.hypot(*farthest)
