"""Settings of what is estimated from the measurement before it is reconstructed."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Settings
from pipeline.config.transforms import NufftSettings


class CalibrationSettings(Settings):
    """What is estimated from the measurement before it is reconstructed."""

    coil_maps: Literal["auto", "source", "walsh", "none"] = "auto"
    """`auto` takes the source's maps where it has them, Walsh's for several coils, else none."""
    calibration_width: Annotated[int, Field(ge=8, le=128)] = 24
    """Width of the k-space centre that Walsh's maps are estimated from [Cartesian samples]."""
    density: Literal[
        "auto", "source", "radial", "stack-of-stars", "bistatic", "pipe-menon", "none"
    ] = "auto"
    """MRI: `auto` takes the source's weights where it has them, analytic ones for straight spokes
    and stacks of stars, else Pipe-Menon's iteration. RF phase histories: `auto` takes analytic ones
    where transmitters and receivers circle a scene of two axes (`bistatic`), else none."""
    density_iterations: Annotated[int, Field(ge=1, le=200)] = 20
    """Iterations of Pipe-Menon."""


class CalibrateSettings(Settings):
    """Settings of `calibrate`."""

    calibration: CalibrationSettings
    nufft: NufftSettings
