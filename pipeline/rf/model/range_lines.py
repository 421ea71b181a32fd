"""Range compression of pulses into lines, and back; what lines are: `line_sampling`."""

import torch
from torch import Tensor

from pipeline.operators.base import LinearOperator
from pipeline.rf.model.line_sampling import LineSampling


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
