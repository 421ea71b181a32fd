"""Runs each measurement in a fresh process and collects one row for each."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, make_problem
from benchmarks.implementations import ENTRIES
from benchmarks.truth import ITERATIONS, make_truth

# Every package that the implementations start threads with.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "DUCC0_NUM_THREADS",
)

_PATIENCE = 5  # times the limit for what is known to be slow and was asked for


@dataclass(frozen=True)
class Effort:
    """How, and for how long, everything is measured.

    Attributes
    ----------
    device
        ``"cpu"`` or ``"cuda"``.
    threads
        CPU threads, the same for everybody.
    tolerance
        Relative error asked of each transform.
    seconds
        Time to spend on the repeats of one measurement.
    limit
        Time after which one measurement is given up [s].
    """

    device: str
    threads: int
    tolerance: float
    seconds: float
    limit: float


def measure(
    cases: Sequence[Case],
    operations: Sequence[str],
    names: Sequence[str],
    effort: Effort,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Yield a row for each case, operation and implementation.

    A row without ``seconds`` says in ``note`` why there are none.
    """
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            say(f"{case}: making the inputs")
            problem = make_problem(case)
            problem.save(Path(folder))
            seconds: dict[str, float] = {}  # of the normal operators
            for operation in operations:
                say(f"{case.name} {operation}: computing the exact result")
                make_truth(problem, operation, Path(folder), effort.threads)
                for name in names:
                    if operation not in ENTRIES[name].operations:
                        continue
                    say(f"{case.name} {operation} {name}")
                    least = ITERATIONS * seconds.get(name, 0.0) if operation == "cg-sense" else 0.0
                    if least > effort.limit:
                        found = {"note": f"not begun: {ITERATIONS} iterations take {least:.0f} s"}
                    else:
                        found = _one(Path(folder), operation, name, effort)
                    if operation == "normal":
                        seconds[name] = found.get("seconds", 0.0)
                    yield {
                        "case": case.name,
                        "operation": operation,
                        "implementation": name,
                        "device": effort.device,
                        "threads": effort.threads,
                        **found,
                    }


def _one(folder: Path, operation: str, name: str, effort: Effort) -> dict[str, Any]:
    entry = ENTRIES[name]
    limit = effort.limit * (_PATIENCE if entry.slow else 1)
    if missing := entry.missing():
        return {"note": f"not installed: {', '.join(missing)}"}
    command = [sys.executable, "-m", "benchmarks.worker", str(folder), name, operation]
    command += [effort.device, str(effort.threads), str(effort.tolerance), str(effort.seconds)]
    environment = dict.fromkeys(_THREAD_VARIABLES, str(effort.threads))
    # Threads of one library that wait for work must not take the cores of another that works.
    environment["OMP_WAIT_POLICY"] = "passive"
    here = str(Path(__file__).resolve().parents[1])
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment, "PYTHONPATH": here},
            capture_output=True,
            text=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return {"note": f"given up after {limit:g} s"}
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        return {"note": f"failed: {lines[-1]}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
