"""How to read a part of what lies in order, the last axis fastest: run by run."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    """What is read in one piece: whole rows of the later axes, of which a part may be wanted."""

    start: int
    """The first item."""
    shape: tuple[int, ...]
    """Of what is read: the last of the axes, all of the array's but for the first."""
    cut: tuple[slice, ...]
    """The part of it that is wanted."""
    place: tuple[int | slice, ...]
    """Where that stands in the part of the array."""

    @property
    def stop(self) -> int:
        """The item after the last one."""
        return self.start + math.prod(self.shape)

    @property
    def exact(self) -> bool:
        """Whether all of it is wanted."""
        return all(cut == slice(0, size) for cut, size in zip(self.cut, self.shape, strict=True))


def runs(
    shape: Sequence[int], bounds: Sequence[tuple[int, int]], *, seek: int, most: int
) -> Iterator[Run]:
    """Yield the runs of a part that is not empty, none longer than the first.

    Parameters
    ----------
    shape, bounds
        Of the array, and of the part along each axis.
    seek
        Items that could be read in the time that it takes to begin at another place: rather than
        as many short runs, rows are read with what is not wanted in them.
    most
        Items of a run that holds what is not wanted.
    """
    extent = tuple(stop - start for start, stop in bounds)
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    first = len(shape)
    while first and extent[first:] == tuple(shape[first:]):
        first -= 1
    rows, items = math.prod(extent[first : first + 1]), math.prod(extent[first:])
    while first and rows == math.prod(extent[first : first + 1]):
        row = steps[first - 1]
        many = min(extent[first - 1], most // row)
        if not many or many * row + seek > many * (items + seek):
            break
        first, rows, items = first - 1, many, many * row
    inner = bounds[first + 1 :]
    cut = tuple(slice(*bound) for bound in inner)
    for index in np.ndindex(*extent[:first]):
        above = sum((bounds[axis][0] + at) * steps[axis] for axis, at in enumerate(index))
        if not shape:
            yield Run(0, (), (), ())
            return
        for at in range(0, extent[first], rows):
            count = min(rows, extent[first] - at)
            yield Run(
                start=above + (bounds[first][0] + at) * steps[first],
                shape=(count, *shape[first + 1 :]),
                cut=(slice(0, count), *cut),
                place=(*index, slice(at, at + count)),
            )
