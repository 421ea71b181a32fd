"""What is wrong with a measurement, whatever its kind: told from its values as they are copied.

Nothing is read twice. What is kept is a number or two for each channel, frame and line, not for
each sample.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.checks import (
    Check,
    Found,
    listed,
    ranges,
    ranges_within,
    require_squares,
)
from pipeline.formats.lazy import Selection
from pipeline.formats.measurement import Measurement, Piece, pieces_of
from pipeline.storage.receipts import Receipt

_FILLED = 0.5
"""Of the samples in lines that are not zero: where fewer are not zero, zeros fill in for others."""

_GAP = 100.0
"""Channels that belong together, sorted by their level, follow each other in smaller steps."""

_SPIKE = 20.0
"""A sample so far above its neighbours is no signal: that of an object as wide as the field of view
falls by a factor of 6 from the middle of k-space to the next sample."""

_SPIKE_ACROSS = 10.0
"""And so far above the median of the same place in other lines."""

_BESIDE = np.array([-3, -2, -1, 1, 2, 3])
"""Where the neighbours are."""

_FEW_LINES = 4
"""The median of fewer says nothing."""

_STRONG = 4.0
"""Times the mean of a line, or half of a short one: an image does not show weaker spikes."""

_NAMED = 3
"""Spikes that a warning names."""

_CLIPPED = 8
"""Different samples whose largest part is that of the channel to the last bit; chance makes two."""

_STEPS = 1000
"""In the largest part: samples are different that lie more than a step apart."""

_PLACES = 16
"""On a line, where its samples are looked at for a constant."""

_COHERENT = 0.7
"""Sum of the weaker half of those, relative to that of their magnitudes; of good k-space 0.2."""

_SOME_REPEAT = 0.25
"""Of the places along an axis where some may repeat."""


class Fault(Protocol):
    """What may be wrong with a measurement."""

    def look(self, piece: Piece) -> None:
        """Take note of a piece."""

    def finish(self, record: Receipt) -> Found:
        """Return what was found and warn of it; `DataError` if it gives no image."""


class Measured(Check):
    """Looks for what is missing, out of scale, repeated, isolated or clipped."""

    def __init__(self, measurement: Measurement) -> None:
        self._line = measurement.axes.index(measurement.line)
        self._faults: tuple[Fault, ...] = (
            Missing(measurement),
            Levels(measurement),
            Repeats(measurement),
            Spikes(measurement),
            Clipping(measurement),
            *([Offset(measurement)] if measurement.cancels else []),
        )

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        """Take note of the values."""
        with np.errstate(over="ignore", invalid="ignore"):
            for piece in pieces_of(values, tile, self._line):
                for fault in self._faults:
                    fault.look(piece)
        return values

    def finish(self, record: Receipt) -> Found:
        """Return and warn of what was found; refuse what is zero where it must not be."""
        found: Found = {}
        for fault in self._faults:
            found |= fault.finish(record)
        return found


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
        if piece.magnitude.min() > 0:
            self._nonzero += piece.magnitude.size
        else:
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
        require_squares(f"{of.who} reaches", self._largest)
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
        magnitude, samples = piece.magnitude, piece.values.shape[piece.line]
        if samples <= _BESIDE.max():
            return
        level = (min(0.5, _STRONG / samples) * piece.total).astype(magnitude.dtype)
        strong = np.flatnonzero(magnitude > level)
        index = np.array(np.unravel_index(strong, magnitude.shape))
        beside = index[piece.line] + _BESIDE[:, None]
        there = (beside >= 0) & (beside < samples)
        places = [*index]
        places[piece.line] = beside.clip(0, samples - 1)
        found = magnitude[tuple(places)]  # [neighbour, sample]
        least = np.where(there, found, np.inf).min(axis=0)
        largest = np.where(there, found, 0).max(axis=0)
        alone = (least > 0) & (magnitude[tuple(index)] > _SPIKE * largest)  # zeros may fill in
        for at, whole in zip(index.T[alone], there.all(axis=0)[alone], strict=True):
            if self._stands_out(magnitude, tuple(at), alone=bool(whole)):
                self._count += 1
                if len(self._found) < _NAMED:
                    self._found.append((piece.index(at), float(magnitude[tuple(at)])))

    def _stands_out(self, magnitude: NDArray[Any], index: tuple[int, ...], *, alone: bool) -> bool:
        """Compare with other lines; of few lines ``alone`` tells whether neighbours are enough."""
        across = magnitude[
            tuple(slice(None) if axis in self._alike else at for axis, at in enumerate(index))
        ]
        if across.size < _FEW_LINES:
            return alone
        return bool(magnitude[index] > _SPIKE_ACROSS * np.median(across))

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


class Offset:
    """A constant that a receiver adds to all samples of a channel.

    Far out in k-space samples of an object cancel each other; what is left of their sum is that of
    an offset, or of a point in the very middle of the image.
    """

    def __init__(self, measurement: Measurement) -> None:
        self._of = measurement
        samples = measurement.size(measurement.line)
        count = _PLACES if samples >= _PLACES else 0
        self._places = np.linspace(0, samples - 1, count).astype(int)
        self._channel = measurement.axes.index(measurement.channel)
        sizes = measurement.shape[self._channel], len(self._places)
        self._sum, self._total = np.zeros(sizes, np.complex128), np.zeros(sizes)

    def look(self, piece: Piece) -> None:
        """Add up samples at some places of all lines."""
        if not len(self._places):
            return
        line = piece.where[piece.line]
        columns = slice(*np.searchsorted(self._places, (line.start, line.stop)))
        values = piece.values.take(self._places[columns] - line.start, axis=piece.line)
        rows = np.moveaxis(values, (self._channel, piece.line), (0, 1))
        rows = rows.reshape(*rows.shape[:2], -1)
        where = piece.where[self._channel], columns
        self._sum[where] += rows.sum(axis=-1)
        self._total[where] += np.abs(rows).sum(axis=-1)

    def finish(self, record: Receipt) -> Found:
        """Warn of channels with an offset."""
        of = self._of
        lines = math.prod(of.shape) // (len(self._sum) * of.size(of.line))
        if not len(self._places) or lines < _PLACES:
            return {}
        weaker = np.argsort(self._total, axis=1)[:, : _PLACES // 2]
        sums = np.abs(np.take_along_axis(self._sum, weaker, axis=1).sum(axis=1))
        totals = np.take_along_axis(self._total, weaker, axis=1).sum(axis=1)
        found = np.flatnonzero((sums > _COHERENT * totals) & np.isfinite(totals))
        if len(found):
            mean = sums[found[0]] / (lines * _PLACES // 2)
            record.warn(
                f"{of.who}: {ranges(of.channel, found)} of {len(sums)} has a constant of about "
                f"{mean:.3g} in all samples, as from a point in the very middle of the image; if "
                "there is none, subtract it"
            )
        return {f"offset_{of.channel}s": found.tolist()}
