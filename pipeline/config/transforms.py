"""Settings of non-uniform transforms."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import PerAxis, Settings


class NufftSettings(Settings):
    """How non-uniform transforms are computed."""

    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-3
    """Relative error allowed in each transform."""
    backend: Literal["auto", "ducc0", "finufft", "cufinufft", "torchkbnufft"] = "auto"
    """`auto` takes cufinufft on CUDA, ducc0 on a CPU, or the next one that is installed."""
    oversampling: Annotated[float, Field(ge=1.1, le=4)] | PerAxis | None = None
    """For experts: oversampling of the grid, one number or one per axis; none derives it from
    the tolerance."""
    kernel_width: Annotated[int, Field(ge=2, le=16)] | tuple[int, ...] | None = None
    """For experts: neighbours per axis of the gridding kernel (torchkbnufft only)."""
