"""One measurement in a process of its own, so that its peak memory is its own.

`python -m benchmarks.worker FOLDER IMPLEMENTATION OPERATION DEVICE THREADS TOLERANCE SECONDS` reads
the problem from FOLDER and prints a `Measurement` as JSON on its last line.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from device_memory import DeviceMemory

from benchmarks.cases import CASES, Problem, make_problem, quick
from benchmarks.implementations import ENTRIES
from benchmarks.implementations.base import Implementation
from benchmarks.truth import CONVERGED, DAMPING, ITERATIONS, relative_error

_REPEATS, _FEW = 7, 3


@dataclass(frozen=True)
class Measurement:
    """What one operation of one implementation cost.

    Attributes
    ----------
    seconds
        Best of the repeats, after a miniature of the same. For ``cg-sense`` everything from
        k-space, trajectory and maps to the image; for the others one application, everything
        prepared.
    setup_seconds
        What depends on the trajectory: plans and kernels, for ``cg-sense`` also the right-hand
        side. Part of ``seconds`` there, in addition to them elsewhere.
    peak_mb
        Largest resident memory of the whole process [MB]: interpreter, libraries, inputs, work.
        On CUDA, the largest increase of used device memory.
    baseline_mb
        Resident memory once the libraries are imported and the inputs are read [MB].
    relative_error
        See `benchmarks.truth`.
    repeats
        Runs that ``seconds`` is the best of.
    iterations
        Of ``converged``: the fewest that came near enough to the minimiser.
    """

    seconds: float
    setup_seconds: float
    peak_mb: float
    baseline_mb: float
    relative_error: float
    repeats: int
    iterations: int | None = None


def main(arguments: list[str]) -> None:
    """Measure what the arguments say."""
    folder, name, operation, device, threads, tolerance, seconds = arguments
    settings: dict[str, Any] = {
        "tolerance": float(tolerance),
        "threads": int(threads),
        "device": device,
    }
    if "torch" in ENTRIES[name].needs:
        import torch

        torch.set_num_threads(int(threads))
    if device == "cuda":
        import torch

        torch.cuda.mem_get_info()  # so that the context on the device is not counted
    with DeviceMemory() as device_memory:
        kind = ENTRIES[name].load()
        data = "image" if operation in ("forward", "normal") else "kspace"
        converging = operation == "converged"
        problem = Problem.load(Path(folder), data, file="scan" if converging else None)
        measure: Callable[..., tuple[Any, dict[str, Any]]] = {
            "cg-sense": _measure_solution,
            "converged": partial(measure_convergence, Path(folder)),
        }.get(operation, _measure_operation)
        _rehearse(kind, operation, len(problem.shape), settings)
        implementation = kind(problem, **settings)
        native = implementation.to_native(getattr(problem, data))
        baseline = _resident_bytes("VmRSS")
        result, timing = measure(implementation, operation, native, float(seconds))
    peak = (
        device_memory.peak_bytes
        if device == "cuda"
        else max(_resident_bytes("VmHWM"), implementation.peak_bytes_elsewhere())
    )
    measurement = Measurement(
        peak_mb=peak / 1e6,
        baseline_mb=baseline / 1e6,
        relative_error=relative_error(implementation.to_numpy(result), operation, Path(folder)),
        **timing,
    )
    print(json.dumps(asdict(measurement)))  # noqa: T201


def _rehearse(
    kind: type[Implementation], operation: str, axes: int, settings: dict[str, Any]
) -> None:
    """Do the same on a miniature: compiles, starts threads, imports what is imported late."""
    case = next(case for case in CASES if len(case.shape) == axes)
    problem = make_problem(quick(case))
    implementation = kind(problem, **settings)
    if operation in ("cg-sense", "converged"):
        implementation.solve(implementation.to_native(problem.kspace), 1)
        return
    data = problem.image if operation in ("forward", "normal") else problem.kspace
    implementation.prepare(operation)
    getattr(implementation, operation)(implementation.to_native(data))


def _measure_operation(
    implementation: Implementation, operation: str, native: Any, budget: float
) -> tuple[Any, dict[str, Any]]:
    start = time.perf_counter()
    implementation.prepare(operation)
    implementation.synchronize()
    setup = time.perf_counter() - start
    apply = getattr(implementation, operation)
    result, times = _repeated(implementation, lambda: apply(native), budget)
    return result, {"seconds": min(times), "setup_seconds": setup, "repeats": len(times)}


def _measure_solution(
    implementation: Implementation, operation: str, native: Any, budget: float
) -> tuple[Any, dict[str, Any]]:
    setups: list[float] = []

    def solve() -> Any:
        image, setup = implementation.solve(native, ITERATIONS)
        setups.append(setup)
        return image

    result, times = _repeated(implementation, solve, budget)
    seconds, setup = min(zip(times, setups, strict=True))
    return result, {"seconds": seconds, "setup_seconds": setup, "repeats": len(times)}


def measure_convergence(
    folder: Path, implementation: Implementation, operation: str, native: Any, budget: float
) -> tuple[Any, dict[str, Any]]:
    """Find the fewest iterations that come near enough to the minimiser, and time so many."""
    with np.load(folder / f"{operation}.npz", allow_pickle=False) as content:
        plain, implementation.weight = int(content["iterations"]), float(content["weight"])
    damping = DAMPING * implementation.trajectory.shape[1]
    gradual = implementation.prior != "tv"  # for which methods differ by much
    iterations, most = plain, 3 * plain if gradual else 3000
    if implementation.preconditioned and gradual:
        iterations = max(1, plain // 8)
    setups: list[float] = []

    def solve() -> Any:
        image, setup = implementation.solve(native, iterations, damping)
        setups.append(setup)
        return image

    while True:
        result, times = _repeated(implementation, solve, budget)
        error = relative_error(implementation.to_numpy(result), operation, folder)
        if error <= CONVERGED:
            break
        iterations += max(1, iterations // (20 if gradual else 3))
        setups.clear()
        if iterations > most:
            raise RuntimeError(f"after {most} iterations {error:.1e} from the minimiser")
    seconds, setup = min(zip(times, setups, strict=True))
    return result, {
        "seconds": seconds,
        "setup_seconds": setup,
        "repeats": len(times),
        "iterations": iterations,
    }


def _repeated(
    implementation: Implementation, call: Callable[[], Any], budget: float
) -> tuple[Any, list[float]]:
    """Call until the time is spent: at least once, and a few times unless that takes long."""
    times: list[float] = []
    while not times or (
        len(times) < _REPEATS
        and sum(times) + times[-1] < (budget if len(times) >= _FEW else _FEW * budget)
    ):
        result = None  # so that the memory of two results is never held
        start = time.perf_counter()
        result = call()
        implementation.synchronize()
        times.append(time.perf_counter() - start)
    return result, times


def _resident_bytes(field: str) -> int:
    """Return ``VmRSS`` or ``VmHWM`` of this process.

    `getrusage` does not serve: its maximum includes what the parent held when it forked.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
