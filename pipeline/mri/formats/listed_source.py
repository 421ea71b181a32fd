"""A file that lists readouts one by one, as far as formats differ in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.budget import Budget
from pipeline.mri.formats.encoding_space import EncodingSpace
from pipeline.mri.formats.readout_arrays import ReadoutSource
from pipeline.mri.formats.readout_table import READOUT_BYTES, ReadoutTable


@dataclass(frozen=True)
class Place:
    """Where and how a readout was measured."""

    position: NDArray[np.floating]
    """Of the centre of the field of view, along left, posterior, superior [m]."""
    directions: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
    """In which z (partition or slice), y (phase) and x (read) grow: unit vectors, or zeros where
    the file does not tell."""
    dwell_time: float | None
    """Between samples [s]."""


class ListedSource(ReadoutSource):
    """A file that lists readouts, as far as formats differ in it."""

    table: ReadoutTable
    encodings: Sequence[EncodingSpace]
    default_encoding: int = 0
    components: int
    """Of the stored trajectory; 0 where the file has none."""
    noise_bandwidth: float | None
    """Of noise readouts, relative to the inverse of their dwell time [1]_.

    References
    ----------
    .. [1] P. Kellman, E. R. McVeigh, "Image reconstruction in SNR units: a general method for SNR
       measurement", Magn. Reson. Med. 54, 1439-1447 (2005).
    """

    def trajectory(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored trajectory of readouts, ``[readout, sample, component]``."""
        raise NotImplementedError

    def place(self, row: int) -> Place:
        """Return where a readout was measured."""
        raise NotImplementedError


def require_room(readouts: int, budget: Budget) -> None:
    """Ask for the memory of a table of so many readouts before it is made."""
    size = READOUT_BYTES * readouts
    budget.require({"table of readouts": size})
    budget.hold(size)
