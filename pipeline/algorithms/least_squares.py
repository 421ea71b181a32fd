"""Regularised least squares by conjugate gradients: CG-SENSE in MRI, Tikhonov's in RF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.algorithms.base import Outcome, Problem, reason
from pipeline.algorithms.discrepancy import DISCREPANCY_IMAGES, by_discrepancy, check_fusion
from pipeline.algorithms.preconditioned import PreconditionedSettings
from pipeline.config.equations import MriSettings, RfSettings

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Report, Solution


_PLAUSIBLE_MISFIT = 0.5
"""Between what good data leave beyond their noise and what wrong ones do: see docs/metrics.md."""


class LeastSquaresSettings(PreconditionedSettings):
    """Regularised least squares."""

    regularization: Literal["discrepancy"] | Annotated[float, Field(ge=0)] = 0.0
    """Tikhonov weight, relative to the sum of the sample weights, which is the diagonal of the
    normal operator for unit sensitivities; `discrepancy` finds the one that leaves as much of the
    data as there is noise."""
    iterations: Annotated[int, Field(ge=1, le=10000)] = 12
    """Iterations at most."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stop once the residual of the normal equations, relative to their right-hand side, is below;
    0 always runs all iterations."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        check_fusion(self.regularization, self.fusion)
        return self

    @property
    def uses_noise(self) -> bool:
        """Whether the weight goes by the noise."""
        return self.regularization == "discrepancy"

    @property
    def most_iterations(self) -> int:
        """Iterations at most."""
        return self.iterations

    @property
    def plausible_misfit(self) -> float:
        """What measured objects leave that are not quite as modelled, and what the weight leaves.

        Of joined frames, which may differ in all there is, nothing can be said.
        """
        if self.frames_per_image != 1:
            return 1.0
        if self.regularization == "discrepancy":
            return _PLAUSIBLE_MISFIT
        shrinking = self.regularization / (1 + self.regularization)
        return min(1.0, math.hypot(_PLAUSIBLE_MISFIT, shrinking))

    @property
    def applications(self) -> int:
        """One an iteration, and one for the misfit."""
        return self.iterations + 1

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of conjugate gradients, their preconditioner, and a search around."""
        from pipeline.solvers.cg import conjugate_gradient_bytes

        own = conjugate_gradient_bytes(
            batch, itemsize=itemsize, preconditioned=self.preconditioner != "none"
        )
        held = self.with_preconditioner(own, batch, itemsize=itemsize, kernels=kernels)
        return held + self.uses_noise * DISCREPANCY_IMAGES * math.prod(batch) * itemsize

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Solve a problem."""
        from pipeline.operators.inner import inner_product
        from pipeline.solvers.cg import conjugate_gradient

        normal = problem.normal

        def at(weight: Tensor, checkpoint: Checkpoint) -> Solution:
            return conjugate_gradient(
                normal,
                regularization=weight,
                iterations=self.iterations,
                residual=self.residual,
                image_axes=problem.image_axes,
                preconditioner=self.preconditioner_of(problem, weight),
                report=report,
                checkpoint=checkpoint,
            )

        if self.regularization == "discrepancy":
            start = 0.01 * problem.diagonal
            found, weight, details = by_discrepancy(
                problem, at, start, "regularization", checkpoint
            )
        else:
            weight = self.regularization * problem.diagonal
            found, details = at(weight, checkpoint), {}
        image, axes = found.image, problem.image_axes
        # Not from b^H x alone: rounding leaves the residual not quite orthogonal to the image.
        misfit = 2 * normal.cost(image, axes)
        cost = 0.5 * (misfit + weight * inner_product(image, image, axes))
        tail = [history[-1] if history else 0.0 for history in found.histories()]
        stopped = [reason(value <= self.residual) for value in tail]
        return Outcome(found, found.evaluations + 1, cost, misfit, stopped, weight, details)


class CgSenseSettings(MriSettings, LeastSquaresSettings):
    """Regularised least squares over all coils."""

    kinds = ("mri",)

    algorithm: Literal["cg-sense"]


class TikhonovSettings(RfSettings, LeastSquaresSettings):
    """Regularised least squares over all antennas."""

    kinds = ("rf",)

    algorithm: Literal["tikhonov"]
