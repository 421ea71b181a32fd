"""What a job computes with, for whoever plans it and for the job itself.

Who plans does not load torch, which takes seconds and 200 MB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from pipeline.config.transforms import ArithmeticSettings, NufftSettings, TransformChoice
from pipeline.operators.nufft_accuracy import Backend, Precision, choose_oversampling, per_axis
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz_memory import KERNEL_TOLERANCE, padded_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.operators.grid_fourier import FourierTransform
    from pipeline.operators.toeplitz import Toeplitz


@dataclass(frozen=True)
class Machine:
    """What a job computes with, and how exactly."""

    on_device: bool
    """Whether a CUDA device computes, with memory of its own."""
    threads: int
    itemsize: int
    """Bytes of a complex number: 8 or 16."""
    nufft: NufftSettings
    deterministic: bool = False
    choice: TransformChoice = field(default_factory=TransformChoice)
    """How transforms of images are computed, where that was measured or is insisted on."""
    transforms_at_once: int | None = None
    """Transforms that were found to be best done together."""

    @classmethod
    def of(cls, settings: ArithmeticSettings, *, on_device: bool, threads: int) -> Self:
        """Return the machine that settings ask for."""
        nufft, itemsize = settings.nufft, 8 if settings.precision == "single" else 16
        insisted = TransformChoice(oversampling=nufft.oversampling, kernel_width=nufft.kernel_width)
        return cls(on_device, threads, itemsize, nufft, settings.deterministic, insisted)

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of the job, in torch."""
        import torch

        return torch.complex64 if self.itemsize == 8 else torch.complex128

    @property
    def precision(self) -> Precision:
        """The same in NumPy, for whoever only plans."""
        return np.dtype(np.complex64 if self.itemsize == 8 else np.complex128)

    @cached_property
    def image_nufft(self) -> NufftSettings:
        """How images, not kernels, are transformed: what was chosen comes before the settings."""
        chosen = self.choice.model_dump(exclude_defaults=True, exclude={"fft", "piece_bytes"})
        return self.nufft.model_copy(update=chosen)

    def image_library(self, shape: tuple[int, ...]) -> Backend:
        """Return the library that transforms images."""
        nufft = self.image_nufft
        return self._library(shape, nufft.backend, nufft.tolerance, self.precision)

    def kernel_library(self, shape: tuple[int, ...]) -> Backend:
        """Return the library that makes the kernels of Toeplitz products."""
        return self._library(shape, self.nufft.backend, KERNEL_TOLERANCE, np.dtype(np.complex128))

    def image_oversampling(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Return the oversampling of each axis in transforms of images."""
        nufft = self.image_nufft
        chosen = nufft.oversampling
        if chosen is None:
            library = self.image_library(shape)
            chosen = choose_oversampling(library, nufft.tolerance, self.precision, len(shape))
        return per_axis(chosen, len(shape))

    def product_tiling(self, shape: tuple[int, ...], *, on_grid: bool = False) -> Tiling:
        """Return the pieces in which a Toeplitz product is computed."""
        return Tiling(
            shape,
            shape if on_grid else padded_shape(shape),
            self.itemsize,
            host=not self.on_device and self.choice.fft != "torch",
            piece_bytes=self.choice.piece_bytes,
        )

    def _library(
        self, shape: tuple[int, ...], backend: str, tolerance: float, dtype: Precision
    ) -> Backend:
        """Return the library; that of a device need not be installed where the plan is made."""
        return choose_backend(
            shape,
            "cuda" if self.on_device else "cpu",
            backend,
            tolerance=tolerance,
            dtype=dtype,
            deterministic=self.deterministic,
            elsewhere=self.on_device,
        )


@dataclass(frozen=True)
class Transforms:
    """The transforms from images of one shape to samples, and the Toeplitz products, of a job."""

    shape: tuple[int, ...]
    machine: Machine
    on_grid: bool = False
    """Whether all samples lie on the image's own grid of frequencies."""

    def nufft(self, trajectory: Tensor, coils: int | None = None) -> FourierTransform:
        """Return the transform from images to samples at ``trajectory``."""
        from pipeline.operators.grid_fourier import GridFourier
        from pipeline.operators.nufft import NUFFT

        machine, nufft = self.machine, self.machine.image_nufft
        if self.on_grid:
            return GridFourier(self.shape, trajectory, coils=coils, dtype=machine.dtype)
        return NUFFT(
            self.shape,
            trajectory,
            coils=coils,
            tolerance=nufft.tolerance,
            backend=nufft.backend,
            oversampling=nufft.oversampling,
            kernel_width=nufft.kernel_width,
            dtype=machine.dtype,
            threads=machine.threads,
            deterministic=machine.deterministic,
        )

    def toeplitz(self, spectrum: Tensor) -> Toeplitz:
        """Return the convolution with kernels of these spectra."""
        from pipeline.operators.toeplitz import Toeplitz

        choice, threads = self.machine.choice, self.machine.threads
        return Toeplitz(
            spectrum, self.shape, fft=choice.fft, piece_bytes=choice.piece_bytes, threads=threads
        )

    def spectrum(self, trajectory: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the spectrum of the Toeplitz operator of weighted samples on ``trajectory``."""
        from pipeline.operators.grid_fourier import grid_spectrum
        from pipeline.operators.toeplitz import toeplitz_spectrum

        machine = self.machine
        if self.on_grid:
            return grid_spectrum(self.shape, trajectory, weights, dtype=machine.dtype)
        return toeplitz_spectrum(
            self.shape,
            trajectory,
            weights,
            backend=machine.nufft.backend,
            dtype=machine.dtype,
            threads=machine.threads,
            deterministic=machine.deterministic,
        )

    def require_kernels(self, device: str) -> None:
        """Raise `ConfigError` or `DependencyError` if `spectrum` cannot work on a device."""
        if self.on_grid:
            return
        import torch

        from pipeline.operators.toeplitz import kernel_dtype

        kernel_dtype(
            self.shape,
            torch.device(device),
            backend=self.machine.nufft.backend,
            dtype=self.machine.dtype,
            deterministic=self.machine.deterministic,
        )
