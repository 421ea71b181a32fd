"""Runs each measurement in a fresh process and collects one row for each."""

import json
import os
import signal
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

_PATIENCE = 5  # times the limit for what is known to be slow, and for going on until converged


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
            too_slow: set[str] = set()
            for operation in (each for each in operations if each in case.operations):
                say(f"{case.name} {operation}: computing the exact result")
                make_truth(problem, operation, Path(folder), effort.threads, effort.device)
                for name in names:
                    entry = ENTRIES[name]
                    if operation not in entry.operations or case.prior not in entry.priors:
                        continue
                    say(f"{case.name} {operation} {name}")
                    found = (
                        {"note": f"not begun: over {effort.limit:g} s"}
                        if operation in ("cg-sense", "converged") and name in too_slow
                        else _one(Path(folder), operation, name, effort)
                    )
                    if operation == "normal" and _exceeds(found, effort.limit / ITERATIONS):
                        too_slow.add(name)
                    yield {
                        "case": case.name,
                        **case.sizes,
                        "operation": operation,
                        "implementation": name,
                        "device": effort.device,
                        "threads": effort.threads,
                        **found,
                    }


def _exceeds(found: dict[str, Any], seconds: float) -> bool:
    return found.get("seconds", 0.0) > seconds or found.get("note", "").startswith("over")


def _one(folder: Path, operation: str, name: str, effort: Effort) -> dict[str, Any]:
    entry = ENTRIES[name]
    patient = entry.slow or operation == "converged"
    limit = effort.limit * (_PATIENCE if patient else 1)
    if missing := entry.missing(effort.device):
        return {"note": f"not installed: {', '.join(missing)}"}
    command = [sys.executable, "-m", "benchmarks.worker", str(folder), name, operation]
    command += [effort.device, str(effort.threads), str(effort.tolerance), str(effort.seconds)]
    environment = dict.fromkeys(_THREAD_VARIABLES, str(effort.threads))
    # Threads of one library that wait for work must not take the cores of another that works.
    environment["OMP_WAIT_POLICY"] = "passive"
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started can be stopped with it
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"note": f"over {limit:g} s"}
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines() or [f"exit status {process.returncode}"]
        return {"note": f"failed: {lines[-1]}"}
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found
