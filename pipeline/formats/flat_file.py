"""Arrays that lie uncompressed in a file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.runs import runs

Order = Literal["C", "F"]

_RUN_BYTES = 64 * 2**10
"""To find a place in a file takes as long as to read so much there."""
_ROWS_BYTES = 2**20
"""Read at a time where only parts of rows are wanted."""


@dataclass(frozen=True)
class FlatLayout:
    """How an array lies in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Order
    """Whether the last or the first axis is the fastest."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is read at once: a run of 64 KiB in the file."""
        left, extent = _RUN_BYTES // max(1, self.dtype.itemsize), []
        for size in self.shape if self.order == "F" else reversed(self.shape):
            extent.append(max(1, min(size, left)))
            left //= extent[-1]
        return tuple(extent if self.order == "F" else reversed(extent))

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part of this extent is read [byte]."""
        return math.prod(extent) * self.dtype.itemsize + _ROWS_BYTES


@dataclass(frozen=True)
class FlatFile(FlatLayout):
    """An array in a file, of which each part is read by itself.

    It is not mapped: every page of a map that was ever read counts as memory of the process, and in
    an order that is not ours a part of an array is on nearly all pages.

    Raises
    ------
    ValueError
        If the shape is impossible, or the file shorter than shape and dtype need.
    """

    path: Path
    offset: int = 0
    """Where the values begin [byte]."""

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise ValueError(f"its header gives the impossible shape {self.shape}")
        needed = math.prod(self.shape) * self.dtype.itemsize
        available = self.path.stat().st_size - self.offset
        if needed > available:
            raise ValueError(f"the array {self.shape} needs {needed} bytes, there are {available}")

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        bounds = [part.indices(size)[:2] for part, size in zip(selection, self.shape, strict=True)]
        if self.order == "F":
            return self._read(self.shape[::-1], bounds[::-1]).T
        return self._read(self.shape, bounds)

    def _read(self, shape: tuple[int, ...], bounds: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Read a part of an array of which the last axis is the fastest."""
        part = np.empty([max(0, stop - start) for start, stop in bounds], self.dtype)
        if not part.size:
            return part
        size = self.dtype.itemsize
        found = runs(shape, bounds, seek=_RUN_BYTES // size, most=_ROWS_BYTES // size)
        with self.path.open("rb", buffering=0) as file:
            for run in found:
                file.seek(self.offset + run.start * size)
                place = part[(*run.place, ...)]
                if run.exact:
                    self._fill(place, file)
                else:
                    read = np.empty(run.shape, self.dtype)
                    self._fill(read, file)
                    place[...] = read[run.cut]
                    del read  # before the next one is made
        return part

    def _fill(self, values: NDArray[Any], file: Any) -> None:
        """Read contiguous values from where a file stands."""
        wanted = memoryview(values.reshape(-1).view(np.uint8).data)
        while wanted:
            read = file.readinto(wanted)
            if not read:
                raise ValueError(f"it ends {len(wanted)} bytes early")
            wanted = wanted[read:]
