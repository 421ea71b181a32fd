"""How large the noise is in the normal equations: what weights and stopping rules go by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The noise of a batch of images, as the normal equations see it."""

    adjoint: Tensor
    """float64, one for each problem: standard deviation of a voxel of ``A^H W n``, both parts
    together. ``sigma sqrt(d)`` for white noise, ``d`` the diagonal of the normal operator."""
    misfit: Tensor
    """float64, one for each problem: root of the mean of ``|W^(1/2) n|^2``. ``sigma sqrt(M)`` for
    white noise in ``M`` samples."""

    def joint(self) -> Noise:
        """Return the noise of all problems as that of one; a voxel's is the root mean square."""
        return Noise(
            self.adjoint.square().mean(0, keepdim=True).sqrt(),
            self.misfit.square().sum(0, keepdim=True).sqrt(),
        )

    def to(self, device: torch.device) -> Noise:
        """Return the same on a device."""
        return Noise(self.adjoint.to(device), self.misfit.to(device))

    @classmethod
    def of_channels(
        cls,
        deviations: NDArray[np.floating],
        diagonals: NDArray[np.floating],
        samples: NDArray[np.floating],
        device: str,
        *,
        together: bool,
    ) -> Noise:
        """Return the noise of one image whose channels have white noise each.

        Parameters
        ----------
        deviations
            Standard deviation of each channel's complex noise, in units of the data as weighted.
        diagonals, samples
            Share of each channel in the diagonal of the normal operator, and its number of samples;
            with weights that differ between samples the sums of their squares and of themselves.
        together
            Whether the channels make one image, ``(1,)``, or one each, ``(1, channel)``.
        """
        square = np.asarray(deviations, dtype=np.float64) ** 2
        parts = (square * diagonals, square * samples)
        found = [
            torch.from_numpy(np.sqrt(part.sum(keepdims=True) if together else part[None]))
            for part in parts
        ]
        return cls(*(values.to(device) for values in found))
