"""Settings of reconstructions, and what `reconstruct` sees."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Matrix, Settings
from pipeline.config.sources import Kind
from pipeline.config.transforms import NufftSettings
from pipeline.errors import ConfigError

Algorithm = Literal["gridding", "cg-sense", "matched-filter", "tikhonov", "fista"]


ALGORITHMS: Mapping[Kind, tuple[Algorithm, ...]] = {
    "mri": ("gridding", "cg-sense"),
    "rf": ("matched-filter", "tikhonov", "fista"),
}
"""Algorithms for each kind of data."""


class ReconstructionSettings(Settings):
    """A named way to reconstruct."""

    algorithm: Algorithm
    """MRI: `gridding` (density-compensated adjoint) or `cg-sense` (regularised least squares). RF:
    `matched-filter` (back-projection), `tikhonov` (regularised least squares) or `fista` (sparse:
    L1)."""
    shape: Matrix | None = None
    """Image matrix over the same field of view; none takes the dataset's. A smaller one leaves
    out the k-space beyond it."""
    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)] = 1
    """Measured frames joined into one image; `all` joins every frame."""
    weights: Literal["density", "none"] = "density"
    """cg-sense: weigh residuals by density compensation (faster convergence) or not (least
    noise)."""
    regularization: Annotated[float, Field(ge=0)] = 0.0
    """cg-sense and tikhonov: Tikhonov weight, relative to the sum of the sample weights, which is
    the diagonal of the normal operator for unit sensitivities."""
    iterations: Annotated[int, Field(ge=1, le=10000)] = 12
    """cg-sense, tikhonov and fista: iterations at most."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """cg-sense: stop once the residual of the normal equations, relative to their right-hand
    side, is below; 0 always runs all iterations."""
    normal: Literal["auto", "toeplitz", "explicit"] = "auto"
    """cg-sense: form of the normal operator."""
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """fista: L1 weight, relative to the brightest voxel of the matched filter."""
    debias: bool = False
    """fista: least squares on the voxels that the L1 norm has kept, which it has also dimmed."""
    model: Literal["auto", "W", "W+D(fc)"] = "auto"
    """RF pairs: plane waves, or plane waves with a voxel phase for each pair; `auto` takes the
    cheapest that is right to -20 dB."""
    force_model: bool = False
    """RF pairs: go on although the model is wrong by more than -10 dB."""
    curvature_error: Annotated[float, Field(gt=0, le=1)] = 0.1
    """RF phase histories: relative model error that curved wavefronts may leave; the aperture is
    cut into sub-apertures until it is met."""


class ReconstructSettings(Settings):
    """Settings of `reconstruct`."""

    reconstruction: ReconstructionSettings
    nufft: NufftSettings
    precision: Literal["single", "double"]
    deterministic: bool


def image_shape(dataset_shape: Sequence[int], settings: ReconstructionSettings) -> tuple[int, ...]:
    """Return the matrix of a reconstruction: its own, or the dataset's.

    Raises
    ------
    ConfigError
        If the two have different numbers of axes.
    """
    shape = tuple(settings.shape or dataset_shape)
    if len(shape) != len(dataset_shape):
        raise ConfigError(
            f"reconstruction shape {shape} has {len(shape)} axes, the dataset's "
            f"{tuple(dataset_shape)} has {len(dataset_shape)}; give one size per image axis"
        )
    return shape


def image_count(frames: int, frames_per_image: int | str) -> int:
    """Return the number of images that ``frames`` measured frames are joined into."""
    joined = frames if isinstance(frames_per_image, str) else frames_per_image
    return math.ceil(frames / joined)
