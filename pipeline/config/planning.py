"""Settings of limits, and what `plan` sees."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.algorithms.registry import ParsedAlgorithm
from pipeline.config.base import Settings
from pipeline.config.transforms import ArithmeticSettings

_INGEST_MB = 600


class MemorySettings(Settings):
    """Hard limits of each job."""

    device_mb: Literal["auto"] | Annotated[int, Field(ge=16, le=10**9)] = "auto"
    """Device memory one job may use [MB]; `auto` takes what the device has, less a tenth. On a
    CPU the device's memory is the host's and only `host_mb` counts."""
    host_mb: Literal["auto"] | Annotated[int, Field(ge=16, le=10**9)] = "auto"
    """Resident memory one job may use [MB]; `auto` takes what the machine has, less a tenth."""
    ingest_mb: Literal["auto"] | Annotated[int, Field(ge=16, le=10**9)] = "auto"
    """Resident memory that the ingest of one dataset may use, and asks a scheduler for, before its
    source is opened [MB]; `auto` is 600, or `host_mb` where that is less."""
    block_images: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images that one job reconstructs at most; `auto` makes jobs of up to ten minutes."""
    shards: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Jobs that share the measurement of one block, each of which reduces its part to a share of
    the normal equations; `auto` cuts where one job would take longer than ten minutes."""

    @property
    def of_ingest(self) -> int:
        """`ingest_mb`, with what `auto` means."""
        if self.ingest_mb != "auto":
            return self.ingest_mb
        return _INGEST_MB if self.host_mb == "auto" else min(_INGEST_MB, self.host_mb)


class PlanSettings(ArithmeticSettings):
    """Settings of `plan`."""

    reconstruction: ParsedAlgorithm
    memory: MemorySettings
