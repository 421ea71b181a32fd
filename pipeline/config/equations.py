"""Settings that decide the normal equations, whatever solves them, and what `accumulate` sees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from pipeline.config.base import Matrix, Settings
from pipeline.config.series import SeriesSettings
from pipeline.config.sources import Kind
from pipeline.config.transforms import ArithmeticSettings
from pipeline.errors import ConfigError

Fusion = Literal["coherent", "phase-aligned", "non-coherent"]
Model = Literal["auto", "exact", "omega-k", "W", "W+D(fc)", "W+D", "F", "UPA", "N", "stored"]

FramesPerImage = Literal["all", "bins"] | Annotated[int, Field(ge=1)]

KIND_OF: Mapping[str, Kind] = {
    "shape": "mri",
    "frames_per_image": "mri",
    "series": "mri",
    "start": "mri",
    "fusion": "rf",
    "model": "rf",
    "force_model": "rf",
    "model_error": "rf",
}
"""The kind of data that a setting is for; both where it is not listed."""


@dataclass(frozen=True)
class Known:
    """What is known of data once they are calibrated, as far as defaults go by it."""

    kind: Kind = "mri"
    density: bool = True
    """Whether there are density weights."""
    noise: bool = True
    """Whether signal and noise can be told apart: MRI at each spatial frequency, RF in all."""
    axes: int = 2
    """Along which an image has more than one voxel."""

    def told(self) -> str:
        """Return it as a phrase for a person."""
        noise = "known" if self.noise else "not known"
        density = "density weights" if self.density else "no density weights"
        return f"signal and noise are {noise}, there are {density}, images are {self.axes}D"


class EquationSettings(Settings):
    """What decides the normal equations, whatever solves them.

    Each algorithm's settings are a subclass. One that has no use for a setting fixes it as a class
    attribute: it then is no key of the config, and can be read all the same.
    """

    shape: Matrix | None = None
    """MRI: image matrix over the same field of view; none takes the dataset's. A smaller one leaves
    out the k-space beyond it."""
    frames_per_image: FramesPerImage = 1
    """MRI: measured frames joined into one image; `all` joins every frame, `bins` makes an image of
    each bin of `calibration.binning`."""
    series: SeriesSettings | None = None
    """MRI: solve for all images as one problem, or for few images that they are sums of."""
    weights: Literal["auto", "density", "none"] = "auto"
    """Weigh samples by density compensation or not: fewer iterations, or least noise where nothing
    regularises. RF phase histories that have density weights: a sharper image, of the matched
    filter too. `auto` weighs where there are density weights."""
    normal: Literal["auto", "toeplitz", "explicit", "factors", "none"] = "auto"
    """Form of the normal operator; `none` where nothing is solved."""
    fusion: Fusion = "coherent"
    """RF pairs: `coherent` (one image for all pairs), `phase-aligned` (the same, with a phase for
    each pair found in turns with the image) or `non-coherent` (an image a pair, root of the sum of
    squares)."""
    model: Model = "auto"
    """RF: how wavefronts are approximated. `exact`: not at all, by back-projection. `omega-k`: by
    range migration of planar scans. `W`: plane waves. `W+D(fc)`, `W+D`: after a voxel phase for
    each pair or sub-aperture, at the centre frequency or at each. `F`: Fresnel. `UPA`: direction
    cosines. `N`: narrowband. `stored`: by the factors or wave vectors that came with the data.
    `auto` takes the cheapest that errs by no more than `model_error`, and `stored` where
    antenna positions are not known. Phase histories have `exact`, `omega-k` and `W+D(fc)`; `auto`
    is the fastest that errs by no more than `model_error`."""
    force_model: bool = False
    """RF pairs: go on although the model is wrong by more than -10 dB, or `model_error`."""
    model_error: Annotated[float, Field(gt=0, le=1)] = 0.1
    """RF: relative error of the model that is allowed. Pairs: arrays are split until `W`,
    `W+D(fc)` or `W+D` meets it, each part with wavefronts of its own; a larger one is warned of.
    Phase histories: for `W+D(fc)` the aperture is cut into sub-apertures until it is met; `omega-k`
    is refused where it is not."""

    @property
    def joins_images(self) -> bool:
        """Whether all images of a dataset are one problem."""
        return self.series is not None

    @property
    def subspace(self) -> bool:
        """Whether images are sums of fewer unknowns, which are measured together."""
        return self.series is not None and self.series.subspace

    @property
    def keeps_coefficients(self) -> bool:
        """Whether the unknowns of a subspace are written in place of images."""
        return self.series is not None and self.series.images == "coefficients"

    @property
    def solves(self) -> bool:
        """Whether equations are solved, for which the normal operator is needed."""
        return self.normal != "none"

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means for data of which this is known.

        Plan and job both ask, and find the same.
        """
        if self.weights != "auto":
            return self
        return self.model_copy(update={"weights": "density" if known.density else "none"})

    def of_equations(self) -> "EquationSettings":
        """Return the settings less what only concerns the solver: equal where equations are.

        Another number of iterations, or another algorithm, need not accumulate again.
        """
        return EquationSettings(
            **{key: getattr(self, key) for key in EquationSettings.model_fields}
        )


