"""From normal equations to images, by the algorithm that the settings name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.algorithms.base import Outcome, Problem, SolverSettings
from pipeline.engine.job import BlockJob
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, Nested
from pipeline.solvers.fusion import non_coherent, phase_aligned
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.solution import Solution

if TYPE_CHECKING:
    from pipeline.solvers.admm import ExactSolver

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
    noise: Noise | None,
    exact: Callable[[], ExactSolver | None],
    progress: Progress | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> tuple[Tensor, Histories]:
    """Return the images ``(image, *shape)`` and what the solver watched.

    Parameters
    ----------
    job
        The job.
    algorithm
        What solves them.
    normal
        Normal equations of a batch of images, ``b`` of shape ``(image, *shape)``; with a fusion
        that is not coherent those of each pair, ``(image, pair, *shape)``.
    diagonal
        float64 ``(image,)`` or ``(image, pair)``: diagonal of the normal operator for unit
        sensitivities.
    image_axes
        Number of axes of one image.
    noise
        Of the measurement, of the shape of `diagonal`; `None` where it is not known.
    exact
        Returns what solves ``(G + rho) x = r`` without iterations, where there is a way.
    progress
        Told of every iteration.
    checkpoint
        Keeps the state of a long solve.
    """
    watch = _Watch(algorithm.most_iterations, progress)
    parts = _Parts(algorithm, job.who, diagonal, noise, exact, image_axes, watch)
    with job.phase("solve"):
        outcome, image, details = parts.solve(normal, checkpoint)
    _record(job, outcome, details)
    histories = outcome.solution.histories()
    problems = len(histories) // max(1, len(image))
    # With an image for each pair, the slowest of them stands for all.
    return image, [
        max(histories[first : first + problems], key=len)
        for first in range(0, len(histories), max(1, problems))
    ]


class _Parts:
    """How pairs become one image, around the algorithm."""

    def __init__(
        self,
        algorithm: SolverSettings,
        who: str,
        diagonal: Tensor,
        noise: Noise | None,
        exact: Callable[[], ExactSolver | None],
        image_axes: int,
        watch: _Watch,
    ) -> None:
        self.algorithm, self.who = algorithm, who
        self.diagonal, self.noise, self.exact = diagonal, noise, exact
        self.axes, self.watch = image_axes, watch

    def solve(
        self, normal: NormalEquations, checkpoint: Checkpoint
    ) -> tuple[Outcome, Tensor, dict[str, Any]]:
        """Return what was found, the images ``(image, *shape)``, and what fusion adds to tell."""
        if self.algorithm.fusion == "coherent":
            outcome = self._run(normal, self.diagonal, self.noise, checkpoint)
            return outcome, outcome.solution.image, {}
        if self.algorithm.fusion == "non-coherent":
            if self.algorithm.joins_pairs:
                energy = torch.as_tensor(normal.energy)
                energy = energy.sum(-1) if energy.ndim > 1 else energy
                normal = dataclasses.replace(normal, energy=energy)
            outcome = self._run(normal, self.diagonal, self.noise, checkpoint)
            return outcome, non_coherent(outcome.solution.image, self.axes), {}
        return self._aligned(normal, checkpoint)

    def _aligned(
        self, normal: NormalEquations, checkpoint: Checkpoint
    ) -> tuple[Outcome, Tensor, dict[str, Any]]:
        nested = Nested(checkpoint)
        noise = self.noise and Noise(
            self.noise.adjoint.square().sum(-1).sqrt(), self.noise.misfit.square().sum(-1).sqrt()
        )
        outcomes: list[Outcome] = []

        def run(together: NormalEquations) -> Solution:
            outcomes[:] = [self._run(together, self.diagonal.sum(-1), noise, nested)]
            return outcomes[0].solution

        found = phase_aligned(normal, run, image_axes=self.axes, nested=nested)
        outcome = dataclasses.replace(outcomes[0], evaluations=found.evaluations)
        details = {"rounds": found.rounds, "pair_phases": found.phases.tolist()}
        return outcome, found.solution.image, details

    def _run(
        self,
        normal: NormalEquations,
        diagonal: Tensor,
        noise: Noise | None,
        checkpoint: Checkpoint,
    ) -> Outcome:
        problem = Problem(normal, diagonal, self.axes, noise, self.exact, self.who)
        return self.algorithm.run(problem, self.watch, checkpoint)


class _Watch:
    """Tells how far a solve is, in the iterations that it may take at most."""

    def __init__(self, most: int, progress: Progress | None) -> None:
        self._most = most
        self._progress = progress

    def __call__(self, iteration: int, residual: Tensor) -> None:
        """Report an iteration; the residual stays on the device unless somebody looks."""
        if self._progress is not None:
            self._progress(
                min(1.0, iteration / self._most),
                lambda: f"iteration {iteration}, residual {float(residual):.1e}",
            )


def _record(job: BlockJob, outcome: Outcome, details: dict[str, Any]) -> None:
    """Add what these images took to the receipt, which lists all images of the block."""
    content = job.receipt.content
    lists: dict[str, list[Any]] = {"stopped": outcome.stopped}
    if outcome.weight is not None:
        lists["weight"] = outcome.weight.flatten().tolist()
    if outcome.objective is not None:
        lists["objective"] = outcome.objective.flatten().tolist()
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
