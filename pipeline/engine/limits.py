"""What the machine has: the device a job computes on and the memory it may use."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.engine.leases import driver, visible_devices
from pipeline.errors import DeviceError, PlanError

Megabytes = Literal["auto"] | int
"""A limit of memory as in the config [MB]; ``auto`` measures this machine."""
MEGABYTE = 10**6
MARGIN = 0.9
"""Part of the memory of a machine that jobs may use, where its limit is measured."""

# The version of control groups decides where a container's or a job's limit stands.
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class Limits(NamedTuple):
    """What one job may use [MB]; ``device_mb`` is 0 where it computes on a CPU."""

    device_mb: int
    host_mb: int


def host_memory_mb() -> int:
    """Return the memory of this machine, or of the control group this process is in [MB]."""
    import psutil

    total = psutil.virtual_memory().total
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return int(total // MEGABYTE)


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
            if device.isdigit():
                handle = nvml.nvmlDeviceGetHandleByIndex(int(device))
            else:
                handle = nvml.nvmlDeviceGetHandleByUUID(device)
            return int(nvml.nvmlDeviceGetMemoryInfo(handle).total // MEGABYTE)
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
