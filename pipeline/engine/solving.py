"""From normal equations to images, by the algorithm that the settings name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.algorithms.base import Outcome, Problem, SolverSettings
from pipeline.engine.job import SMALLEST, BlockJob
from pipeline.engine.misfit import misfit_resolution, relative_misfits
from pipeline.errors import DataError
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, Nested
from pipeline.solvers.fusion import non_coherent, phase_aligned
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.solution import Report, Solution

if TYPE_CHECKING:
    from pipeline.solvers.admm import ExactSolver
    from pipeline.solvers.spectrum import Spectrum

_NEAR_ONE = 2.0**30
"""Of sizes of operator and image, and of their reciprocals: up to it single precision holds ``G``
times ``G x``, and squares of voxels."""

Histories = list[list[float]]
"""For each image, what the solver watched after each iteration."""

Progress = Callable[[float, Callable[[], str]], None]
"""``(share, note)``: how much of these images is done, and what returns a note on it."""


def solve(
    job: BlockJob,
    algorithm: SolverSettings,
    normal: NormalEquations,
    diagonal: Tensor,
    *,
    image_axes: int,
    stacked: bool = False,
    noise: Noise | None,
    left_by_noise: Tensor | None,
    exact: Callable[[], ExactSolver | None],
    spectrum: Callable[[], Spectrum | None],
    progress: Progress | None = None,
    start: Tensor | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> tuple[Tensor, Histories]:
    """Return the images ``(image, *shape)`` and what the solver watched.

    Parameters
    ----------
    normal
        Normal equations of a batch of images, ``b`` of shape ``(image, *shape)``; with a fusion
        that is not coherent those of each pair, ``(image, pair, *shape)``.
    diagonal
        float64 ``(image,)`` or ``(image, pair)``: diagonal of the normal operator for unit
        sensitivities.
    stacked
        Whether the first axis of an image is not one of space; see `Problem`.
    noise
        Of the measurement, of the shape of `diagonal`; `None` where it is not known.
    left_by_noise
        float64, of the shape of `diagonal`: ``|W^(1/2) n|`` of the noise ``n``, as far as known.
    exact
        Returns what solves ``(G + rho) x = r`` without iterations, where there is a way.
    spectrum
        Returns what is known of signal and noise at each spatial frequency.
    start
        Where to begin, of the shape of ``b``; `None` for zero.
    """

    def watch(iteration: int, residual: Tensor) -> None:
        if progress is not None:
            share = min(1.0, iteration / algorithm.most_iterations)
            # The residual stays on the device unless somebody looks.
            progress(share, lambda: f"iteration {iteration}, residual {float(residual):.1e}")

    def run(
        equations: NormalEquations, diagonal: Tensor, noise: Noise | None, checkpoint: Checkpoint
    ) -> Outcome:
        known = spectrum if algorithm.uses_spectrum else lambda: None
        problem = Problem(
            equations, diagonal, image_axes, noise, exact, job.who, known, start, stacked
        )
        return solve_near_one(algorithm, problem, watch, checkpoint)

    details: dict[str, Any] = {}
    with job.phase("solve"):
        if algorithm.fusion == "phase-aligned":
            outcome, details = _aligned(run, normal, diagonal, noise, image_axes, checkpoint)
        else:
            if algorithm.fusion == "non-coherent" and algorithm.joins_pairs:
                energy = torch.as_tensor(normal.energy)
                energy = energy.sum(-1) if energy.ndim > 1 else energy
                normal = replace(normal, energy=energy)
            outcome = run(normal, diagonal, noise, checkpoint)
        image = outcome.solution.image
        if algorithm.fusion == "non-coherent":
            image = non_coherent(image, image_axes)
    found = relative_misfits(outcome.squared_misfit, normal.energy, len(image))
    resolution = misfit_resolution(job.tolerance)
    details |= {
        "misfit": [max(each, resolution) for each in found],
        "misfit_resolution": resolution,
        "plausible_misfit": algorithm.plausible_misfit,
    }
    if left_by_noise is not None:
        details["expected_misfit"] = relative_misfits(
            left_by_noise.square(), normal.energy, len(image)
        )
    _record(job, outcome, details)
    histories = outcome.solution.histories()
    problems = len(histories) // max(1, len(image))
    # With an image for each pair, the slowest of them stands for all.
    return image, [
        max(histories[first : first + problems], key=len)
        for first in range(0, len(histories), max(1, problems))
    ]


def solve_near_one(
    algorithm: SolverSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    """Solve a problem in units in which neither operator nor image are far from one.

    Solvers multiply ``G`` by ``G x`` and penalties square voxels, which single precision does not
    hold at any scale. `problem` is not to be used any more.

    Raises
    ------
    DataError
        If the normal equations are smaller than single precision resolves.
    """
    gain = float(problem.diagonal.max())
    largest = float(torch.linalg.vector_norm(torch.view_as_real(problem.normal.b), math.inf))
    if gain == 0 or largest == 0:
        return algorithm.run(problem, report, checkpoint)
    if min(gain, largest) < SMALLEST and not problem.normal.b.dtype == torch.complex128:
        raise DataError(
            f"{problem.who}: A^H W y reaches {largest:.1e} and the diagonal of A^H W A {gain:.1e}, "
            f"but single precision does not resolve what is smaller than {SMALLEST:.0e}; scale "
            "the measurement, or what it is modelled by (MRI: maps; RF: gains, lengths), or set "
            "`precision: double`"
        )
    size = largest / gain
    if all(1 / _NEAR_ONE < each < _NEAR_ONE for each in (gain, size)):
        return algorithm.run(problem, report, checkpoint)
    # Powers of four, so that no digit changes.
    gain, size = (4.0 ** round(math.log(each, 4)) for each in (gain, size))
    return algorithm.run(problem.rescaled(gain, size), report, checkpoint).rescaled(gain, size)


def _aligned(
    run: Callable[[NormalEquations, Tensor, Noise | None, Checkpoint], Outcome],
    normal: NormalEquations,
    diagonal: Tensor,
    noise: Noise | None,
    image_axes: int,
    checkpoint: Checkpoint,
) -> tuple[Outcome, dict[str, Any]]:
    """Solve for the image and a phase of each pair in turns; return also what that adds to tell."""
    nested = Nested(checkpoint)
    joint = noise and Noise(
        noise.adjoint.square().sum(-1).sqrt(), noise.misfit.square().sum(-1).sqrt()
    )
    outcomes: list[Outcome] = []

    def solve_together(together: NormalEquations) -> Solution:
        outcomes[:] = [run(together, diagonal.sum(-1), joint, nested)]
        return outcomes[0].solution

    found = phase_aligned(normal, solve_together, image_axes=image_axes, nested=nested)
    outcome = replace(outcomes[0], evaluations=found.evaluations)
    return outcome, {"rounds": found.rounds, "pair_phases": found.phases.tolist()}


def _record(job: BlockJob, outcome: Outcome, details: dict[str, Any]) -> None:
    """Add what these images took to the receipt, which lists all images of the block."""
    content = job.receipt.content
    lists: dict[str, list[Any]] = {"stopped": outcome.stopped}
    if outcome.weight is not None:
        lists["weight"] = outcome.weight.flatten().tolist()
    if outcome.objective is not None:
        lists["objective"] = outcome.objective.flatten().tolist()
    for name, each in {**outcome.of_operator, **outcome.of_image}.items():
        lists[name] = each.flatten().tolist()
    for name, value in {**outcome.details, **details}.items():
        if isinstance(value, list):
            lists[name] = value
        else:
            job.receipt.record(**{name: value})
    for name, values in lists.items():
        job.receipt.record(**{name: [*content.get(name, []), *values]})
    job.receipt.record(
        operator_evaluations=content.get("operator_evaluations", 0) + outcome.evaluations
    )
