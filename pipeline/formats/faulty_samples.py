"""What is wrong with samples of a measurement, whatever its kind: spikes, clipping, a constant."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.checks import Found, ranges
from pipeline.formats.measurement import Measurement, Piece
from pipeline.storage.receipts import Receipt

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
