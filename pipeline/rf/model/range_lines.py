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
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.operators.base import LinearOperator

_COARSEST, _FINEST = 2.0, 64.0
"""Bins for each that the band asks for, at least and at most; 64 leave an error of 4e-5."""
_UNEVEN = 0.8
"""Part of the tolerance that frequencies which are taken for even may use up. The rest, 0.6 of it
as errors add by their squares, is left for straight pieces; a fast transform is worth that."""
_SPARE = 3
"""Bins at the ends of a line that rounding may reach."""


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


class RangeLines(LinearOperator):
    """From lines, ``(..., pulse, bin)``, to measurements, ``(..., pulse, freq)``.

    The adjoint is range compression. Even frequencies are transformed by FFT, others by a matrix.
    """

    def __init__(
        self, sampling: LineSampling, pulses: int, *, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        self.sampling = sampling
        device = torch.empty(0, device=device).device
        lines, measured = (pulses, sampling.bins), (pulses, len(sampling.k))
        super().__init__(lines, measured, dtype=dtype, device=device)
        self._gains = torch.from_numpy(sampling.gains).to(device, dtype.to_real())
        self._matrix: Tensor | None = None
        if not sampling.period:
            bins = torch.arange(sampling.bins, dtype=torch.float64, device=device) - sampling.start
            k = torch.from_numpy(sampling.k - sampling.carrier).to(device)
            phases = torch.remainder(k[:, None] * bins * sampling.step, 2 * torch.pi)
            self._matrix = torch.polar(torch.ones_like(phases), phases).to(dtype)

    def _forward(self, x: Tensor) -> Tensor:
        if self._matrix is not None:
            measured: Tensor = (x @ self._matrix.mH) * self._gains
            return measured
        period, bins = self.sampling.period, self.sampling.bins
        # Lines repeat after a period: add up what is the same, from the path 0 on.
        before = -self.sampling.start % period
        padded = torch.nn.functional.pad(x, (before, -(before + bins) % period))
        once = padded.view(*padded.shape[:-1], -1, period).sum(-2)
        spectrum = torch.fft.fft(once)
        return self._centred(spectrum) * self._gains

    def _adjoint(self, y: Tensor) -> Tensor:
        weighted = y * self._gains
        if self._matrix is not None:
            compressed: Tensor = weighted @ self._matrix
            return compressed
        period, bins = self.sampling.period, self.sampling.bins
        count = self.codomain[-1]
        spectrum = y.new_zeros(*y.shape[:-1], period)
        spectrum[..., : count - count // 2] = weighted[..., count // 2 :]
        if count > 1:
            spectrum[..., period - count // 2 :] = weighted[..., : count // 2]
        once = torch.fft.ifft(spectrum, norm="forward")
        first = -self.sampling.start % period
        repeats = -(-(first + bins) // period)
        line: Tensor = once.repeat(*(1,) * (y.ndim - 1), repeats)[..., first : first + bins]
        return line.contiguous()

    def _centred(self, spectrum: Tensor) -> Tensor:
        count, period = self.codomain[-1], self.sampling.period
        below = spectrum[..., period - count // 2 :] if count > 1 else spectrum[..., :0]
        return torch.cat([below, spectrum[..., : count - count // 2]], dim=-1)
