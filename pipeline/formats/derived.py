"""Arrays made of those that a file stores: parts joined, stacked or subtracted, values scaled.

Each is a `LazyArray` over others, so that a selection is carried down to the file and only its part
is read.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.formats.lazy import Derived, LazyArray, Selection, part_bytes


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
