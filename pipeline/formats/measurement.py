"""A measured array as those see it who look for faults in it: what its axes are, piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.checks import Labels, place
from pipeline.formats.lazy import Selection

_PIECE = 2**17
"""Samples that are looked at together, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Measurement:
    """A measured array, and what its axes are to the one who looks for faults."""

    who: str
    """Dataset and array."""
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    line: str
    """Axis along which neighbours measure nearly the same."""
    lines: str
    """What lines along it are called."""
    alike: tuple[str, ...]
    """Axes along which samples at one place of a line are of a size."""
    channel: str
    """Axis of what has a receiver, a scale and a fault of its own."""
    apart: tuple[str, ...]
    """Axes of which no two places hold the same samples."""
    compared: tuple[tuple[str, ...], ...]
    """Places along the last of these axes are of a level, wherever one is along the others."""
    needed: tuple[tuple[str, ...], ...] = ()
    """At no place along these axes is the measurement zero throughout."""
    common: tuple[str, ...] = ()
    """Axes of the lines that all channels share, if there are such."""
    may_repeat: tuple[str, ...] = ()
    """Axes of ``apart`` of which a good part may repeat: without noise, symmetric scenes do."""
    cancels: bool = False
    """Whether samples far from the strongest ones cancel each other, as in k-space."""
    labels: Labels = field(default_factory=dict)
    """By axis: what to say of a place on it beside its index."""

    def size(self, axis: str) -> int:
        """Return the length of an axis."""
        return self.shape[self.axes.index(axis)]

    def table(self, kept: Iterable[str], dtype: type[np.generic]) -> NDArray[Any]:
        """Return zeros for each place along some axes; along the others the length is 1."""
        return np.zeros([self.size(axis) if axis in kept else 1 for axis in self.axes], dtype)

    def place(self, kept: Iterable[str], index: Sequence[int]) -> str:
        """Return the words for a place along some axes; ``index`` has all of them."""
        named = [(axis, at) for axis, at in zip(self.axes, index, strict=True) if axis in kept]
        return place(named, self.labels)


@dataclass
class Piece:
    """Whole lines of a measurement: the values, where they lie, and which axis is that of lines."""

    values: NDArray[Any]
    where: Selection
    line: int

    @cached_property
    def magnitude(self) -> NDArray[Any]:
        """Of each value."""
        return np.asarray(np.abs(self.values))

    @cached_property
    def strongest(self) -> NDArray[Any]:
        """Largest magnitude in each line."""
        return np.asarray(self.magnitude.max(axis=self.line, keepdims=True))

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """Sum of the magnitudes of each line."""
        return np.asarray(self.magnitude.sum(axis=self.line, keepdims=True), np.float64)

    def join(self, ufunc: np.ufunc, values: NDArray[Any], table: NDArray[Any]) -> None:
        """Reduce values of the piece to its part of a table, and join the two."""
        axes = range(table.ndim)
        part = table[tuple(self.where[n] if table.shape[n] > 1 else slice(None) for n in axes)]
        along = tuple(n for n in axes if part.shape[n] == 1 < values.shape[n])
        ufunc(part, ufunc.reduce(values, axis=along, keepdims=True), out=part)

    def index(self, at: Iterable[int]) -> tuple[int, ...]:
        """Return where a place of the piece is in the array."""
        return tuple(int(n) + part.start for n, part in zip(at, self.where, strict=True))


def pieces_of(values: NDArray[Any], tile: Selection, line: int) -> Iterator[Piece]:
    """Cut the values of a tile into pieces of whole lines, along the axis ``line``."""
    shape = values.shape
    edges, left = list(shape), max(1, _PIECE // shape[line])
    for axis in reversed(range(len(shape))):
        if axis != line:
            edges[axis] = min(shape[axis], left)
            left = max(1, left // edges[axis])
    for index in np.ndindex(*(-(-size // edge) for size, edge in zip(shape, edges, strict=True))):
        part = tuple(
            slice(at * edge, min((at + 1) * edge, size))
            for at, edge, size in zip(index, edges, shape, strict=True)
        )
        where = tuple(
            slice(whole.start + own.start, whole.start + own.stop)
            for whole, own in zip(tile, part, strict=True)
        )
        yield Piece(values[part], where, line)
