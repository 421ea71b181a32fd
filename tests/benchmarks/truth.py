"""What each operation should have given, in double precision.

Forward and adjoint are compared with the defining sums, at random samples and random voxels; the
normal operator with finufft at 1e-11; the solution with the same number of iterations of conjugate
gradients on a Toeplitz operator in double precision. What is to be converged to is the minimiser of
``|E x - y|^2 + damping |x|^2`` for an object of ellipsoids with noise, in double precision.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Problem

OPERATIONS = ("forward", "adjoint", "normal", "cg-sense", "converged")
ITERATIONS = 10
CONVERGED = 0.01
"""Relative distance from the minimiser at which a solution counts as converged."""
TV_WEIGHT = 0.002
"""Of total variation along the frames, relative to the brightest voxel of the adjoint."""
DAMPING = 0.05
"""Of the objective, relative to the number of samples, the diagonal of ``E^H E``."""

_TOLERANCE = 1e-11
_POINTS = 24  # random samples or voxels of each frame
_SAMPLES_AT_ONCE = 1 << 18


def make_truth(
    problem: Problem, operation: str, folder: Path, threads: int, device: str = "cpu"
) -> None:
    """Write what ``operation`` should give to ``folder``.

    Parameters
    ----------
    problem
        The inputs.
    operation
        One of `OPERATIONS`.
    folder
        Gets ``<operation>.npz``: ``values``, and ``points`` where only some are known; for
        ``converged`` also the ``weight`` of total variation, ``iterations``, with which a search
        begins, and ``scan.npy``.
    threads
        CPU threads.
    device
        Where ten iterations are computed in double precision; all else is on the CPU.
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
    elif operation == "cg-sense":
        content["values"] = _solution(problem, threads, device)
    else:
        problem = replace(problem, kspace=scan(problem, threads))
        np.save(folder / "scan.npy", problem.kspace)
        content["values"], content["weight"] = _minimiser(problem, threads)
        content["iterations"] = _iterations(problem, content["values"], threads)
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


def _solution(problem: Problem, threads: int, device: str) -> NDArray[np.complex128]:
    from benchmarks.implementations.padded_fft import PaddedFFT

    how = {"threads": threads, "device": device, "dtype": "complex128"}
    exact = PaddedFFT(problem, tolerance=_TOLERANCE, **how)
    solution, _ = exact.solve(exact.to_native(problem.kspace), ITERATIONS)
    return exact.to_numpy(solution)


def scan(problem: Problem, threads: int) -> NDArray[np.complex64]:
    """Return noisy k-space of an object of ellipsoids, another one in each frame.

    Of images that belong together: the object of each coefficient, or some of which each lights up
    in half of the frames.
    """
    from benchmarks.implementations.finufft_plans import FinufftPlans

    generator = np.random.default_rng(2)
    axes = np.meshgrid(*(np.linspace(-1, 1, extent) for extent in problem.shape), indexing="ij")
    grid = np.stack(axes)
    frames = len(problem.trajectory)
    objects = {"l2": frames, "basis": problem.basis.shape[-1], "tv": 3}[problem.prior]
    image = np.zeros((objects, *problem.shape), np.complex128)
    for frame in range(len(image)):
        image[frame] = np.sum((grid / 0.8) ** 2, axis=0) < 1
        for _ in range(12):
            centre, size = generator.uniform([[-0.5], [0.05]], [[0.5], [0.25]], (2, len(grid)))
            inside = np.tensordot(size**-2.0, (grid.T - centre).T ** 2, 1) < 1
            height = generator.uniform(0.1, 0.5) * np.exp(1j * generator.uniform(0, 6))
            image[frame] += inside * height
    if problem.prior == "basis":
        image = np.tensordot(problem.basis, image, 1)
    elif problem.prior == "tv":
        lit = np.arange(frames)[:, None] * 2 // frames == np.arange(objects) - 1
        image = np.tensordot(lit + 1.0 * (np.arange(objects) == 0), image, 1)
    exact = FinufftPlans(problem, tolerance=_TOLERANCE, threads=threads, dtype="complex128")
    exact.prepare("forward")
    kspace = exact.forward(image)
    noise = generator.standard_normal((2, *kspace.shape))
    level = 0.02 * np.sqrt(np.mean(np.abs(kspace) ** 2))
    return (kspace + level * (noise[0] + 1j * noise[1])).astype(np.complex64)


