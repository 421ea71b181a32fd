"""From the axes that a file stores to the project's."""

import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import index_of
from pipeline.errors import DataError
from pipeline.formats.lazy import Derived, LazyArray, Selection, part_bytes
from pipeline.formats.runs import Run, runs

_READ_BYTES = 64 * 2**10
"""To ask for another part of a file takes as long as to read so much."""
_ROWS_BYTES = 8 * 2**20
"""Read at a time where only parts of the rows of a joined axis are wanted."""


class Rearranged:
    """A stored array with the project's axes.

    ``axes`` tells the meaning of each stored axis: a name, ``1`` for an axis of length one to drop,
    ``[0]`` for the first of a longer one, which is taken alone, or names separated by spaces for an
    axis that joins several, the slowest first. A wanted axis of ``target`` that is not stored gets
    length one. ``lengths`` are those that a joined axis does not tell; at most one of its names may
    be unknown.

    Raises
    ------
    DataError
        If number or sizes of the stored axes contradict ``axes``.
    """

    def __init__(
        self,
        stored: LazyArray,
        axes: Sequence[str],
        target: Sequence[str],
        lengths: Mapping[str, int],
        who: str,
    ) -> None:
        if len(stored.shape) != len(axes):
            raise DataError(
                f"{who}: stored with {len(stored.shape)} axes {tuple(stored.shape)}, but `axes` "
                f"names {len(axes)} ({', '.join(axes)})"
            )
        indices = [index_of(entry) for entry in axes]
        for axis, index in enumerate(indices):
            if index is not None:
                stored = _one_of(stored, axis, index, who)
        self._stored = stored
        self._who = who
        self._entries = [
            () if entry == "1" or index is not None else tuple(entry.split())
            for entry, index in zip(axes, indices, strict=True)
        ]
        names = [name for entry in self._entries for name in entry]
        foreign = [name for name in names if name not in target]
        if foreign:
            raise DataError(
                f"{who}: axis `{foreign[0]}` does not belong to it; its axes are "
                f"{', '.join(target)}"
            )
        self._target = tuple(target)
        self._sizes: dict[str, int] = {}
        for entry, size in zip(self._entries, stored.shape, strict=True):
            self._sizes.update(_split(entry, size, lengths, who))
        self._order = [names.index(name) for name in target if name in names]
        self.shape = tuple(self._sizes.get(name, 1) for name in target)
        self.dtype: np.dtype[Any] = np.dtype(stored.dtype)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Extent of what is read at once."""
        extent = dict.fromkeys(self._target, 1)
        for entry, chunk in zip(self._entries, self._stored.chunks, strict=True):
            left = chunk
            for name in reversed(entry):
                size = max(1, self._sizes[name])
                extent[name], left = min(left, size), max(1, -(-left // size))
        return tuple(extent.values())

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is read [byte]."""
        if not math.prod(extent):
            return 0
        longest = next(self._runs([(0, size) for size in extent]))
        read = self._stored.reading_bytes([run.stop - run.start for run in longest])
        if math.prod(size for run in longest for size in run.shape) == math.prod(extent):
            return read
        return read + part_bytes(self._stored, extent)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        bounds = [part.indices(size)[:2] for part, size in zip(selection, self.shape, strict=True)]
        try:
            part = self._read(bounds)
        except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self._who}: its values are not readable ({error})") from None
        return part.transpose(self._order).reshape([stop - start for start, stop in bounds])

    def _read(self, bounds: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Return a part whose axes are the stored names."""
        wanted = dict(zip(self._target, bounds, strict=True))
        names = [name for entry in self._entries for name in entry]
        part = np.empty([wanted[name][1] - wanted[name][0] for name in names], self.dtype)
        if not part.size:
            return part
        for found in self._runs(bounds):
            read = np.asarray(self._stored[tuple(slice(run.start, run.stop) for run in found)])
            read = read.reshape([size for run in found for size in run.shape])
            read = read[tuple(cut for run in found for cut in run.cut)]
            if read.size == part.size:
                return read.reshape(part.shape)
            part[tuple(place for run in found for place in run.place)] = read
        return part

    def _runs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[Run, ...]]:
        """Yield what is read at once, a run along each stored axis."""
        wanted = dict(zip(self._target, bounds, strict=True))
        extent = [math.prod(wanted[n][1] - wanted[n][0] for n in entry) for entry in self._entries]
        size = max(1, math.prod(extent) * self.dtype.itemsize)
        return itertools.product(
            *(
                runs(
                    [self._sizes[name] for name in entry],
                    [wanted[name] for name in entry],
                    seek=_READ_BYTES * along // size,
                    most=_ROWS_BYTES * along // size,
                )
                for entry, along in zip(self._entries, extent, strict=True)
            )
        )


def _one_of(array: LazyArray, axis: int, index: int, who: str) -> Derived:
    """Return an array with one item of an axis, which stays, of length one."""
    size = array.shape[axis]
    if index >= size:
        raise DataError(f"{who}: `axes` takes [{index}] of an axis of length {size}")

    def compute(selection: Selection) -> NDArray[Any]:
        return np.asarray(
            array[(*selection[:axis], slice(index, index + 1), *selection[axis + 1 :])]
        )

    def alone(sizes: Sequence[int]) -> tuple[int, ...]:
        return (*sizes[:axis], 1, *sizes[axis + 1 :])

    return Derived(
        alone(array.shape), array.dtype, alone(array.chunks), compute, array.reading_bytes
    )


def _split(
    entry: tuple[str, ...], size: int, lengths: Mapping[str, int], who: str
) -> dict[str, int]:
    """Return the size of each name of a stored axis."""
    if not entry:
        if size != 1:
            raise DataError(
                f"{who}: an axis that `axes` gives as 1 has length {size}; `[0]` takes its first"
            )
        return {}
    if len(entry) == 1:
        return {entry[0]: size}
    unknown = [name for name in entry if name not in lengths]
    known = math.prod(lengths[name] for name in entry if name in lengths)
    joined = " ".join(entry)
    if len(unknown) > 1:
        raise DataError(
            f"{who}: the axis `{joined}` of length {size} can be split in more than one way; set "
            "`samples_per_readout` and, if it joins frames too, `readouts_per_frame`"
        )
    if size % known or (not unknown and size != known):
        counts = " x ".join(f"{lengths[name]} ({name})" for name in entry if name in lengths)
        raise DataError(
            f"{who}: the axis `{joined}` has length {size}, which is not a multiple of {counts}; "
            "check `samples_per_readout` and `readouts_per_frame`"
        )
    return {name: lengths.get(name, size // known) for name in entry}
