"""Resident memory of the jobs that run on this machine."""

from collections.abc import Sequence
from contextlib import suppress

import psutil


def resident_by_log(logs: Sequence[str]) -> dict[str, float]:
    """Return what the job that writes each of the logs has resident, with its processes [MB].

    Jobs are found below this process, by the log in their shell's command; those of a cluster are
    not here.
    """
    found: dict[str, float] = {}
    for shell in psutil.Process().children():
        with suppress(psutil.Error):
            command = " ".join(shell.cmdline())
            for log in logs:
                if f"> {log} " in command:
                    processes = [shell, *shell.children(recursive=True)]
                    found[log] = sum(one.memory_info().rss for one in processes) / 1e6
    return found
