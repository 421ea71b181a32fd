"""Resident memory of this process: what it was at most, and that freed memory is returned."""

import ctypes
import os
import resource
import sys
from pathlib import Path

_M_MMAP_THRESHOLD = -3
_LARGE = 2**20


def return_freed_memory() -> None:
    """Make the C library hand large freed arrays back to the system at once.

    glibc keeps freed arrays of up to 32 MB for later, in pieces that need not fit what comes later:
    up to a third more resident memory than the arrays of a job was measured, and no way to predict
    it. Does nothing with other C libraries.

    Arrays are then faulted in anew each time, which took a fifth of the processor time of a 3D job
    in pages of 4 KB. PyTorch is told to ask for pages of 2 MB where an array is that large.
    """
    # Read by PyTorch at its first array of 2 MB.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _LARGE)
    except (OSError, AttributeError):  # not glibc
        return


def peak_host_bytes() -> int:
    """Return the largest resident memory of this process so far [byte].

    Linux says it itself; `getrusage` may begin there with the memory of the process that started
    this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
