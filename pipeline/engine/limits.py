"""What the machine has: the device a job computes on and the memory it may use."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.engine.leases import device_handle, driver, visible_devices
from pipeline.errors import DeviceError, PlanError

Megabytes = Literal["auto"] | int
"""A limit of memory as in the config [MB]; ``auto`` measures this machine."""
MEGABYTE = 10**6
MARGIN = 0.9
"""Part of the memory of a machine that jobs may use, where its limit is measured."""


class Limits(NamedTuple):
    """What one job may use [MB]; ``device_mb`` is 0 where it computes on a CPU."""

    device_mb: int
    host_mb: int


def host_memory_mb() -> int:
    """Return the memory of this machine, or of the control group this process is in [MB].

    All of it, also what others use at the moment: a plan is not to depend on that. Jobs that run
    side by side share it, which Snakemake sees to by what each asks for.
    """
    import psutil

    total = psutil.virtual_memory().total
    return int(min([total, *group_limits(Path("/proc/self"))]) // MEGABYTE)


def group_limits(process: Path) -> Iterator[int]:
    """Yield the limits of memory of a process's control groups and of those above them [byte].

    Of cgroups version 1 and 2 (man 7 cgroups; kernel documentation, cgroup-v2, Memory). In a
    container the path of the group can be one that the container does not see: then what it sees is
    its own.

    Parameters
    ----------
    process
        Folder of the process in ``/proc``.
    """
    try:
        groups = [line.split(":", 2) for line in (process / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    except OSError:  # not Linux
        return
    for root, place, kind, options in (
        (mount[3], mount[4], mount[mount.index("-") + 1], mount[-1]) for mount in mounts
    ):
        for _, controllers, group in groups:
            if kind == "cgroup2" and not controllers:
                file = "memory.max"
            elif kind == "cgroup" and "memory" in {*controllers.split(",")} & {*options.split(",")}:
                file = "memory.limit_in_bytes"
            else:
                continue
            seen = (
                Path(group).relative_to(root) if Path(group).is_relative_to(root) else Path(group)
            )
            for above in (seen, *seen.parents):
                with suppress(OSError, ValueError):  # absent, or "max"
                    yield int(Path(f"{place}/{above}/{file}").read_text())


def usable_cores() -> int:
    """Return the cores that this process may use, where the system says it, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_memory_mb(number: int) -> int | None:
    """Return the memory of torch's CUDA device ``number`` [MB]; None where there is no such device.

    Asks the driver, not torch.
    """
    visible = visible_devices()
    if number >= len(visible):
        return None
    device = visible[number]
    with driver() as nvml:
        if nvml is not None:
            memory = nvml.nvmlDeviceGetMemoryInfo(device_handle(nvml, device))
            return int(memory.total // MEGABYTE)
    return None


def planned_limits(device: str, device_mb: Megabytes, host_mb: Megabytes) -> Limits:
    """Return the limits to plan for, from `compute.device` and the settings of `memory`.

    Raises
    ------
    PlanError
        If a CUDA device is asked for, has to be measured and is not there.
    """
    host = int(MARGIN * host_memory_mb()) if host_mb == "auto" else host_mb
    if device == "cpu":
        return Limits(0, host)
    if device_mb != "auto" and device != "auto":
        return Limits(device_mb, host)
    number = int(device.partition(":")[2] or 0)
    measured = device_memory_mb(number)
    if device == "auto" and (measured is None or not _torch_has_cuda()):
        return Limits(0, host)
    if measured is None:
        raise PlanError(
            f"compute.device is {device}, which this machine does not have, and memory.device_mb "
            "is auto; to plan for another machine, say how many MB its device has"
        )
    return Limits(int(MARGIN * measured) if device_mb == "auto" else device_mb, host)


def _torch_has_cuda() -> bool:
    """Tell whether the torch that is installed was built for CUDA."""
    import torch

    return torch.version.cuda is not None


def torch_device(name: str) -> str:
    """Return the torch name of the device that ``name`` means on this machine.

    Raises
    ------
    DeviceError
        If a CUDA device is asked for that torch does not see.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if name == "cpu":
        return name
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise DeviceError(
            f"device {name} was asked for, but torch sees {count} CUDA devices; set compute.device "
            "to auto or cpu, or check the driver and CUDA_VISIBLE_DEVICES"
        )
    return f"cuda:{number}"
