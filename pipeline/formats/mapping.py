"""From the axes and values that a file stores to the project's.

Each result is a `LazyArray` over others or over a stored array, so that a selection is carried down
to the file and only its part is read.
"""

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.formats.lazy import Derived, LazyArray, Selection


class Rearranged:
    """A stored array with the project's axes.

    ``axes`` tells the meaning of each stored axis: a name, ``1`` for an axis of length one to drop,
    or names separated by spaces for an axis that joins several, the slowest first. A wanted axis of
    ``target`` that is not stored gets length one. ``lengths`` are those that a joined axis does not
    tell; at most one of its names may be unknown.

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
        self._stored = stored
        self._who = who
        self._entries = [() if entry == "1" else tuple(entry.split()) for entry in axes]
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

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        wanted = {
            name: slice(*part.indices(size)[:2])
            for name, part, size in zip(self._target, selection, self.shape, strict=True)
        }
        try:
            part = np.asarray(
                self._stored[tuple(self._stored_slice(entry, wanted) for entry in self._entries)]
            )
        except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self._who}: its values are not readable ({error})") from None
        # A joined axis is cut along its slowest name only; the faster ones are cut afterwards.
        lengths, cuts = [], []
        for entry in self._entries:
            for position, name in enumerate(entry):
                whole = slice(0, self._sizes[name])
                cut = wanted[name] if position == 0 else whole
                lengths.append(cut.stop - cut.start)
                cuts.append(slice(None) if position == 0 else wanted[name])
        part = part.reshape(lengths)[tuple(cuts)].transpose(self._order)
        return part.reshape([wanted[name].stop - wanted[name].start for name in self._target])

    def _stored_slice(self, entry: tuple[str, ...], wanted: Mapping[str, slice]) -> slice:
        if not entry:
            return slice(0, 1)
        inner = math.prod(self._sizes[name] for name in entry[1:])
        slowest = wanted[entry[0]]
        return slice(slowest.start * inner, slowest.stop * inner)


def _split(
    entry: tuple[str, ...], size: int, lengths: Mapping[str, int], who: str
) -> dict[str, int]:
    """Return the size of each name of a stored axis."""
    if not entry:
        if size != 1:
            raise DataError(f"{who}: an axis that `axes` gives as 1 has length {size}")
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

    return Derived(real.shape, dtype, compute)


def joined_components(components: Sequence[LazyArray], who: str) -> Derived:
    """Return trajectory components that are stored apart, each with an ``axis`` of length one."""
    shapes = [component.shape for component in components]
    if any(shape != shapes[0] for shape in shapes):
        raise DataError(f"{who}: its components have different shapes: {shapes}")

    def compute(selection: Selection) -> NDArray[Any]:
        wanted = (*selection[:-1], slice(0, 1))
        return np.concatenate([one[wanted] for one in components[selection[-1]]], axis=-1)

    dtype = np.result_type(*(component.dtype for component in components))
    return Derived((*shapes[0][:-1], len(components)), dtype, compute)


def stacked(parts: Sequence[LazyArray], axis: int) -> Derived:
    """Return arrays of one shape, joined along a new axis of this number."""

    def compute(selection: Selection) -> NDArray[Any]:
        rest = (*selection[:axis], *selection[axis + 1 :])
        chosen = [part[rest] for part in parts[selection[axis]]]
        # A single one is not copied.
        return np.expand_dims(chosen[0], axis) if len(chosen) == 1 else np.stack(chosen, axis=axis)

    shape = parts[0].shape
    dtype = np.result_type(*(part.dtype for part in parts))
    return Derived((*shape[:axis], len(parts), *shape[axis:]), dtype, compute)


def real_and_imaginary(array: LazyArray) -> Derived:
    """Return a 2D trajectory that is stored as complex numbers: its components are their parts."""

    def compute(selection: Selection) -> NDArray[Any]:
        part = array[(*selection[:-1], slice(0, 1))]
        return np.concatenate([part.real, part.imag], axis=-1)[..., selection[-1]]

    return Derived((*array.shape[:-1], 2), np.zeros((), array.dtype).real.dtype, compute)


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

    def compute(selection: Selection) -> NDArray[Any]:
        *front, last = selection
        if chosen == stored:
            part = array[selection]
        else:
            part = array[(*front, slice(None))][..., chosen[last]]
        part = part * factors[last]
        return np.conj(part) if conjugate else part

    dtype = np.result_type(array.dtype, np.float64)
    return Derived((*array.shape[:-1], len(chosen)), dtype, compute)
