"""What a job needs, and what happens where that does not fit. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.engine.limits import MARGIN, MEGABYTE
from pipeline.errors import PlanError

_SCHEDULER_MB = 200
"""What Snakemake itself takes inside an allocation [MB]."""

CHUNKS_AT_ONCE = 10
"""Chunks that Zarr reads or writes at a time, unless it is configured otherwise."""


@dataclass(frozen=True)
class Need:
    """Peak memory of a job by what it is for [byte].

    Attributes
    ----------
    host, device
        Parts of the peak of resident memory, and of the device's; the latter empty on a CPU.
    """

    host: Mapping[str, int]
    device: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_bytes(self) -> int:
        """Peak of resident memory [byte]."""
        return sum(self.host.values())

    @property
    def device_bytes(self) -> int:
        """Peak of device memory [byte]; 0 on a CPU."""
        return sum(self.device.values())

    @property
    def host_mb(self) -> int:
        """Peak of resident memory [MB], rounded up."""
        return math.ceil(self.host_bytes / MEGABYTE)

    @property
    def device_mb(self) -> int:
        """Peak of device memory [MB], rounded up."""
        return math.ceil(self.device_bytes / MEGABYTE)

    def dominant(self) -> str:
        """Name the largest part: the device's where there is one."""
        parts = self.device or self.host
        return max(parts, key=lambda name: parts[name])


def requested_mb(host_mb: int) -> int:
    """Return the memory to ask a scheduler for, of a job whose peak is ``host_mb`` [MB].

    A job that measures its limit in what it was given takes a tenth less, and must still fit.
    """
    return max(host_mb + _SCHEDULER_MB, math.ceil(host_mb / MARGIN))


def largest(phases: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return the parts of the phase that needs most, without those that are nothing."""
    most = max(phases, key=lambda parts: sum(parts.values()))
    return {name: size for name, size in most.items() if size}


def require_fit(
    need: Need, *, host_mb: int, device_mb: int = 0, who: str, advice: Sequence[str] = ()
) -> None:
    """Raise `PlanError` if a job does not fit the limits.

    Parameters
    ----------
    need
        Of the job.
    host_mb, device_mb
        Limits [MB]; the device's is 0 on a CPU.
    who
        Dataset and stage; begins the message.
    advice
        Changes of settings that help, beside a higher limit.

    Raises
    ------
    PlanError
        With the arithmetic and what to change.
    """
    for setting, allowed, parts in (
        ("memory.host_mb", host_mb, need.host),
        ("memory.device_mb", device_mb, need.device),
    ):
        total = math.ceil(sum(parts.values()) / MEGABYTE)
        if total <= allowed:
            continue
        sizes = sorted(parts.items(), key=lambda part: -part[1])
        sums = " + ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in sizes)
        changes = "; ".join([f"{setting}: {total}", *advice])
        raise PlanError(
            f"{who} needs {total} MB, but {setting} is {allowed} MB ({sums} MB). Each of these "
            f"would help: {changes}"
        )