AnyEquations = TypeVar("AnyEquations", bound=EquationSettings)


def decided(settings: AnyEquations, known: Known) -> tuple[AnyEquations, dict[str, Any]]:
    """Return settings without ``auto``, and by name what was chosen and why, for a receipt."""
    found = settings.decided(known)
    chosen = {
        key: getattr(found, key)
        for key in type(found).model_fields
        if getattr(settings, key) == "auto" != getattr(found, key)
    }
    return found, {**chosen, "because": known.told()} if chosen else {}


class MriSettings(EquationSettings):
    """Of algorithms for MRI alone: without the settings of RF."""

    fusion: ClassVar[Fusion] = "coherent"  # type: ignore[misc]
    model: ClassVar[Model] = "auto"  # type: ignore[misc]
    force_model: ClassVar[bool] = False  # type: ignore[misc]
    model_error: ClassVar[float] = 0.1  # type: ignore[misc]


class RfSettings(EquationSettings):
    """Of algorithms for RF alone: without the settings of MRI."""

    shape: ClassVar[None] = None  # type: ignore[misc]
    frames_per_image: ClassVar[int] = 1  # type: ignore[misc]
    series: ClassVar[None] = None  # type: ignore[misc]


class AccumulateSettings(ArithmeticSettings):
    """Settings of `accumulate`, and of every job on a part of a measurement."""

    reconstruction: EquationSettings


def image_shape(
    dataset_shape: Sequence[int], settings: EquationSettings, who: str = "reconstruction"
) -> tuple[int, ...]:
    """Return the matrix of a reconstruction: its own, or the dataset's.

    Raises
    ------
    ConfigError
        If the two have different numbers of axes.
    """
    shape = tuple(settings.shape or dataset_shape)
    if len(shape) != len(dataset_shape):
        raise ConfigError(
            f"{who}: `shape` {shape} has {len(shape)} axes, the dataset's "
            f"{tuple(dataset_shape)} has {len(dataset_shape)}; give one size per image axis"
        )
    return shape


def image_count(frames: int, frames_per_image: int | str, bins: int = 0) -> int:
    """Return the number of images that ``frames`` measured frames are joined into.

    Raises
    ------
    ConfigError
        If they are sorted into bins, and there are none.
    """
    if frames_per_image == "bins":
        if not bins:
            raise ConfigError(
                "`frames_per_image: bins` needs bins that `calibrate` has found; set "
                "calibration.binning"
            )
        return bins
    joined = frames if isinstance(frames_per_image, str) else frames_per_image
    return math.ceil(frames / joined)
