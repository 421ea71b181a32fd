"""What is known of signal and noise at each spatial frequency, as the normal equations see it."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.operators.circulant import Circulant


@dataclass(frozen=True)
class Spectrum:
    """Mean gain of a normal operator, and the weight of a Wiener filter [1]_.

    Both are real of the images' shape, in FFT order, and the same for all images of a batch. With
    a signal of power ``P`` and the noise of ``b`` of power ``S``, the filter is ``1 / (gain +
    wiener)`` where the normal operator is nothing but a gain, with ``wiener = S / (gain P)``.

    References
    ----------
    .. [1] N. Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", MIT
       Press (1949).
    """

    gain: Tensor
    wiener: Tensor

    def prior(self) -> Circulant:
        """Return the operator whose quadratic form is that of the weights."""
        return Circulant(self.wiener, self.wiener.shape)

    def preconditioner(self, shift: float, *, regularised: bool) -> Circulant:
        """Return the inverse of the gain and a shift, with or without the weights."""
        total = self.gain + shift
        if regularised:
            total += self.wiener
        return Circulant(total.reciprocal_(), total.shape)
