"""The volume of k-space that a Cartesian sample stands for: a cell, which those in it share."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.mri.readouts import Readouts, readout_slabs


class CartesianDensity:
    """Weights of samples on a matrix' own grid of frequencies, in image units.

    What was not sampled is not made up for.
    """

    def __init__(self, trajectory: Readouts, shape: Sequence[int]) -> None:
        self._trajectory, self._shape = trajectory, tuple(shape)
        self._counts = np.zeros(math.prod(self._shape), np.int32)
        for slab in readout_slabs(trajectory):
            places, counts = np.unique(self._places(slab), return_counts=True)
            self._counts[places] += counts.astype(np.int32)

    def weights(self, readouts: slice) -> NDArray[np.float64]:
        """Return the weights of some readouts, float64 ``[readout, sample]``."""
        return np.asarray(1 / (len(self._counts) * self._counts[self._places(readouts)]))

    def _places(self, readouts: slice) -> NDArray[np.intp]:
        """Return where samples lie in a spectrum in FFT order, ``[readout, sample]``."""
        sizes = np.array(self._shape)
        cycles = np.rint(self._trajectory[readouts] * (sizes / (2 * np.pi))).astype(np.intp)
        places = np.ravel_multi_index(tuple(np.moveaxis(cycles % sizes, -1, 0)), self._shape)
        return np.asarray(places)


def cartesian_bytes(shape: Sequence[int], slab: int) -> int:
    """Return what the weights of ``slab`` samples that are looked at together need [byte]."""
    return 4 * math.prod(shape) + slab * (16 * len(shape) + 48)
