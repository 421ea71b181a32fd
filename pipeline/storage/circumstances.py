"""Under what circumstances a job ran: machine, versions, code, and the command that started it."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.fingerprint import running_code_fingerprint
from pipeline.storage.sealed import run_command

_PACKAGE = Path(__file__).parents[1]
_PROJECT = "kronufft"


def circumstances() -> dict[str, Any]:
    """Return, as JSON values, what is needed to run a job again in the same way.

    ``versions`` are those of every installed package, ``code`` is the fingerprint of the modules
    that were loaded, ``git`` the commit of the package's own repository, with ``-dirty`` where
    files were changed since, or None. ``run`` is the command of the run that the job is part of,
    where `kronufft run` started it.
    """
    return {
        "versions": installed_versions(),
        "code": running_code_fingerprint(),
        "git": git_state(),
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "host": platform.node(),
            "python": platform.python_version(),
        },
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "run": run_command(),
    }


@cache
def installed_versions() -> dict[str, str]:
    """Return the version of every installed package, by its name.

    From the names of the folders that installing leaves, which takes a hundredth of the time of
    reading what is in them.
    """
    found = {_PROJECT: version(_PROJECT)}
    for folder in sys.path:
        for metadata in Path(folder).glob("*.dist-info"):
            name, _, number = metadata.stem.partition("-")
            found.setdefault(name.replace("_", "-").lower(), number)
    return dict(sorted(found.items()))


@cache
def git_state() -> str | None:
    """Return the commit of the repository that this package lies in; None where there is none."""
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*describe, "--exclude=*"], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
