"""How non-uniform transforms and Toeplitz kernels are computed in a job."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.config.transforms import NufftSettings, TransformChoice
from pipeline.operators.nufft import NUFFT
from pipeline.operators.toeplitz import Toeplitz, kernel_dtype, toeplitz_spectrum


@dataclass(frozen=True)
class Transforms:
    """How non-uniform transforms are computed in this job.

    Attributes
    ----------
    shape
        Image axes.
    settings
        As given.
    dtype
        complex64 or complex128.
    threads
        Threads on the CPU.
    deterministic
        Whether results repeat bit by bit.
    choice
        What the plan chose; comes before the settings.
    """

    shape: tuple[int, ...]
    settings: NufftSettings
    dtype: torch.dtype
    threads: int
    deterministic: bool
    choice: TransformChoice = field(default_factory=TransformChoice)

    def toeplitz(self, spectrum: Tensor) -> Toeplitz:
        """Return the convolution with kernels of these spectra."""
        return Toeplitz(
            spectrum,
            self.shape,
            fft=self.choice.fft,
            piece_bytes=self.choice.piece_bytes,
            threads=self.threads,
        )

    def spectrum(self, trajectory: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the spectrum of the Toeplitz operator of weighted samples on ``trajectory``."""
        return toeplitz_spectrum(
            self.shape,
            trajectory,
            weights,
            backend=self.settings.backend,
            dtype=self.dtype,
            threads=self.threads,
            deterministic=self.deterministic,
        )

    def require_kernels(self, device: str) -> None:
        """Raise `ConfigError` or `DependencyError` if `spectrum` cannot work on a device."""
        kernel_dtype(
            self.shape,
            torch.device(device),
            backend=self.settings.backend,
            dtype=self.dtype,
            deterministic=self.deterministic,
        )

    def nufft(self, trajectory: Tensor, coils: int | None = None) -> NUFFT:
        """Return the transform from the image grid to ``trajectory``."""
        settings, choice = self.settings, self.choice
        return NUFFT(
            self.shape,
            trajectory,
            coils=coils,
            tolerance=choice.tolerance or settings.tolerance,
            backend=settings.backend if choice.backend == "auto" else choice.backend,
            oversampling=choice.oversampling or settings.oversampling,
            kernel_width=choice.kernel_width or settings.kernel_width,
            dtype=self.dtype,
            threads=self.threads,
            deterministic=self.deterministic,
        )
