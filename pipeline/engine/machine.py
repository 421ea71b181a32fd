"""What a job computes with, as far as a plan knows it."""

from dataclasses import dataclass, field, replace
from typing import Self

import torch

from pipeline.config.planning import PlanSettings
from pipeline.config.transforms import TransformChoice
from pipeline.operators.nufft_accuracy import Backend, choose_oversampling, per_axis
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz import padded_shape


@dataclass(frozen=True)
class Machine:
    """What a job computes with, and how exactly."""

    on_device: bool
    """Whether a CUDA device computes, with memory of its own."""
    threads: int
    itemsize: int
    """Bytes of a complex number: 8 or 16."""
    backend: str
    """Library of the NUFFT, or ``auto``."""
    tolerance: float
    """Relative error allowed in each transform."""
    deterministic: bool = False
    choice: TransformChoice = field(default_factory=TransformChoice)
    """How transforms of images are computed, where that was measured or is insisted on."""
    transforms_at_once: int | None = None
    """Transforms that were found to be best done together."""

    @classmethod
    def of(cls, settings: PlanSettings, *, on_device: bool, threads: int) -> Self:
        """Return the machine that settings ask for."""
        nufft = settings.nufft
        insisted = TransformChoice(oversampling=nufft.oversampling, kernel_width=nufft.kernel_width)
        return cls(
            on_device=on_device,
            threads=threads,
            itemsize=8 if settings.precision == "single" else 16,
            backend=nufft.backend,
            tolerance=nufft.tolerance,
            deterministic=settings.deterministic,
            choice=insisted,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of the job."""
        return torch.complex64 if self.itemsize == 8 else torch.complex128

    @property
    def asked(self) -> float:
        """What the library of image transforms is asked for."""
        return self.choice.tolerance or self.tolerance

    def image_library(self, shape: tuple[int, ...]) -> Backend:
        """Return the library that transforms images, not kernels."""
        if self.choice.backend == "auto":
            return self.library(shape, self.asked, self.dtype)
        return replace(self, backend=self.choice.backend).library(shape, self.asked, self.dtype)

    def image_oversampling(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Return the oversampling of each axis in transforms of images."""
        chosen = self.choice.oversampling
        if chosen is None:
            library = self.image_library(shape)
            chosen = choose_oversampling(library, self.asked, self.dtype, len(shape))
        return per_axis(chosen, len(shape))

    def product_tiling(self, shape: tuple[int, ...]) -> Tiling:
        """Return the pieces in which a Toeplitz product is computed."""
        return Tiling(
            shape,
            padded_shape(shape),
            self.itemsize,
            host=not self.on_device and self.choice.fft != "torch",
            piece_bytes=self.choice.piece_bytes,
        )

    def library(self, shape: tuple[int, ...], tolerance: float, dtype: torch.dtype) -> Backend:
        """Return the library that computes NUFFTs of this shape and tolerance.

        That of a device need not be installed where the plan is made.
        """
        return choose_backend(
            shape,
            "cuda" if self.on_device else "cpu",
            self.backend,
            tolerance=tolerance,
            dtype=dtype,
            deterministic=self.deterministic,
            elsewhere=self.on_device,
        )
