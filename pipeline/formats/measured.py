"""What is wrong with a measurement, whatever its kind: told from its values as they are copied.

Nothing is read twice. What is kept is a number or two for each channel, frame and line, not for
each sample.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.checks import Check, Found, Labels, listed, place, ranges, ranges_within
from pipeline.formats.lazy import Selection
from pipeline.storage.receipts import Receipt

_SMALLEST = 1e-35
"""Below it single precision loses digits: its smallest normal number is 1.2e-38."""

_FILLED = 0.5
"""Of the samples in lines that are not zero: where fewer are not zero, zeros fill in for others."""

_GAP = 100.0
"""Channels that belong together, sorted by their level, follow each other in smaller steps."""

_SPIKE = 20.0
"""A sample so far above its neighbours is no signal: that of an object as wide as the field of view
falls by a factor of 6 from the middle of k-space to the next sample."""

_SPIKE_ACROSS = 10.0
"""And so far above the median of the same place in other lines."""

_NEIGHBOURS = 3

_FEW_LINES = 4
"""The median of fewer says nothing."""

_CANDIDATES = 256
"""Samples of a piece that are looked at closely."""

_NAMED = 3
"""Spikes that a warning names."""

_CLIPPED = 8
"""Different samples whose largest part is that of the channel to the last bit; chance makes two."""

_STEPS = 1000
"""In the largest part: samples are different that lie more than a step apart."""

_SOME_REPEAT = 0.25
"""Of the places along an axis where some may repeat."""

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


class Measured(Check):
    """Looks for what is missing, out of scale, repeated, isolated or clipped."""

    def __init__(self, measurement: Measurement) -> None:
        self._line = measurement.axes.index(measurement.line)
        self._faults = (
            Missing(measurement),
            Levels(measurement),
            Repeats(measurement),
            Spikes(measurement),
            Clipping(measurement),
        )

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        """Take note of the values."""
        for part in _pieces(values.shape, self._line):
            where = tuple(
                slice(whole.start + own.start, whole.start + own.stop)
                for whole, own in zip(tile, part, strict=True)
            )
            piece = Piece(values[part], where, self._line)
            with np.errstate(over="ignore", invalid="ignore"):
                for fault in self._faults:
                    fault.look(piece)
        return values

    def finish(self, record: Receipt) -> Found:
        """Return and warn of what was found; refuse what is zero where it must not be."""
        found: Found = {}
        for fault in self._faults:
            found |= fault.finish(record)
        return found


def _pieces(shape: Sequence[int], line: int) -> Iterator[Selection]:
    """Cut values into pieces of whole lines."""
    edges, left = list(shape), max(1, _PIECE // shape[line])
    for axis in reversed(range(len(shape))):
        if axis != line:
            edges[axis] = min(shape[axis], left)
            left = max(1, left // edges[axis])
    for index in np.ndindex(*(-(-size // edge) for size, edge in zip(shape, edges, strict=True))):
        yield tuple(
            slice(at * edge, min((at + 1) * edge, size))
            for at, edge, size in zip(index, edges, shape, strict=True)
        )


class Missing:
    """What is zero, or too small to be computed with."""

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        self._largest = 0.0
        self._nonzero = 0
        self._needed = {kept: measurement.table(kept, np.bool_) for kept in measurement.needed}
        self._common = measurement.table(measurement.common, np.bool_)
        self._channels = measurement.table((measurement.channel,), np.bool_)
        self._along = measurement.table((measurement.line,), np.bool_)
        self._empty = measurement.table(("frame", measurement.channel), np.int64)

    def look(self, piece: Piece) -> None:
        """Note where there is something."""
        self._largest = max(self._largest, float(piece.strongest.max()))
        self._nonzero += int(np.count_nonzero(piece.magnitude))
        some = piece.strongest > 0
        if piece.values.shape[piece.line] == self._of.size(self._of.line):  # of cut lines, not told
            piece.join(np.add, np.logical_not(some).astype(np.int64), self._empty)
        for table in (self._common, self._channels, *self._needed.values(), self._along):
            if not table.all():
                whole = table.shape[piece.line] == 1
                piece.join(np.logical_or, some if whole else piece.magnitude > 0, table)

    def finish(self, record: Receipt) -> Found:
        """Refuse or warn of what is zero."""
        of = self._of
        if self._largest == 0:
            raise DataError(f"{of.who} is zero throughout; nothing was measured")
        if self._largest < _SMALLEST:
            raise DataError(
                f"{of.who} reaches {self._largest:.3g} only, and single precision loses digits "
                f"below {_SMALLEST:g}; multiply it, for example by its `scale`"
            )
        for kept, table in self._needed.items():
            self._require(kept, table)
        zero = np.flatnonzero(~self._along)
        if len(zero):
            record.warn(
                f"{of.who}: {ranges(of.line, zero)} of {of.size(of.line)} is zero in all "
                f"{of.lines}; leave out what was not measured"
            )
        size = math.prod(of.shape)
        lines = size // of.size(of.line) - int(self._empty.sum())
        if self._nonzero < _FILLED * lines * (of.size(of.line) - len(zero)):
            record.warn(
                f"{of.who}: {1 - self._nonzero / size:.0%} of the samples are exactly 0, in "
                f"{of.lines} that are not; leave out what was not measured, or give it weights of 0"
            )
        return {
            "zero_share": 1 - self._nonzero / size,
            f"zero_{of.line}s": len(zero),
            **self._zero_lines(record),
        }

    def _require(self, kept: tuple[str, ...], table: NDArray[np.bool_]) -> None:
        empty = np.argwhere(~table)
        if len(empty):
            more = f" and at {len(empty) - 1} other places" if len(empty) > 1 else ""
            raise DataError(
                f"{self._of.who} is zero throughout at {self._of.place(kept, empty[0])}{more}; "
                "leave out what was not measured"
            )

    def _zero_lines(self, record: Receipt) -> Found:
        """Warn of lines that are zero in all channels, of zero channels, and of lines of some."""
        of, channel = self._of, self._of.channel
        channels_first = np.moveaxis(self._empty, of.axes.index(channel), 0)
        empty = channels_first.reshape(of.size(channel), -1)  # [channel, frame]
        lines = math.prod(of.shape) // (of.size(of.line) * self._empty.size)
        dead = ~self._channels.ravel()
        zero = np.argwhere(~self._common)[:, [of.axes.index(axis) for axis in of.common]]
        if len(zero):
            record.warn(
                f"{of.who}: {len(zero)} of {self._common.size} {of.lines} are zero in every "
                f"{channel} ({ranges_within(of.common, zero)}); leave them out, or give them "
                "weights of 0"
            )
            empty = np.maximum(empty - np.bincount(zero[:, 0], minlength=empty.shape[1]), 0)
        if dead.any():
            record.warn(
                f"{of.who} is zero throughout at {ranges(channel, np.flatnonzero(dead))} of "
                f"{len(dead)}; leave out what was not measured"
            )
        partly = np.flatnonzero(~dead & empty.any(axis=1))
        if len(partly):
            told = [
                f"{channel} {at}, {empty[at].sum()} of {lines * empty.shape[1]}" for at in partly
            ]
            if channel != "frame":
                frames = [ranges("frame", np.flatnonzero(empty[at])) for at in partly]
                told = [f"{one} in {at}" for one, at in zip(told, frames, strict=True)]
            record.warn(
                f"{of.who}: {of.lines} are zero that are not in every {channel}: "
                f"{listed(told, '; ')}; leave out what was not measured"
            )
        return {
            f"zero_{of.lines}": len(zero),
            f"zero_{channel}s": np.flatnonzero(dead).tolist(),
            f"partly_zero_{channel}s": partly.tolist(),
        }


class Levels:
    """Channels far above or below the others."""

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        self._sums = {kept: measurement.table(kept, np.float64) for kept in measurement.compared}
        self._sum = 0.0

    def look(self, piece: Piece) -> None:
        """Add up magnitudes, but for the largest in each line, which may be a spike."""
        total = piece.total
        if piece.values.shape[piece.line] > 1:
            total = np.maximum(total - piece.strongest, 0)
        self._sum += float(total.sum())
        for table in self._sums.values():
            along_line = table.shape[piece.line] > 1
            piece.join(np.add, piece.magnitude if along_line else total, table)

    def finish(self, record: Receipt) -> Found:
        """Warn of channels that are out of scale."""
        found: Found = {"level": self._sum / math.prod(self._of.shape)}
        for kept, table in self._sums.items():
            where, axis = kept[:-1], kept[-1]
            number = self._of.axes.index(axis)
            along = np.moveaxis(table, number, -1)
            for at in np.ndindex(along.shape[:-1]):
                index = [*at[:number], 0, *at[number:]]
                before = self._of.place(where, index)
                who = f"{self._of.who}: {before}: " if before else f"{self._of.who}: "
                warn_of_levels(who, axis, along[at], record)
            if not where:
                found[f"levels_of_{axis}s"] = _range(along.ravel())
        return found


def warn_of_levels(who: str, axis: str, levels: NDArray[np.float64], record: Receipt) -> None:
    """Warn of places on an axis whose levels are far from those of the others."""
    order = np.argsort(levels)
    order = order[(levels[order] > 0) & np.isfinite(levels[order])]
    steps = levels[order[1:]] / levels[order[:-1]]
    if steps.max(initial=0) < _GAP:
        return
    below = int(np.argmax(steps)) + 1
    strong = len(order) - below <= below
    odd = np.sort(order[below:] if strong else order[:below])
    record.warn(
        f"{who}{ranges(axis, odd)} of {len(levels)} measures {steps.max():.4g} times "
        f"{'more' if strong else 'less'} than any other; expected less than {_GAP:g} times: "
        "correct its scale, or leave it out"
    )


def _range(levels: NDArray[np.float64]) -> list[float]:
    """Return the least and the largest level, relative to the median of those above 0."""
    median = np.median(levels[levels > 0]) if levels.any() else 1.0
    return [float(levels.min() / median), float(levels.max() / median)]


class Repeats:
    """Places that hold the same samples.

    Samples are the same if their sum and that of their magnitudes are, to the last bit: the noise
    of a measurement does not let that happen by chance.
    """

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        self._sum = measurement.table(measurement.apart, np.complex128)
        self._total = measurement.table(measurement.apart, np.float64)

    def look(self, piece: Piece) -> None:
        """Add up values."""
        piece.join(np.add, piece.values, self._sum)
        piece.join(np.add, piece.total, self._total)

    def finish(self, record: Receipt) -> Found:
        """Warn of places that repeat."""
        return {f"repeated_{axis}s": self._along(axis, record) for axis in self._of.apart}

    def _along(self, axis: str, record: Receipt) -> int:
        size, number = self._of.size(axis), self._of.axes.index(axis)
        rows = [np.moveaxis(each, number, 0).reshape(size, -1) for each in (self._sum, self._total)]
        told = np.flatnonzero(np.isfinite(rows[0]).all(axis=1) & rows[1].any(axis=1))
        first: dict[bytes, int] = {}
        pairs = []
        for at in map(int, told):
            earlier = first.setdefault(b"".join(each[at].tobytes() for each in rows), at)
            if earlier != at:
                pairs.append((earlier, at))
        if pairs and not (axis in self._of.may_repeat and len(pairs) > _SOME_REPEAT * size):
            record.warn(
                f"{self._of.who}: {ranges(axis, [at for _, at in pairs])} of {size} repeats the "
                f"samples of an earlier one, such as {pairs[0][1]} those of {pairs[0][0]}; "
                "expected noise to differ: check how the source was written"
            )
        return len(pairs)


class Spikes:
    """Isolated samples far above their neighbours on a line, and above other lines there."""

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        self._alike = tuple(measurement.axes.index(axis) for axis in measurement.alike)
        self._found: list[tuple[tuple[int, ...], float]] = []
        self._count = 0

    def look(self, piece: Piece) -> None:
        """Note samples that stand out alone."""
        line = np.moveaxis(piece.magnitude, piece.line, -1)
        if line.shape[-1] <= _NEIGHBOURS:
            return
        beside = np.empty_like(line)
        np.maximum(line[..., :-2], line[..., 2:], out=beside[..., 1:-1])
        beside[..., 0], beside[..., -1] = line[..., 1], line[..., -2]
        beside *= _SPIKE
        found = np.flatnonzero(line > beside)[:_CANDIDATES]
        for *lines, at in zip(*np.unravel_index(found, line.shape), strict=True):
            index = (*lines[: piece.line], at, *lines[piece.line :])
            if self._stands_out(piece.magnitude, line[tuple(lines)], at, index):
                self._count += 1
                if len(self._found) < _NAMED:
                    self._found.append((piece.index(index), float(piece.magnitude[index])))

    def _stands_out(
        self, magnitude: NDArray[Any], line: NDArray[Any], at: int, index: tuple[int, ...]
    ) -> bool:
        beside = [*line[max(0, at - _NEIGHBOURS) : at], *line[at + 1 : at + 1 + _NEIGHBOURS]]
        if min(beside) == 0 or line[at] <= _SPIKE * max(beside):  # zeros may fill in
            return False
        lines = tuple(slice(None) if axis in self._alike else n for axis, n in enumerate(index))
        across = magnitude[lines]
        if across.size < _FEW_LINES:
            return len(beside) == 2 * _NEIGHBOURS
        return bool(line[at] > _SPIKE_ACROSS * np.median(across))

    def finish(self, record: Receipt) -> Found:
        """Warn of spikes."""
        if self._count:
            told = [
                f"{self._of.place(self._of.axes, index)}: {magnitude:.3g}"
                for index, magnitude in self._found
            ]
            more = f", and {self._count - len(told)} more" if self._count > len(told) else ""
            record.warn(
                f"{self._of.who}: spikes more than {_SPIKE:g} times above their neighbours along "
                f"{self._of.line} ({'; '.join(told)}{more}); expected none: replace them by what "
                "lies beside them"
            )
        return {"spikes": self._count}


@dataclass
class _Top:
    """The largest real or imaginary part of a channel, how often, and the other parts there."""

    value: float = 0.0
    count: int = 0
    others: set[int] = field(default_factory=set)


class Clipping:
    """Channels of which many samples reach the same largest value: the receiver gave no more."""

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        self._channel = measurement.axes.index(measurement.channel)
        self._tops = [_Top() for _ in range(measurement.shape[self._channel])]

    def look(self, piece: Piece) -> None:
        """Note the largest parts of each channel."""
        first = piece.where[self._channel].start
        values, magnitudes, strongest = (
            np.moveaxis(each, self._channel, 0)
            for each in (piece.values, piece.magnitude, piece.strongest)
        )
        for at, largest in enumerate(strongest.reshape(len(strongest), -1).max(axis=1)):
            top = self._tops[first + at]
            if largest < top.value:
                continue
            # The larger of two parts is at least this.
            near = values[at][magnitudes[at] >= largest * np.float32(np.sqrt(0.5) * (1 - 1e-6))]
            _raise(top, np.abs(near.view(near.real.dtype).reshape(-1, 2)))

    def finish(self, record: Receipt) -> Found:
        """Warn of channels that were clipped."""
        clipped = [at for at, top in enumerate(self._tops) if len(top.others) >= _CLIPPED]
        if clipped:
            top = self._tops[clipped[0]]
            axis = self._of.channel
            record.warn(
                f"{self._of.who}: {ranges(axis, clipped)} of {len(self._tops)} looks clipped: "
                f"{top.count} samples of {axis} {clipped[0]} reach {top.value:.6g}, and none more; "
                "measure with less gain"
            )
        return {f"clipped_{self._of.channel}s": clipped}


def _raise(top: _Top, parts: NDArray[Any]) -> None:
    """Take note of the parts ``[sample, 2]`` of samples near the largest."""
    largest = float(parts.max(initial=0.0))
    if largest < top.value or not largest:
        return
    if largest > top.value:
        top.value, top.count = largest, 0
        top.others.clear()
    others = parts[(parts == largest).any(axis=1)].min(axis=1)
    top.count += len(others)
    top.others.update(map(int, np.unique((others / largest * _STEPS).astype(int))))
