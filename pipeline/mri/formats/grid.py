"""Cartesian k-space that is stored as a grid, with zeros where it was not measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.lazy import Derived, LazyArray, Selection
from pipeline.mri.formats.encoding_space import (
    CartesianSampling,
    EncodingSpace,
    cartesian_sampling,
)
from pipeline.mri.formats.readout_arrays import Readouts, placed
from pipeline.progress import track
from pipeline.storage.layout import tile_extent, tiles

AXES = ("frame", "coil", "z", "y", "x")
"""Of a grid."""


@dataclass(frozen=True)
class GridLines:
    """Lines along x of a grid, numbered in its order: frame, z, y."""

    grid: LazyArray
    """complex ``[frame, coil, z, y, x]``."""
    held_bytes: int = 0
    copies: int = 2

    def samples(self, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Return lines by their increasing numbers, complex64 ``[line, coil, sample]``."""
        _, coils, depth, height, width = self.grid.shape
        found = np.empty((len(rows), coils, width), np.complex64)
        planes, at = rows // height, 0
        for plane in np.unique(planes):
            frame, z = divmod(int(plane), depth)
            y = rows[planes == plane] % height
            first, last = int(y[0]), int(y[-1]) + 1
            place = (slice(frame, frame + 1), slice(0, coils), slice(z, z + 1), slice(first, last))
            part = self.grid[(*place, slice(0, width))][0, :, 0]
            found[at : at + len(y)] = part[:, y - first].swapaxes(0, 1)
            at += len(y)
        return found


def grid_arrays(
    grid: LazyArray, space: EncodingSpace, budget: Budget, who: str
) -> tuple[CartesianSampling, dict[str, LazyArray]]:
    """Return how a grid is sampled, and k-space and trajectory of what was measured.

    Readouts are the lines along x that are not zero, without oversampling; or where lines have
    gaps, the points that are not zero. The grid is read once to see which.

    Raises
    ------
    DataError
        If it is zero throughout in a frame, or frames differ in what was measured.
    """
    frames, _, depth, height, width = grid.shape
    measured = _measured(grid, budget, who).reshape(frames, depth * height, width)
    lines = np.any(measured, axis=-1)
    gaps = bool(np.any(measured.sum(axis=-1, dtype=np.int32)[lines] < width))
    sampling = cartesian_sampling(
        space,
        samples=width,
        centre=width // 2,
        dimensions=2 if depth == 1 else 3,
        who=who,
        keep=gaps,
    )
    rows = _numbers(np.asarray(measured.reshape(frames, -1) if gaps else lines), who)
    known = rows[:1] if np.all(rows == rows[0]) else rows

    def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
        line = some // width if gaps else some
        numbers = np.stack([line // height, line % height], axis=-1)
        found = sampling.trajectory(numbers[:, -(len(sampling.shape) - 1) :])
        return found[np.arange(len(some)), some % width][:, None] if gaps else found

    trajectory = placed(known, 1 if gaps else sampling.samples, len(sampling.shape), place)
    if gaps:
        return sampling, {"trajectory": trajectory, "kspace": _points(grid, rows)}
    rows = rows + np.arange(frames)[:, None] * (depth * height)
    readouts = Readouts(
        GridLines(grid),
        rows,
        grid.shape[1],
        slice(0, width),
        sampling.samples,
        finish=None if sampling.oversampled is None else sampling.remove_oversampling,
    )
    return sampling, {"trajectory": trajectory, "kspace": readouts.kspace()}


def _measured(grid: LazyArray, budget: Budget, who: str) -> NDArray[np.bool_]:
    """Return where any coil is not zero, ``[frame, z, y, x]``."""
    frames, coils, *matrix = grid.shape
    budget.require({"where k-space is not zero": frames * math.prod(matrix)})
    budget.hold(frames * math.prod(matrix))
    measured = np.empty((frames, *matrix), bool)
    extent = tile_extent(
        grid.shape,
        (1, coils, 1, 1, matrix[-1]),
        grid.chunks,
        grid.dtype.itemsize,
        lambda sizes: budget.fits({"tile of the grid": 3 * grid.reading_bytes(sizes)}),
    )
    parts = list(tiles(grid.shape, (extent[0], coils, *extent[2:])))
    with track(f"{who}: where it is zero", len(parts)) as advance:
        for part in parts:
            measured[part[0], *part[2:]] = np.any(grid[part] != 0, axis=1)
            advance()
    return measured


def _numbers(measured: NDArray[np.bool_], who: str) -> NDArray[np.int64]:
    """Return the numbers of what was measured in each frame, ``[frame, readout]``."""
    counts = np.count_nonzero(measured, axis=1)
    if not counts.all():
        raise DataError(f"{who} is zero throughout in frame {np.argmin(counts)}; leave it out")
    if np.any(counts != counts[0]):
        raise DataError(
            f"{who}: {counts.min()} to {counts.max()} lines or points of a frame are not zero; "
            "expected as many in each: make datasets of the frames that differ"
        )
    return np.nonzero(measured)[1].reshape(len(counts), -1)


def _points(grid: LazyArray, points: NDArray[np.int64]) -> Derived:
    """Return points of a grid as readouts of one sample, ``[frame, coil, readout, 1]``."""
    *_, depth, height, width = grid.shape
    shape = (len(points), grid.shape[1], points.shape[1], 1)

    def compute(selection: Selection) -> NDArray[np.complex64]:
        frames, coils, readouts, _ = selection
        found = []
        for frame, some in zip(range(*frames.indices(shape[0])), points[frames], strict=True):
            z, y, x = np.unravel_index(some[readouts], (depth, height, width))
            planes = []
            for plane in np.unique(z):
                rows = slice(int(y[z == plane].min()), int(y[z == plane].max()) + 1)
                place = (slice(frame, frame + 1), coils, slice(int(plane), int(plane) + 1), rows)
                part = grid[(*place, slice(0, width))][0, :, 0]
                planes.append(part[:, y[z == plane] - rows.start, x[z == plane]])
            found.append(np.concatenate(planes, axis=1))
        return np.asarray(np.stack(found)[..., None], np.complex64)

    def needs(extent: Sequence[int]) -> int:
        picked = 3 * math.prod(extent) * 8 + 40 * extent[2]
        return picked + grid.reading_bytes((1, extent[1], 1, height, width))

    return Derived(shape, np.dtype(np.complex64), (1, 1, 1, 1), compute, needs)