def _minimiser(problem: Problem, threads: int) -> tuple[NDArray[np.complex128], float]:
    """Return the images, and the weight of total variation."""
    import torch

    from benchmarks.implementations.base import sums
    from benchmarks.implementations.padded_fft import PaddedFFT
    from pipeline.operators.sense import SenseNormal
    from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
    from pipeline.solvers.cg import conjugate_gradient
    from pipeline.solvers.circulant_preconditioners import CirculantPreconditioner
    from pipeline.solvers.fista import fista
    from pipeline.solvers.normal import NormalEquations
    from pipeline.solvers.penalties.tv import TotalVariation

    axes = len(problem.shape)
    damping = DAMPING * problem.trajectory.shape[1]
    exact = PaddedFFT(problem, tolerance=_TOLERANCE, threads=threads, dtype="complex128")
    exact.prepare("cg-sense")
    b = exact.adjoint(exact.to_native(problem.kspace.astype(np.complex128)))
    if problem.prior == "tv":
        weight = TV_WEIGHT * float(b.abs().max())
        penalty = TotalVariation(weight, axes + 1, (-axes - 1,), iterations=20)
        equations = NormalEquations(b, lambda x: exact.normal(x).add_(x, alpha=damping))
        found = fista(equations, penalty, iterations=200, change=1e-4)
        return exact.to_numpy(found.image), weight
    if problem.prior == "basis":
        rows = problem.basis.T
        found = conjugate_gradient(
            NormalEquations(
                sums(rows, b)[None],
                lambda x: sums(rows, exact.normal(sums(problem.basis, x[0])))[None],
                torch.zeros(1),
            ),
            regularization=damping,
            iterations=1000,
            residual=1e-6,
            image_axes=axes + 1,
        )
        return exact.to_numpy(sums(problem.basis, found.image[0])), 0.0
    maps = torch.from_numpy(problem.maps.astype(np.complex128))
    spectrum = toeplitz_spectrum(
        problem.shape,
        torch.from_numpy(problem.trajectory).mT,
        tolerance=_TOLERANCE,
        dtype=maps.dtype,
    )
    fast = SenseNormal(Toeplitz(spectrum, problem.shape), maps)
    solution = conjugate_gradient(
        NormalEquations(b, fast, torch.zeros(len(b))),
        regularization=damping,
        preconditioner=CirculantPreconditioner(
            spectrum, problem.shape, regularization=damping, maps=maps
        ),
        iterations=200,
        residual=1e-6,
        image_axes=axes,
    )
    rest = b - exact.normal(solution.image) - damping * solution.image
    assert torch.linalg.vector_norm(rest) < 1e-5 * torch.linalg.vector_norm(b)
    return exact.to_numpy(solution.image), 0.0


def _iterations(problem: Problem, values: NDArray[np.complex128], threads: int) -> int:
    """Return how many conjugate gradients it takes, without a preconditioner; a few with `tv`."""
    from benchmarks.conjugate_gradient import iterates
    from benchmarks.implementations.padded_fft import PaddedFFT

    if problem.prior == "tv":
        return 4
    plain = PaddedFFT(problem, tolerance=1e-6, threads=threads)
    normal, right, images = plain.equations(plain.to_native(problem.kspace))
    allowed = CONVERGED * np.linalg.norm(values)
    damping = DAMPING * problem.trajectory.shape[1]
    return next(
        count
        for count, found in enumerate(iterates(normal, right, damping), start=1)
        if np.linalg.norm(plain.to_numpy(images(found)) - values) <= allowed
    )
