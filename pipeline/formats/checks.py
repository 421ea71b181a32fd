"""What is looked for in the values of an array as they are copied, whatever the kind of data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.lazy import Selection
from pipeline.storage.receipts import Receipt

Found = dict[str, Any]
"""JSON values for the receipt."""

Labels = Mapping[str, Callable[[int], str]]
"""By axis: what to say of a place on it beside its index."""

_SMALLEST, _LARGEST = 1e-18, 1e15
"""Of magnitudes: between them single precision holds their squares, and sums of these."""
_NAMED = 4
"""Ranges that a message names."""


class Check:
    """What a kind of data looks for in the values of one array as they are copied."""

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        """Take note of finite values in ``tile``; return what is to be stored."""
        return values

    def finish(self, record: Receipt) -> Found:
        """Return what was found, and warn of what makes the data doubtful.

        `DataError` if the whole array cannot be right.
        """
        return {}


def require_squares(what: str, largest: float, smallest: float = _SMALLEST) -> None:
    """Raise `DataError` where single precision does not hold squares of the largest magnitude.

    ``what`` says whose it is, such as ``scan: kspace reaches``.
    """
    if not smallest < largest < _LARGEST:
        raise DataError(
            f"{what} {largest:.3g}; expected {_SMALLEST:g} to {_LARGEST:g}, for single precision: "
            "multiply by a number, for example with `scale`"
        )


class Largest(Check):
    """Notes the largest magnitude along chosen axes, whose numbers are ``kept``."""

    def __init__(self, shape: Sequence[int], kept: tuple[int, ...]) -> None:
        self._kept = kept
        self._rest = tuple(axis for axis in range(len(shape)) if axis not in kept)
        self.values = np.zeros([shape[axis] for axis in kept])

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        """Take note of the values."""
        where = tuple(tile[axis] for axis in self._kept)
        magnitude = np.abs(values).max(axis=self._rest)
        self.values[where] = np.maximum(self.values[where], magnitude)
        return values


class NotZero(Largest):
    """Refuses places along the first axes, of those names, where all values are zero."""

    def __init__(self, who: str, axes: tuple[str, ...], shape: Sequence[int]) -> None:
        super().__init__(shape, tuple(range(len(axes))))
        self._who, self._axes = who, axes

    def finish(self, record: Receipt) -> Found:
        """Refuse what is zero."""
        empty = np.argwhere(self.values == 0)
        if len(empty):
            where = place(zip(self._axes, empty[0], strict=True), {})
            at = f" at {where}" if self.values.any() else ""
            raise DataError(f"{self._who} are zero throughout{at}; leave them out or correct them")
        require_squares(f"{self._who} reach", float(self.values.max(initial=1)), 0)
        return {}


class NotNegative(NotZero):
    """Refuses negative values too."""

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        """Take note of the values."""
        if values.min() < 0:
            raise DataError(f"{self._who} reach {values.min():g}; expected none below 0")
        return super().passed(values, tile)


def place(named: Iterable[tuple[str, int]], labels: Labels) -> str:
    """Return the words for a place in an array: axes, indices and what else there is to say."""
    return ", ".join(
        f"{axis} {at}" + (f" ({labels[axis](at)})" if axis in labels else "") for axis, at in named
    )


def ranges(axis: str, places: Sequence[int] | NDArray[np.integer]) -> str:
    """Return increasing places on an axis as words, such as ``frame 0, 5-8``."""
    runs = np.split(np.asarray(places), np.flatnonzero(np.diff(places) != 1) + 1)
    told = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"{axis} {listed(told, ', ')}"


def ranges_within(axes: Sequence[str], index: NDArray[np.integer]) -> str:
    """Return places ``[place, 2]`` along two axes as words, such as ``frame 0, readout 5-8``."""
    outer, inner = axes
    told = [
        f"{outer} {at}, {ranges(inner, index[index[:, 0] == at, 1])}"
        for at in np.unique(index[:, 0])
    ]
    return listed(told, "; ")


def listed(words: Sequence[str], between: str) -> str:
    """Return the first of some words, and how many there are more."""
    more = [f"{len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return between.join([*words[:_NAMED], *more])
