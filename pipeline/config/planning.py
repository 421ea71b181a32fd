"""Settings of limits, and what `plan` sees."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.algorithms.registry import ParsedAlgorithm
from pipeline.config.base import Settings
from pipeline.config.transforms import ArithmeticSettings


class MemorySettings(Settings):
    """Hard limits of each job."""

    device_mb: Literal["auto"] | Annotated[int, Field(ge=16, le=10**9)] = "auto"
    """Device memory one job may use [MB]; `auto` takes what the device has, less a tenth. On a
    CPU the device's memory is the host's and only `host_mb` counts."""
    host_mb: Literal["auto"] | Annotated[int, Field(ge=16, le=10**9)] = "auto"
    """Resident memory one job may use [MB]; `auto` takes what the machine has, less a tenth."""
    block_images: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images that one job reconstructs at most; `auto` makes jobs of up to ten minutes."""
    shards: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Jobs that share the measurement of one block, each of which reduces its part to a share of
    the normal equations; `auto` cuts where one job would take longer than ten minutes."""


class PlanSettings(ArithmeticSettings):
    """Settings of `plan`."""

    reconstruction: ParsedAlgorithm
    memory: MemorySettings
