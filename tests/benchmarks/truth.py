"""What each operation should have given, in double precision.

Forward and adjoint are compared with the defining sums, at random samples and random voxels; the
normal operator with finufft at 1e-11; the solution with the same number of iterations of conjugate
gradients on a Toeplitz operator in double precision.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Problem

OPERATIONS = ("forward", "adjoint", "normal", "cg-sense")
ITERATIONS = 10

_TOLERANCE = 1e-11
_POINTS = 24  # random samples or voxels of each frame
_SAMPLES_AT_ONCE = 1 << 18


def make_truth(problem: Problem, operation: str, folder: Path, threads: int) -> None:
    """Write what ``operation`` should give to ``folder``.

    Parameters
    ----------
    problem
        The inputs.
    operation
        One of `OPERATIONS`.
    folder
        Gets ``<operation>.npz``: ``values``, and ``points`` where only some are known.
    threads
        CPU threads.
    """
    content = {}
    if operation in ("forward", "adjoint"):
        size = problem.kspace.shape[-1] if operation == "forward" else int(np.prod(problem.shape))
        points = np.random.default_rng(1).choice(size, min(_POINTS, size), replace=False)
        content["points"] = points
        exact = exact_forward if operation == "forward" else exact_adjoint
        content["values"] = exact(problem, points)
    elif operation == "normal":
        content["values"] = _normal(problem, threads)
    else:
        content["values"] = _solution(problem, threads)
    np.savez(folder / f"{operation}.npz", **content)


def relative_error(found: NDArray[np.complexfloating], operation: str, folder: Path) -> float:
    """Return ``|found - true| / |true|`` over the values that `make_truth` knows.

    Parameters
    ----------
    found
        ``[frame, coil, sample]`` for forward, else ``[frame, *shape]``.
    operation
        One of `OPERATIONS`.
    folder
        Where `make_truth` wrote.
    """
    with np.load(folder / f"{operation}.npz", allow_pickle=False) as content:
        values = content["values"]
        points = content.get("points")
    if operation == "adjoint":
        found = found.reshape(len(found), -1)
    if points is not None:
        found = found[..., points]
    return float(np.linalg.norm(found - values) / np.linalg.norm(values))


def exact_forward(problem: Problem, samples: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return the sums over all voxels at ``samples``, ``[frame, coil, sample]``."""
    result = []
    for image, trajectory in zip(problem.image, problem.trajectory, strict=True):
        remaining = problem.maps * image.astype(np.complex128)
        points = trajectory[samples].astype(np.float64)
        phases = [
            np.exp(-1j * np.outer(points[:, axis], _positions(extent)))
            for axis, extent in enumerate(problem.shape)
        ]
        # Sum the last axis for all samples at once, then the others sample by sample.
        remaining = remaining @ phases[-1].T
        for phase in reversed(phases[:-1]):
            remaining = np.einsum("...ns,sn->...s", remaining, phase)
        result.append(remaining)
    return np.stack(result)


def exact_adjoint(problem: Problem, voxels: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Return the sums over all samples and coils at flat indices ``voxels``, ``[frame, voxel]``."""
    index = np.unravel_index(voxels, problem.shape)
    positions = np.stack(
        [_positions(extent)[one] for extent, one in zip(problem.shape, index, strict=True)]
    )
    maps = problem.maps[(slice(None), *index)].astype(np.complex128)
    result = np.zeros((len(problem.kspace), len(voxels)), np.complex128)
    for frame, trajectory in enumerate(problem.trajectory):
        for start in range(0, len(trajectory), _SAMPLES_AT_ONCE):
            part = slice(start, start + _SAMPLES_AT_ONCE)
            phase = np.exp(1j * (trajectory[part].astype(np.float64) @ positions))
            sums = problem.kspace[frame, :, part].astype(np.complex128) @ phase
            result[frame] += np.sum(maps.conj() * sums, axis=0)
    return result


def _positions(extent: int) -> NDArray[np.float64]:
    return np.arange(extent, dtype=np.float64) - extent // 2


def _normal(problem: Problem, threads: int) -> NDArray[np.complex128]:
    from benchmarks.implementations.finufft_plans import FinufftPlans

    exact = FinufftPlans(
        problem, tolerance=_TOLERANCE, threads=threads, dtype="complex128", coils_at_once=1
    )
    return exact.normal(problem.image.astype(np.complex128))


def _solution(problem: Problem, threads: int) -> NDArray[np.complex128]:
    from benchmarks.implementations.padded_fft import PaddedFFT

    exact = PaddedFFT(problem, tolerance=_TOLERANCE, threads=threads, dtype="complex128")
    solution, _ = exact.solve(exact.to_native(problem.kspace), ITERATIONS)
    return exact.to_numpy(solution)
