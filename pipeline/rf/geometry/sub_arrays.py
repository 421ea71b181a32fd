"""Pairs of antenna arrays in parts, as phase histories are cut into sub-apertures.

A voxel phase holds the curvature of the wavefronts about the middle of both arrays, and plane waves
take the third axis of a scene to be seen under one angle by all elements. What either leaves falls
with the length of the arrays: parts of them are modelled the better the more they are.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.pair_model import PairLevel


class Cut(NamedTuple):
    """Into how many parts the transmitters and the receivers of a pair are cut: powers of two."""

    tx: int = 1
    rx: int = 1

    @property
    def parts(self) -> int:
        """Pairs of parts."""
        return self.tx * self.rx


WHOLE = Cut()


def model_name(level: PairLevel, cut: Cut = WHOLE) -> str:
    """Return the name of a model of pairs: the level, as ``W+D``, and of parts as ``W+D 2x4``."""
    return level if cut == WHOLE else f"{level} {cut.tx}x{cut.rx}"


def model_of(name: str) -> tuple[PairLevel, Cut]:
    """Return level and cut of a `model_name`."""
    level, _, parts = name.partition(" ")
    cut = Cut(*map(int, parts.split("x"))) if parts else WHOLE
    return level, cut  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class SubPair:
    """A part of the transmitters and a part of the receivers of a pair, as a pair."""

    pair: Pair
    rows: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Indices ``m1`` and ``m2`` of its measurements among those of the whole pair."""


def sub_pairs(pair: Pair, cut: Cut) -> list[SubPair]:
    """Cut a pair whose antennas are not paired one by one.

    The longer side of an array's grid is halved first, and no side has more parts than elements.
    """
    found = []
    arrays = (_cut(pair.tx, pair.grids[0], cut.tx), _cut(pair.rx, pair.grids[1], cut.rx))
    for (tx, sent), (rx, received) in itertools.product(*arrays):
        first, second = (
            np.add.outer(ours * count, theirs).ravel()
            for ours, theirs, count in zip(sent, received, pair.grids[1], strict=True)
        )
        tx_grid, rx_grid = ((len(one), len(two)) for one, two in (sent, received))
        found.append(SubPair(Pair(tx, rx, tx_grid, rx_grid, gain=pair.gain), (first, second)))
    return found


def _cut(
    positions: NDArray[np.float64], grid: tuple[int, int], parts: int
) -> Iterator[tuple[NDArray[np.float64], tuple[NDArray[np.intp], ...]]]:
    """Yield the positions of each part of an array, and where they are along both sides."""
    places = positions.reshape(*grid, 3)
    lengths = [float(np.linalg.norm(np.ptp(places.mean(1 - side), axis=0))) for side in (0, 1)]
    cuts = [1, 1]
    while math.prod(cuts) < parts:
        able = [side for side in (0, 1) if 2 * cuts[side] <= grid[side]]
        if not able:
            break
        cuts[max(able, key=lambda side: lengths[side] / cuts[side])] *= 2
    sides = (np.array_split(np.arange(n), count) for n, count in zip(grid, cuts, strict=True))
    for own in itertools.product(*sides):
        yield places[np.ix_(*own)].reshape(-1, 3), own
