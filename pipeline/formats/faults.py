"""What is wrong with a measurement, whatever its kind: told from its values as they are copied.

Nothing is read twice. What is kept is a number or two for each channel, frame and line, not for
each sample.
"""

import math
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
from pipeline.formats.faulty_samples import Clipping, Offset, Spikes
from pipeline.formats.lazy import Selection
from pipeline.formats.measurement import Measurement, Piece, pieces_of
from pipeline.storage.receipts import Receipt

_FILLED = 0.5
"""Of the samples in lines that are not zero: where fewer are not zero, zeros fill in for others."""

_GAP = 100.0
"""Channels that belong together, sorted by their level, follow each other in smaller steps."""

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
