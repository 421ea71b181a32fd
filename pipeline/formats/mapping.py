"""From the axes and values that a file stores to the project's.

Each result is a `LazyArray` over others or over a stored array, so that a selection is carried down
to the file and only its part is read.
"""

import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def joined_parts(real: LazyArray, imag: LazyArray, who: str) -> Derived:
    """Return real and imaginary part that are stored apart as complex numbers."""
    if real.shape != imag.shape:
        raise DataError(
            f"{who}: the real part has shape {real.shape}, the imaginary part {imag.shape}"
        )
    dtype = np.result_type(real.dtype, imag.dtype, np.complex64)

    def compute(selection: Selection) -> NDArray[Any]:
        part = real[selection].astype(dtype)
        part.imag = imag[selection]
        return part

    def needs(extent: Sequence[int]) -> int:
        both = math.prod(extent) * dtype.itemsize
        first = max(real.reading_bytes(extent), part_bytes(real, extent) + both)
        return max(first, both + imag.reading_bytes(extent))

    return Derived(real.shape, dtype, _coarser([real, imag]), compute, needs)


def merged(array: LazyArray, axis: int) -> Derived:
    """Return an array whose ``axis`` and the one after it, which varies faster, are one."""
    rows, columns = array.shape[axis : axis + 2]

    def whole_rows(extent: Sequence[int]) -> tuple[int, ...]:
        several = min(rows, -(-extent[axis] // columns) + 1)
        return (*extent[:axis], several, columns, *extent[axis + 1 :])

    def compute(selection: Selection) -> NDArray[Any]:
        first, last, _ = selection[axis].indices(rows * columns)
        some = slice(first // columns, -(-last // columns))
        part = array[(*selection[:axis], some, slice(0, columns), *selection[axis + 1 :])]
        joined = part.reshape(*part.shape[:axis], -1, *part.shape[axis + 2 :])
        kept = slice(first - some.start * columns, last - some.start * columns)
        return np.asarray(joined[(slice(None),) * axis + (kept,)])

    def needs(extent: Sequence[int]) -> int:
        read = whole_rows(extent)
        return array.reading_bytes(read) + part_bytes(array, read)

    shape = (*array.shape[:axis], rows * columns, *array.shape[axis + 2 :])
    chunks = (*array.chunks[:axis], columns * array.chunks[axis], *array.chunks[axis + 2 :])
    return Derived(shape, array.dtype, chunks, compute, needs)


def difference(array: LazyArray, other: LazyArray, who: str) -> Derived:
    """Return an array less another one of its shape."""
    if array.shape != other.shape:
        raise DataError(
            f"{who}: of shape {array.shape}, but what is to be subtracted has {other.shape}"
        )
    dtype = np.result_type(array.dtype, other.dtype)

    def compute(selection: Selection) -> NDArray[Any]:
        return np.asarray(np.subtract(array[selection], other[selection], dtype=dtype))

    def needs(extent: Sequence[int]) -> int:
        return _gathered([array, other], extent, 2, dtype)

    return Derived(array.shape, dtype, _coarser([array, other]), compute, needs)


def joined_components(components: Sequence[LazyArray], who: str) -> Derived:
    """Return trajectory components that are stored apart, each with an ``axis`` of length one."""
    shapes = [component.shape for component in components]
    if any(shape != shapes[0] for shape in shapes):
        raise DataError(f"{who}: its components have different shapes: {shapes}")
    dtype = np.result_type(*(component.dtype for component in components))

    def compute(selection: Selection) -> NDArray[Any]:
        wanted = (*selection[:-1], slice(0, 1))
        return np.concatenate([one[wanted] for one in components[selection[-1]]], axis=-1)

    def needs(extent: Sequence[int]) -> int:
        *front, last = extent
        return _gathered(components, (*front, 1), last, dtype)

    return Derived((*shapes[0][:-1], len(components)), dtype, _coarser(components), compute, needs)


def stacked(parts: Sequence[LazyArray], axis: int) -> Derived:
    """Return arrays of one shape, joined along a new axis of this number."""
    dtype = np.result_type(*(part.dtype for part in parts))

    def compute(selection: Selection) -> NDArray[Any]:
        rest = (*selection[:axis], *selection[axis + 1 :])
        chosen = [part[rest] for part in parts[selection[axis]]]
        # A single one is not copied.
        return np.expand_dims(chosen[0], axis) if len(chosen) == 1 else np.stack(chosen, axis=axis)

    def needs(extent: Sequence[int]) -> int:
        rest = (*extent[:axis], *extent[axis + 1 :])
        if extent[axis] == 1:
            return max(part.reading_bytes(rest) for part in parts)
        return _gathered(parts, rest, extent[axis], dtype)

    shape, chunks = parts[0].shape, _coarser(parts)
    return Derived(
        (*shape[:axis], len(parts), *shape[axis:]),
        dtype,
        (*chunks[:axis], 1, *chunks[axis:]),
        compute,
        needs,
    )


def _coarser(parts: Sequence[LazyArray]) -> tuple[int, ...]:
    """Return the extent of what is read at once of arrays that are read together."""
    return tuple(max(along) for along in zip(*(part.chunks for part in parts), strict=True))


def _gathered(
    parts: Sequence[LazyArray], extent: Sequence[int], count: int, dtype: np.dtype[Any]
) -> int:
    """Return the peak memory of reading the same part of so many arrays, and of joining them."""
    each = max(part_bytes(part, extent) for part in parts)
    last = max(part.reading_bytes(extent) for part in parts)
    return max((count - 1) * each + last, count * (each + math.prod(extent) * dtype.itemsize))


def real_and_imaginary(array: LazyArray) -> Derived:
    """Return a 2D trajectory that is stored as complex numbers: its components are their parts."""

    def compute(selection: Selection) -> NDArray[Any]:
        part = array[(*selection[:-1], slice(0, 1))]
        return np.concatenate([part.real, part.imag], axis=-1)[..., selection[-1]]

    def needs(extent: Sequence[int]) -> int:
        alone = (*extent[:-1], 1)
        return max(array.reading_bytes(alone), 2 * part_bytes(array, alone))

    dtype = np.zeros((), array.dtype).real.dtype
    return Derived((*array.shape[:-1], 2), dtype, (*array.chunks[:-1], 2), compute, needs)


def scaled(
    array: LazyArray,
    factor: ArrayLike = 1.0,
    *,
    conjugate: bool = False,
    order: Sequence[int] | None = None,
) -> Derived:
    """Return an array times a factor, or one for each element of its last axis.

    ``order`` says which element of the last axis comes first, second ...; by default as they are.
    """
    stored = list(range(array.shape[-1]))
    chosen = stored if order is None else list(order)
    factors = np.broadcast_to(np.asarray(factor, np.float64), (len(chosen),))
    dtype = np.result_type(array.dtype, np.float64)

    def compute(selection: Selection) -> NDArray[Any]:
        *front, last = selection
        if chosen == stored:
            part = array[selection]
        else:
            part = array[(*front, slice(None))][..., chosen[last]]
        part = part * factors[last]
        return np.conj(part, out=part) if conjugate else part

    def needs(extent: Sequence[int]) -> int:
        read = extent if chosen == stored else (*extent[:-1], len(stored))
        picked = 0 if chosen == stored else part_bytes(array, extent)
        product = math.prod(extent) * dtype.itemsize
        return max(array.reading_bytes(read), part_bytes(array, read) + picked + product)

    chunks = array.chunks if chosen == stored else (*array.chunks[:-1], len(chosen))
    return Derived((*array.shape[:-1], len(chosen)), dtype, chunks, compute, needs)


def frames_of_slices(array: LazyArray, slices: int) -> Derived:
    """Return an array ``[slice or 1, frame or 1, ...]`` as ``[frame, ...]``, slice after slice.

    There are so many ``slices``; what all slices and frames share stays one frame.
    """
    stored_slices, stored_frames, *rest = array.shape
    count = 1 if stored_slices == stored_frames == 1 else slices * stored_frames

    def compute(selection: Selection) -> NDArray[Any]:
        wanted, *others = selection
        first, last, _ = wanted.indices(count)
        parts = []
        while first < last:
            number, frame = divmod(first, stored_frames)
            many = min(last - first, stored_frames - frame)
            place = number if stored_slices > 1 else 0
            part = array[(slice(place, place + 1), slice(frame, frame + many), *others)]
            parts.append(part[0])
            first += many
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def needs(extent: Sequence[int]) -> int:
        frames = min(extent[0], stored_frames)
        read = array.reading_bytes((1, frames, *extent[1:]))
        return read + 2 * part_bytes(array, (1, *extent))

    chunks = (array.chunks[1], *array.chunks[2:])
    return Derived((count, *rest), np.dtype(array.dtype), chunks, compute, needs)
