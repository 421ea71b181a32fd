"""BART as a referee: version 1.0 inside this process by bartorch, or the program `bart`."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

THREADS = 2
_BARTORCH = importlib.util.find_spec("bartorch") is not None
BEFORE_1 = not _BARTORCH
"""Whether it is an older version, such as those of Linux distributions."""
AVAILABLE = _BARTORCH or shutil.which("bart") is not None


def bart(folder: Path, *arguments: str | float) -> None:
    """Run a command on files of a folder."""
    words = [str(argument) for argument in arguments]
    if _BARTORCH:
        # BART's own commands: the front end in Python takes other shapes than theirs for some.
        from bartorch._dispatch import run_command

        with contextlib.chdir(folder):
            code, _, failure = run_command(words)
        assert code == 0, f"bart {arguments}: {failure}"
        return
    done = subprocess.run(
        ["bart", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"bart {arguments}: {done.stdout}{done.stderr}"


def read_cfl(base: Path) -> np.ndarray:
    """Return a BART array without axes of length one, its fastest dimension last."""
    sizes = base.with_suffix(".hdr").read_text().splitlines()[1].split()
    values = np.fromfile(base.with_suffix(".cfl"), np.complex64)
    return values.reshape([int(size) for size in reversed(sizes)]).squeeze()


def write_cfl(base: Path, values: np.ndarray) -> None:
    """Write an array whose last axis is BART's dimension 0."""
    sizes = " ".join(map(str, reversed(values.shape)))
    base.with_suffix(".hdr").write_text(f"# Dimensions\n{sizes}\n")
    values.astype(np.complex64).tofile(base.with_suffix(".cfl"))
