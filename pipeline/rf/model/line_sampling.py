"""Range compression: what pulses measured as functions of the path, sampled finely enough to read.

With wavenumbers ``k_f`` about a carrier ``k_0``, a pulse's line is

    line(d) = sum_f g_f y(f) exp(+j (k_f - k_0) d),

at bins ``d = (m - start) step``, and between them as straight pieces. Of ``exp(j theta w)``, with
``theta = (k_f - k_0) step``, a straight piece keeps ``sinc^2(theta / 2 pi)`` on average; dividing
by it (``g``) leaves a relative error of ``theta^2 / sqrt(720)``. The step is the longest whose root
mean square over the frequencies is the tolerance: an evenly filled band is oversampled
``pi / sqrt(60 tolerance)`` times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_COARSEST, _FINEST = 2.0, 64.0
"""Bins for each that the band asks for, at least and at most; 64 leave an error of 4e-5."""
_UNEVEN = 0.8
"""Part of the tolerance that frequencies which are taken for even may use up. The rest, 0.6 of it
as errors add by their squares, is left for straight pieces; a fast transform is worth that."""
_SPARE = 3
"""Bins at the ends of a line that rounding may reach."""
_LINE_BYTES = 2**26
"""Bytes of the lines of those pulses that are in work at a time."""
PAIRS_AT_ONCE = 2**20
"""Voxels times pulses in work at a time where torch computes."""


def coarse_line_bytes(shape: Sequence[int], frequencies: int, pulses: int) -> int:
    """Predict the bytes of complex64 lines in work, to a tolerance of 1e-2, before they are known.

    Bins go over the scene, of voxels no larger than what the band resolves; or over the band.
    """
    bins = max(4 * math.hypot(*shape), 4.1 * frequencies)
    return min(8 * pulses * round(bins), _LINE_BYTES)


@dataclass(frozen=True, eq=False)
class LineSampling:
    """How lines are sampled: bins of a step [m] from ``-start step`` on."""

    k: NDArray[np.float64]  # [freq], rad/m
    carrier: float  # rad/m
    step: float  # m
    start: int
    bins: int
    period: int
    """Bins after which lines repeat; 0 where frequencies are uneven."""
    uneven: float = 0.0
    """Relative l2 error of taking frequencies for even."""

    @classmethod
    def of(cls, k: NDArray[np.float64], reach: float, tolerance: float) -> "LineSampling":
        """Return the sampling for paths of at most ``reach`` [m] to either side, to a tolerance."""
        # Rounded to single precision, say, even frequencies are off by what paths make of it.
        places = np.arange(len(k)) - len(k) // 2
        line = np.polynomial.Polynomial.fit(places, k, min(1, len(k) - 1))
        uneven = float(np.sqrt(np.mean((k - line(places)) ** 2))) * reach / math.sqrt(3)
        even = len(k) > 1 and uneven <= _UNEVEN * tolerance
        carrier = float(line(0.0)) if even else float(k[0] + k[-1]) / 2
        spread = float(np.mean((k - carrier) ** 4)) ** 0.25
        band, period = float(np.ptp(k)), 0
        if not band:
            step = max(reach, 1e-3)
        else:
            widest = 2 * math.pi / band
            pieces = math.sqrt(tolerance**2 - uneven**2) if even else tolerance
            step = (pieces * math.sqrt(720)) ** 0.5 / spread
            step = min(widest / _COARSEST, max(widest / _FINEST, step))
        if even:
            from scipy.fft import next_fast_len

            apart = float(line(1.0) - line(0.0))
            period = next_fast_len(math.ceil(2 * math.pi / (step * apart)))
            step = 2 * math.pi / (period * apart)
        start = math.ceil(reach / step) + _SPARE
        return cls(k, carrier, step, start, 2 * start + 1, period, uneven if even else 0.0)

    @property
    def error(self) -> float:
        """Relative l2 error of uncorrelated measurements, from straight pieces and steps."""
        theta = (self.k - self.carrier) * self.step
        return math.hypot(float(np.sqrt(np.mean(theta**4) / 720)), self.uneven)

    @cached_property
    def gains(self) -> NDArray[np.float64]:
        """What makes up for straight pieces, ``[freq]``."""
        return np.asarray(1 / np.sinc((self.k - self.carrier) * self.step / (2 * np.pi)) ** 2)

    def workspace_bytes(self, pulses: int, itemsize: int) -> int:
        """Predict the bytes of turning pulses into lines or back, without either."""
        if self.period:
            return 3 * pulses * self.period * itemsize
        return len(self.k) * self.bins * (itemsize + 32)

    def pulses_together(self, itemsize: int) -> int:
        """Return how many pulses are in work at a time."""
        return max(1, _LINE_BYTES // (itemsize * max(self.bins, self.period)))
