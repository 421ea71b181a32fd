"""Shares of the normal equations: what a piece of the measurement is reduced to.

A **shard** is a piece of a block's measurements. Each is reduced to its share of ``b = A^H W y``
and of the normal operator; the block is solved from the sum of the shares alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """A piece of the measurements of each image."""

    channels: range
    """MRI: coils. RF: pairs; a phase history has one channel."""
    readouts: range
    """MRI: readouts of an image, those of joined frames one after the other. RF: frequencies of
    each pair, or pulses of a phase history."""

    def is_first_of_channels(self) -> bool:
        """Tell whether this shard accounts for what all channels share, such as the kernel."""
        return self.channels.start == 0


@dataclass(frozen=True)
class Share:
    """A shard's part of the normal equations of a batch of images."""

    b: Tensor
    """complex, ``(image, *unknown)``: ``A^H W y``; for root sums of squares the squared magnitude
    of the coils' images."""
    energy: Tensor
    """float64, ``(image,)``: ``y^H W y``."""
    diagonal: Tensor
    """float64, ``(image,)``: the diagonal of ``A^H W A`` for unit sensitivities."""
    kernels: Mapping[str, Tensor]
    """Spectra of Toeplitz operators by name, real ``(image or 1, *padded)``; none where the
    solver applies forward and adjoint, or nothing is solved."""

    def __add__(self, other: Share) -> Share:
        """Add in place of this share's tensors: kernels of one name add, others stand side by side.

        The sum takes over the memory of ``self``, which is not to be used any more.
        """
        kernels = dict(self.kernels)
        for name, spectrum in other.kernels.items():
            mine = kernels.get(name)
            kernels[name] = spectrum if mine is None else mine.add_(spectrum)
        return Share(
            b=self.b.add_(other.b),
            energy=self.energy.add_(other.energy),
            diagonal=self.diagonal.add_(other.diagonal),
            kernels=kernels,
        )
