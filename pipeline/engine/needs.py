"""What a job needs, and what happens where that does not fit. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.engine.limits import MARGIN, MEGABYTE, Limits
from pipeline.errors import PlanError

_SCHEDULER_MB = 200
"""What Snakemake itself takes inside an allocation [MB]."""

TILES_AT_ONCE = 2
"""Of a stream: the one in work, and the one on its way."""

CANARY_SAMPLES = 16384
"""What the checks before a job transform."""


@dataclass(frozen=True)
class Need:
    """Peak memory of a job by what it is for [byte]."""

    host: Mapping[str, int]
    """Parts of the peak of resident memory."""
    device: Mapping[str, int] = field(default_factory=dict)
    """Of that of the device; empty on a CPU."""

    @property
    def host_bytes(self) -> int:
        """Peak of resident memory [byte]."""
        return sum(self.host.values())

    @property
    def host_mb(self) -> int:
        """Peak of resident memory [MB], rounded up."""
        return math.ceil(self.host_bytes / MEGABYTE)

    @property
    def device_mb(self) -> int:
        """Peak of device memory [MB], rounded up."""
        return math.ceil(sum(self.device.values()) / MEGABYTE)

    def fits(self, limits: Limits) -> bool:
        """Tell whether a job that needs this much may run."""
        on_device = not limits.device_mb or self.device_mb <= limits.device_mb
        return on_device and self.host_mb <= limits.host_mb

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


def excesses(
    need: Need, limits: Limits, host: str = "memory.host_mb"
) -> Iterator[tuple[str, int, str]]:
    """Yield each limit that is too low: its setting, the MB that are needed, and the arithmetic.

    ``host`` is the setting that limits the host's memory.
    """
    for setting, allowed, parts in (
        ("memory.device_mb", limits.device_mb, need.device),
        (host, limits.host_mb, need.host),
    ):
        total = math.ceil(sum(parts.values()) / MEGABYTE)
        if total > allowed:
            sizes = sorted(parts.items(), key=lambda part: -part[1])
            sums = " + ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in sizes)
            yield setting, total, f"needs {total} MB, but {setting} is {allowed} MB ({sums} MB)"


def require_fit(
    need: Need,
    limits: Limits,
    *,
    who: str,
    advice: Sequence[str] = (),
    host: str = "memory.host_mb",
) -> None:
    """Raise `PlanError` if a job does not fit, with the arithmetic and what to change.

    Parameters
    ----------
    need, limits
        Of the job.
    who
        Dataset and stage; begins the message.
    advice
        Changes of settings that help, beside a higher limit.
    host
        The setting that limits the host's memory.
    """
    for setting, total, arithmetic in excesses(need, limits, host):
        changes = "; ".join([f"{setting}: {total}", *advice])
        raise PlanError(f"{who} {arithmetic}. Each of these would help: {changes}")
