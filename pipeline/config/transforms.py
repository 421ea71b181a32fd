"""Settings of non-uniform transforms."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings

Oversampling = Annotated[float, Field(ge=1.1, le=4)]
KernelWidth = Annotated[int, Field(ge=2, le=16)]
PieceBytes = Annotated[int, Field(ge=2**16)]
Tolerance = Annotated[float, Field(gt=0, le=0.1)]
OversamplingPerAxis = Annotated[tuple[Oversampling, ...], Field(min_length=2, max_length=3)]
KernelWidthPerAxis = Annotated[tuple[KernelWidth, ...], Field(min_length=2, max_length=3)]


class NufftSettings(Settings):
    """How non-uniform transforms are computed."""

    tolerance: Tolerance = 1e-3
    """Relative error allowed in each transform."""
    backend: Literal["auto", "ducc0", "finufft", "cufinufft", "triton", "torchkbnufft"] = "auto"
    """`auto` takes cufinufft or triton on CUDA, ducc0 or finufft on a CPU, else torchkbnufft:
    the first that is installed and reaches the tolerance."""
    oversampling: Oversampling | OversamplingPerAxis | None = None
    """For experts: oversampling of the grid, one number or one per axis; none derives it from
    the tolerance."""
    kernel_width: KernelWidth | KernelWidthPerAxis | None = None
    """For experts: neighbours per axis of the gridding kernel (torchkbnufft only)."""
    tuning: str | None = None
    """What `kronufft tune` wrote: what a plan then chooses transforms and predicts seconds by.
    None goes by rules and rates that were measured elsewhere."""


class ArithmeticSettings(Settings):
    """How a job computes."""

    nufft: NufftSettings
    precision: Literal["single", "double"]
    deterministic: bool


class TransformChoice(Settings):
    """What a plan chose, by measurement or as the settings insist; jobs find it in their row."""

    backend: Literal["auto", "ducc0", "finufft", "cufinufft", "triton", "torchkbnufft"] = "auto"
    """Library of the non-uniform transforms."""
    tolerance: Tolerance | None = None
    """What the library is asked for, so that the measured error is below the tolerance of the
    settings; none asks for that tolerance itself."""
    oversampling: Oversampling | OversamplingPerAxis | None = None
    """Oversampling of the grid; none derives it from the tolerance."""
    kernel_width: KernelWidth | KernelWidthPerAxis | None = None
    """Neighbours per axis of the gridding kernel (torchkbnufft only)."""
    fft: Literal["auto", "ducc0", "mkl", "scipy", "torch"] = "auto"
    """FFT library of the Toeplitz product."""
    piece_bytes: PieceBytes | None = None
    """Size of the pieces that a Toeplitz product is decomposed into [byte]."""
