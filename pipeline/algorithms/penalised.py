"""Least squares with a penalty: what FISTA, ADMM and the primal-dual method share."""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.algorithms.base import Outcome, Problem, reason
from pipeline.algorithms.discrepancy import DISCREPANCY_IMAGES, by_discrepancy
from pipeline.algorithms.penalty_settings import NOISE_RULES, SPARSITY, PenalisedSettings
from pipeline.operators.inner import inner_product_bytes
from pipeline.solvers.penalties import penalty_class

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.solvers.checkpoints import Checkpoint, Nested, State
    from pipeline.solvers.normal import NormalEquations
    from pipeline.solvers.penalty import Penalty
    from pipeline.solvers.solution import Report, Solution

BOUND_EVALUATIONS = 4
"""Of the operator, for the length of the steps of fista and primal-dual."""


class PenalisedSolver(PenalisedSettings):
    """Least squares with a penalty, by any method that minimises the sum of both."""

    def acting_on(self, batch: Sequence[int]) -> list[tuple[type[Penalty], int]]:
        """Return each penalty, and along how many axes of images as of `vectors` it acts."""
        joint = self.joins_images or self.joins_pairs
        axes = len(batch) - 1 + joint
        return [(penalty_class(term.penalty), len(term.axes(axes, joint))) for term in self.terms]

    @abstractmethod
    def minimising_bytes(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of `minimise`, as of `vectors`."""

    @abstractmethod
    def minimising_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return those of them that it holds while the normal operator is applied."""

    @abstractmethod
    def minimise(
        self, problem: Problem, penalty: Penalty, report: Report, checkpoint: Checkpoint
    ) -> Solution:
        """Solve a problem with one penalty and its weight."""

    def descended(
        self,
        solver: Callable[..., Solution],
        problem: Problem,
        penalty: Penalty,
        report: Report,
        checkpoint: Checkpoint,
    ) -> Solution:
        """Solve a problem by a method whose steps go by the largest eigenvalue."""
        return solver(
            problem.normal,
            penalty,
            iterations=self.most_iterations,
            change=self.converged_change,
            bound_evaluations=BOUND_EVALUATIONS,
            report=report,
            start=problem.start,
            checkpoint=checkpoint,
        )

    def details_of(self, found: Solution) -> dict[str, Tensor]:
        """Return what only this solver's solutions have, see `Outcome.of_operator`."""
        return {}

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of the solver, of debiasing, and of a search around."""
        held = self.minimising_bytes(batch, itemsize=itemsize, kernels=kernels)
        return self._with_others(held, batch, itemsize)

    def vectors_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return those of them that it holds while the normal operator is applied."""
        held = self.minimising_at_work(batch, itemsize=itemsize, kernels=kernels)
        return self._with_others(held, batch, itemsize)

    def _with_others(self, held: int, batch: Sequence[int], itemsize: int) -> int:
        """Return the bytes of a solver, of debiasing, and of a search around."""
        image = math.prod(batch) * itemsize
        if self.debias:
            held = max(held, image + debias_bytes(batch, itemsize=itemsize))
        return held + (self.sparsity == "discrepancy") * DISCREPANCY_IMAGES * image

    def _penalty(self, weight: Tensor, image_axes: int, stacked: bool) -> Penalty:
        """Return the penalty with a weight, or several of which it is the unit of the weights."""
        found = [
            penalty_class(term.penalty)(
                term.sparsity * weight if self.penalties else weight,
                image_axes,
                term.axes(image_axes, self.joins_images or self.joins_pairs or stacked),
            )
            for term in self.terms
        ]
        if not self.penalties:
            return found[0]
        from pipeline.solvers.several import Several

        return Several(found)

    def _brightest(self, problem: Problem) -> Tensor:
        """Return the brightest voxel of the adjoint, of each problem."""
        import torch

        magnitude = problem.normal.b.abs()
        if self.joins_pairs:
            magnitude = torch.linalg.vector_norm(magnitude, dim=-problem.image_axes - 1)
        brightest = magnitude.amax(dim=tuple(range(-problem.image_axes, 0))).double()
        # An image without data has a weight too, whatever it is.
        return torch.where(brightest > 0, brightest, 1.0)

    def _weight(self, problem: Problem, brightest: Tensor) -> Tensor:
        """Return the weight that settings or noise give; `brightest` is of each problem."""
        import torch

        from pipeline.solvers.regularization import noise_weight

        if self.penalties:
            return brightest  # what the weights of several are relative to
        rule = NOISE_RULES.get(str(self.sparsity))
        if rule is None:
            share = SPARSITY if isinstance(self.sparsity, str) else self.sparsity
            return share * brightest
        noise = problem.known_noise(f"sparsity: {self.sparsity}")
        weight = noise_weight(1.0, noise.adjoint.square(), problem.voxels)
        part, least = rule
        return torch.maximum(weight / part, least * brightest)

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Solve a problem, with the weight that the settings or their rule give."""
        import torch

        from pipeline.solvers.checkpoints import Nested

        axes = problem.image_axes + self.joins_pairs
        penalty_of = functools.partial(self._penalty, image_axes=axes, stacked=problem.stacked)
        brightest = self._brightest(problem)
        unknowns = penalty_of(brightest).unknowns
        solved = problem.with_unknowns(unknowns, axes)
        normal = solved.normal
        axes += unknowns > 1
        stages = Nested(checkpoint)
        details: dict[str, object] = {"penalty": " + ".join(term.penalty for term in self.terms)}

        def at(weight: Tensor, checkpoint: Checkpoint) -> Solution:
            return self.minimise(solved, penalty_of(weight), report, checkpoint)

        if stages.known:
            sparse, weight = _interrupted(stages.known, normal.b.device)
        elif self.sparsity == "discrepancy":
            start = SPARSITY * brightest
            sparse, weight, searched = by_discrepancy(solved, at, start, "sparsity", stages)
            details |= searched
        else:
            weight = self._weight(problem, brightest)
            sparse = at(weight, stages)
        misfit = 2 * normal.cost(sparse.image, axes)
        value = penalty_of(torch.ones_like(weight)).value(sparse.image)
        cost = 0.5 * misfit + weight * value
        if unknowns > 1:
            image = sparse.image.select(-axes, 0).contiguous()
            sparse = dataclasses.replace(sparse, image=image)
        evaluations = sparse.evaluations + 1
        reached, most = self.allowed_residual or self.converged_change, self.most_iterations
        stopped = [
            reason(len(history) > 0 and (history[-1] <= reached or len(history) < most))
            for history in sparse.histories()
        ]
        of_operator = self.details_of(sparse)
        # Debiasing makes another image.
        of_image = {} if self.debias else {"penalty_value": value}
        if self.debias:
            refined = self._debiased(normal, sparse, weight, axes, report, stages)
            evaluations += refined.evaluations - sparse.evaluations
            details["debias_iterations"] = int(refined.iterations.max())
            sparse = dataclasses.replace(sparse, image=refined.image)
            misfit = 2 * normal.cost(sparse.image, axes)
            evaluations += 1
        return Outcome(
            sparse,
            evaluations,
            cost,
            misfit,
            stopped,
            weight,
            weighs_lengths=True,
            details=details,
            of_operator=of_operator,
            of_image=of_image,
        )

    def _debiased(
        self,
        normal: NormalEquations,
        sparse: Solution,
        weight: Tensor,
        image_axes: int,
        report: Report,
        stages: Nested,
    ) -> Solution:
        """Return least squares on what the penalty has kept; a job that goes on begins here."""
        import torch

        from pipeline.solvers.debiasing import debias

        stages.surround(
            {
                **{"image": sparse.image, "iterations": sparse.iterations, "weight": weight},
                "residuals": sparse.residuals,
                "evaluations": torch.tensor(sparse.evaluations),
            }
        )
        return debias(
            normal,
            sparse,
            image_axes=image_axes,
            threshold=0.0 if self.debias is True else float(self.debias),
            report=report,
            checkpoint=stages,
        )


def _interrupted(state: State, device: torch.device) -> tuple[Solution, Tensor]:
    """Return the solution that was being debiased, and the weight that it was found with."""
    from pipeline.solvers.solution import Solution

    known = {name: value.to(device) for name, value in state.items()}
    solution = Solution(
        known["image"],
        known["iterations"].cpu(),
        known["residuals"].cpu(),
        int(known["evaluations"]),
        begins_at_zero=False,
    )
    return solution, known["weight"]


def debias_bytes(shape: Sequence[int], *, itemsize: int) -> int:
    """Predict the bytes of `debias` besides ``b``, the solution and the workspace of ``G``."""
    # Conjugate gradients, the masked b, G before its mask, and a byte a voxel for the mask.
    return 6 * math.prod(shape) * itemsize + math.prod(shape) + inner_product_bytes()
