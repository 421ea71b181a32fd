"""Time segments of a field map: what few products make a factor of samples and voxels [1]_.

Off-resonance ``f`` [Hz] and relaxation ``R`` [1/s] give a sample at time ``t`` of a voxel the
factor ``e(t, v) = exp(-z(v) t)``, ``z = R + 2 pi j f``. It is interpolated between few times,

    e(t, v) = sum_l  B_l(t) e(t_l, v),

and so is what the normal operator needs of two voxels, with twice the frequencies but terms that do
not meet:

    conj(e(t, v)) e(t, v') = sum_l  b_l(t) conj(e(t_l, v)) e(t_l, v').

The interpolators are the least-squares ones over all voxels, or pairs of voxels [2]_: they follow
from the covariance of ``e`` over the histogram of the map. For pairs it is the squared magnitude of
that, so that ``b_l`` is real. The times are the pivots of its Cholesky factorisation: the next one
is where the error is largest, until none exceeds what is allowed.

References
----------
.. [1] D. C. Noll, C. H. Meyer, J. M. Pauly, D. G. Nishimura, A. Macovski, "A homogeneity correction
   method for magnetic resonance imaging with time-varying gradients", IEEE Trans. Med. Imaging 10,
   629-637 (1991).
.. [2] J. A. Fessler, S. Lee, V. T. Olafsson, H. R. Shi, D. C. Noll, "Toeplitz-based iterative image
   reconstruction for MRI with correction for magnetic field inhomogeneity", IEEE Trans. Signal
   Process. 53, 3393-3402 (2005).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.pieces import pieces

MOST_CYCLES = 100
"""Of the largest frequency, over all times: more is a mistake of units."""
_BINS_A_CYCLE = 10
"""Bins of the histogram for each cycle that frequencies differ by over all times."""
_FEWEST_BINS = 32
_RATES = 8
"""Bins of relaxation."""
_TIMES = 1024
"""Among which the nodes are chosen: five a cycle, or more."""
_TOGETHER = 1024
"""Rows of a table, and bins, that are in work together."""
TABLE_BYTES = 40 * 10**6
"""Both tables at most, as they are stored."""
WORKSPACE_BYTES = 6 * 16 * _TIMES**2
"""What `segments` takes at most, with its result."""


@dataclass(frozen=True)
class Histogram:
    """How often each decay occurs in a map."""

    decays: NDArray[np.complex128]
    """``z`` of two voxels for each bin that is not empty, which have the mean and the variance of
    its frequencies [1/s]."""
    shares: NDArray[np.float64]
    """Of the voxels; their sum is 1."""

    @classmethod
    def of(
        cls,
        maps: Iterable[tuple[NDArray[Any], NDArray[Any]]],
        limits: Sequence[tuple[float, float]],
        length: float,
    ) -> Self:
        """Count voxels of parts of two maps, ``f`` [Hz] and ``R`` [1/s].

        ``limits`` are the least and the largest of either, ``length`` the time that is of interest
        [s].
        """
        (lowest, highest), (slowest, fastest) = limits
        bins = max(_FEWEST_BINS, int(np.ceil(_BINS_A_CYCLE * (highest - lowest) * length)))
        sums = np.zeros((4, bins * _RATES))
        for f, r in ((f.ravel().astype(np.float64), r.ravel()) for f, r in maps):
            row = _bin(f, lowest, highest, bins) * _RATES + _bin(r, slowest, fastest, _RATES)
            values = (None, f, f**2, r)
            sums += [np.bincount(row, each, minlength=sums.shape[1]) for each in values]
        counts = sums[0, sums[0] > 0]
        mean, square, rate = sums[1:, sums[0] > 0] / counts
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        frequencies = np.concatenate([mean - spread, mean + spread])
        shares = np.tile(counts, 2) / (2 * counts.sum())
        return cls(np.tile(rate, 2) + 2j * np.pi * frequencies, shares)

    def covariance(self, times: NDArray[Any], others: NDArray[Any]) -> NDArray[np.complex128]:
        """Return the mean of ``e(t) conj(e(t'))`` over the voxels, ``(time, other time)``."""
        total = np.zeros((len(times), len(others)), np.complex128)
        for some in pieces(len(self.decays), _TOGETHER):
            one, other = (np.exp(-np.outer(t, self.decays[some])) for t in (times, others))
            total += (one * self.shares[some]) @ other.conj().T
        return total


def _bin(values: NDArray[np.floating], low: float, high: float, bins: int) -> NDArray[np.intp]:
    width = (high - low) / bins or 1.0
    found: NDArray[np.intp] = np.clip((values - low) / width, 0, bins - 1).astype(np.intp)
    return found


@dataclass(frozen=True)
class Segments:
    """Times, and what the values there count at any other time."""

    nodes: NDArray[np.float64]
    """``t_l`` [s]."""
    table: NDArray[np.inexact]
    """``B_l`` at times that are evenly spaced from the first to the last, ``(row, segment)``; in
    between it is a straight line. complex64, or float32 for pairs of voxels."""
    error: float
    """Root mean square error of the factor over the voxels at the worst time, relative to its own
    at the time where that is largest."""


def segments(
    histogram: Histogram, first: float, last: float, *, error: float, pairs: bool
) -> Segments:
    """Return the fewest segments that leave no larger error at any time between two [s].

    Of what samples need of voxels, or of what the normal operator needs of ``pairs``.
    """

    def covariance(times: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
        found = histogram.covariance(times, others)
        return np.abs(found) ** 2 if pairs else found

    times = np.linspace(first, last, _TIMES)
    half = error / 2  # the other half is left to straight lines and the times in between
    nodes = times[_pivots(covariance(times, times), half)]
    among = covariance(nodes, nodes)
    rows = _rows(histogram, last - first, half, pairs=pairs)
    table = np.empty((rows, len(nodes)), np.float32 if pairs else np.complex64)
    squares = largest = 0.0
    spaced = np.linspace(first, last, rows)
    for part in pieces(rows, _TOGETHER):
        known = covariance(spaced[part], nodes)
        table[part] = weights = np.linalg.lstsq(among.T, known.T, rcond=1e-14)[0].T
        own = np.exp(-2 * np.outer(spaced[part], histogram.decays.real)) @ histogram.shares
        own = own**2 if pairs else own
        left = own - 2 * (weights.conj() * known).sum(1).real
        left += ((weights @ among) * weights.conj()).sum(1).real
        squares, largest = max(squares, float(left.max())), max(largest, float(own.max()))
    return Segments(nodes, table, float(np.sqrt(max(squares, 0.0) / largest)))


def _rows(histogram: Histogram, length: float, error: float, *, pairs: bool) -> int:
    """Return the rows of a table between which straight lines are wrong by half of the error.

    A line over a step ``h`` is wrong by ``h^2 / 8`` of the second derivative.
    """
    frequencies = histogram.decays.imag
    fastest = np.ptp(frequencies) if pairs else np.abs(frequencies).max()
    fastest += histogram.decays.real.max() * (1 + pairs)
    return 2 + int(np.ceil(length * fastest / np.sqrt(4 * error)))


def _pivots(covariance: NDArray[Any], error: float) -> list[int]:
    """Return the rows that a pivoted Cholesky factorisation takes until none is left worse."""
    left = covariance.diagonal().real.copy()
    allowed = error**2 * left.max()
    columns: list[NDArray[Any]] = []
    found: list[int] = []
    while left.max() > allowed and len(found) < len(left):
        pivot = int(np.argmax(left))
        column = covariance[:, pivot].copy()
        for known in columns:
            column -= known * known[pivot].conj()
        column /= np.sqrt(left[pivot])
        columns.append(column)
        found.append(pivot)
        left -= np.abs(column) ** 2
    return sorted(found)
