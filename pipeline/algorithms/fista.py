"""Least squares with a penalty by FISTA: accelerated proximal gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.algorithms.base import Problem
from pipeline.algorithms.penalised import BOUND_EVALUATIONS, PenalisedSolver
from pipeline.operators.inner import inner_product_bytes
from pipeline.solvers.penalties import penalty_class

if TYPE_CHECKING:
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.penalty import Penalty
    from pipeline.solvers.solution import Report, Solution


class FistaSettings(PenalisedSolver):
    """Least squares with a penalty, by accelerated proximal gradients."""

    usual_iterations: ClassVar = {"mri": 60, "rf": 300}
    usual_tolerance: ClassVar = {"mri": 2e-3, "rf": 1e-5}
    curve = ("relative change", "Change of the image relative to the image")

    algorithm: Literal["fista"]

    @model_validator(mode="after")
    def _one_penalty(self) -> Self:
        if self.penalties:
            raise ValueError(
                "fista takes one `penalty`; admm and primal-dual take several `penalties`"
            )
        if penalty_class(self.terms[0].penalty).unknowns_along(1) > 1:
            raise ValueError(
                f"`penalty: {self.penalty}` has unknowns besides the image, for which there is "
                "admm and primal-dual"
            )
        return self

    @property
    def applications(self) -> int:
        """One an iteration, those of the step's length, of the misfit, and of debiasing."""
        steps = self.most_iterations
        return steps + BOUND_EVALUATIONS + 1 + (steps // 2 if self.debias else 0)

    def minimising_bytes(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of `minimise`."""
        ((kind, axes),) = self.acting_on(batch)
        images = kind.proximal_images(axes) + kind.restless
        return fista_bytes(batch, itemsize=itemsize, proximal_images=images)

    def minimising_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the image, the point ahead, what ``G`` makes of it, and what is kept beside."""
        ((kind, axes),) = self.acting_on(batch)
        kept = kind.kept_images(axes) + kind.restless
        return math.ceil((3 + kept) * math.prod(batch) * itemsize)

    def minimise(
        self, problem: Problem, penalty: Penalty, report: Report, checkpoint: Checkpoint
    ) -> Solution:
        """Solve a problem with one penalty and its weight."""
        from pipeline.solvers.fista import fista

        return self.descended(fista, problem, penalty, report, checkpoint)


def fista_bytes(shape: Sequence[int], *, itemsize: int, proximal_images: float = 0.0) -> int:
    """Predict the bytes of `fista` besides ``b``, of this shape, and the workspace of ``G``.

    The image, the point ahead of it, the step from there and the next image; magnitudes, and what
    the penalty takes, see `Penalty.proximal_images`.
    """
    return math.ceil((4.5 + proximal_images) * math.prod(shape) * itemsize) + inner_product_bytes()
