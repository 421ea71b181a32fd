"""Leases of GPUs: each device of this machine belongs to one job at a time.

A job locks a file for its device with `flock` before torch is loaded, and sees that device alone.
The system frees the lock when the process ends, however it ends. Where a scheduler has assigned
devices to a job, only the processes of that job share them out among themselves.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DeviceError

if TYPE_CHECKING:
    from filelock import FileLock

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_HELD = "KRONUFFT_LEASED_DEVICE"
"""Tells the processes that a job starts which device it holds, so that they share it."""
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def leased_device(device: str) -> Iterator[str]:
    """Hold one GPU for the length of the block, waiting for a free one.

    The process sees the leased device alone, through ``CUDA_VISIBLE_DEVICES``. Does nothing where
    there is no GPU or none is asked for. ``device`` is ``auto``, ``cpu``, ``cuda`` (any device) or
    ``cuda:N`` (the N-th visible one); it yields what to call it from here on, without the number.

    Raises
    ------
    DeviceError
        If ``cuda:N`` is asked for and fewer devices are visible, or locks cannot be made.
    """
    # The driver's numbers, by which devices are counted and measured, are then torch's as well.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    visible = [] if device == "cpu" else visible_devices()
    if not visible:
        yield device
        return
    kind, _, number = device.partition(":")
    if visible == [os.environ.get(_HELD)]:
        yield kind
        return
    if number and int(number) >= len(visible):
        raise DeviceError(
            f"device {device} was asked for, but {len(visible)} devices are visible "
            f"({', '.join(visible)}); set compute.device to cuda, or change {_VISIBLE}"
        )
    candidates = [visible[int(number)]] if number else visible
    leased, lock = _first_free(candidates)
    os.environ[_VISIBLE] = os.environ[_HELD] = leased
    _say(f"leased device {leased} of {', '.join(visible)}")
    try:
        yield kind
    finally:
        del os.environ[_HELD]
        lock.release()


def visible_devices() -> list[str]:
    """Return the devices of this process, as ``CUDA_VISIBLE_DEVICES`` names them."""
    listed = os.environ.get(_VISIBLE)
    if listed is None:
        return [str(index) for index in range(_device_count())]
    found = []
    for entry in listed.split(","):
        # CUDA ends the list at the first entry that is no device, such as -1 or NoDevFiles.
        if not re.fullmatch(r"\s*([0-9]+|(GPU|MIG)-[0-9A-Za-z/-]+)\s*", entry):
            break
        found.append(entry.strip())
    return found


@contextmanager
def driver() -> Iterator[Any]:
    """Yield NVML, the interface of the devices' driver; `None` where there is no driver.

    It costs milliseconds and no context on a device. What it refuses inside the block ends it.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        with suppress(pynvml.NVMLError):
            yield pynvml
    finally:
        pynvml.nvmlShutdown()


def device_handle(nvml: Any, device: str) -> Any:
    """Return what `driver` calls a device that `visible_devices` names."""
    if device.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(device))
    return nvml.nvmlDeviceGetHandleByUUID(device)


def _device_count() -> int:
    with driver() as nvml:
        if nvml is not None:
            return int(nvml.nvmlDeviceGetCount())
    return 0


def _lock_name(device: str) -> str:
    """Return one name for one device, whether it was listed by number or by identifier."""
    if device.startswith("GPU-"):
        with driver() as nvml:
            if nvml is not None:
                device = str(nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetHandleByUUID(device)))
    # Inside an allocation devices are counted from 0 in each job: a job has locks of its own.
    scope = os.environ.get("SLURM_JOB_ID", "machine")
    return f"{scope}-{re.sub('[^0-9A-Za-z-]', '_', device)}.lock"


def _locks(devices: list[str]) -> Mapping[str, "FileLock"]:
    from filelock import FileLock

    # Not XDG_RUNTIME_DIR: some sessions of a user have it and some have not, and all must meet.
    folder = Path(tempfile.gettempdir()) / f"kronufft-devices-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
    except OSError as error:
        raise DeviceError(
            f"no folder for the locks that keep jobs on devices of their own ({error}); "
            "remove it or set TMPDIR to a folder of this machine"
        ) from None
    return {device: FileLock(folder / _lock_name(device)) for device in devices}


def _first_free(devices: list[str]) -> tuple[str, "FileLock"]:
    """Return the first device that is or becomes free, and its lock, which is held."""
    from filelock import Timeout

    locks = _locks(devices)
    start = time.monotonic()
    next_line = start
    while True:
        for device, lock in locks.items():
            with suppress(Timeout):
                lock.acquire(timeout=0)
                return device, lock
        if (now := time.monotonic()) >= next_line:
            _say(f"waiting for a device, {now - start:.0f} s: other jobs have {', '.join(devices)}")
            next_line = now + _SECONDS_BETWEEN_LINES
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
