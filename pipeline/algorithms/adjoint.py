"""The adjoint alone: gridding in MRI, the matched filter (back-projection) in RF."""

from typing import ClassVar, Literal

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.config.equations import MriSettings, RfSettings


class GriddingSettings(MriSettings, AlgorithmSettings):
    """The density-compensated adjoint."""

    kinds = ("mri",)

    algorithm: Literal["gridding"]
    normal: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]
    weights: ClassVar[Literal["density"]] = "density"  # type: ignore[misc]
    series: ClassVar[None] = None  # type: ignore[misc]


class MatchedFilterSettings(RfSettings, AlgorithmSettings):
    """Back-projection."""

    kinds = ("rf",)

    algorithm: Literal["matched-filter"]
    normal: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]
