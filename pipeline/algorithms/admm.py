"""Least squares with a penalty by ADMM, the alternating direction method of multipliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.algorithms.base import Problem
from pipeline.algorithms.penalised import PenalisedSettings
from pipeline.algorithms.preconditioned import PreconditionedSettings
from pipeline.config.equations import Known
from pipeline.operators.inner import inner_product_bytes
from pipeline.solvers.penalties import penalty_class

if TYPE_CHECKING:
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.penalty import Penalty
    from pipeline.solvers.solution import Report, Solution


class AdmmSettings(PenalisedSettings, PreconditionedSettings):
    """Least squares with a penalty, by the alternating direction method of multipliers."""

    usual_iterations: ClassVar = {"mri": 12, "rf": 100}
    usual_tolerance: ClassVar = {"mri": 1e-3, "rf": 1e-3}
    allowed_residual = 1.0
    curve = (
        "residual over allowed",
        "Larger of the primal and the dual residual over what is allowed",
    )

    algorithm: Literal["admm"]
    rho: Annotated[float, Field(gt=0)] | None = None
    """First penalty parameter relative to the mean diagonal of the normal operator; none takes 1.
    It then adapts to the residuals."""
    inner_iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """Conjugate gradients at most in each iteration; none are needed for a single pair at a single
    frequency, which is solved exactly."""

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means; see `EquationSettings.decided`."""
        settings = super().decided(known)
        if settings.preconditioner != "auto":
            return settings
        return settings.model_copy(update={"preconditioner": "none"})

    @model_validator(mode="after")
    def _of_images(self) -> Self:
        if self.preconditioner not in ("auto", "none") and any(
            penalty_class(term.penalty).unknowns_along(1) > 1 for term in self.terms
        ):
            raise ValueError(
                "`preconditioner` is for images alone, and tgv has unknowns of its own; leave it "
                "out"
            )
        return self

    @property
    def applications(self) -> int:
        """Conjugate gradients that begin where they were end after some of their iterations."""
        return self.most_iterations * -(-self.inner_iterations // 2)

    def minimising_bytes(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of `minimise`, and of the preconditioner."""
        from pipeline.solvers.several import several_images

        kinds = [penalty_class(term.penalty) for term in self.terms]
        along = self.axes_of(batch)
        images = kinds[0].split_images(along[0])
        if self.penalties:
            images = several_images(kinds, along)
        own = admm_bytes(batch, itemsize=itemsize, split_images=images)
        return self.with_preconditioner(own, batch, itemsize=itemsize, kernels=kernels)

    def details_of(self, found: Solution) -> dict[str, object]:
        """Return the last penalty parameter, unless the solve was resumed after its end."""
        from pipeline.solvers.admm import SplitSolution

        return {"rho": found.rho.flatten().tolist()} if isinstance(found, SplitSolution) else {}

    def minimise(
        self, problem: Problem, penalty: Penalty, report: Report, checkpoint: Checkpoint
    ) -> Solution:
        """Solve a problem with one penalty and its weight."""
        import torch

        from pipeline.solvers.admm import admm

        tolerance, diagonal = self.converged_change, problem.diagonal
        if self.joins_pairs:
            diagonal = diagonal.mean(-1)
        rho = (self.rho or 1.0) * torch.where(diagonal > 0, diagonal, 1.0)
        return admm(
            problem.normal,
            penalty,
            iterations=self.most_iterations,
            rho=rho,
            absolute=0.1 * tolerance,
            relative=tolerance,
            exact_solver=(problem.exact() if penalty.identity and not self.joins_pairs else None),
            preconditioner=self.preconditioner_of(problem, rho * penalty.normal_diagonal),
            inner_iterations=self.inner_iterations,
            # No image is better than the equations that it was solved from.
            inner_residual=0.1 * tolerance,
            report=report,
            start=problem.start,
            checkpoint=checkpoint,
        )


def admm_bytes(shape: Sequence[int], *, itemsize: int, split_images: float = 0.0) -> int:
    """Predict the bytes of `admm` besides ``b``, of this shape, and the workspace of ``G``.

    The image and its residual, ``z`` and ``u`` before and after, and, while the penalty is applied,
    magnitudes: 6.5 images, and those of the penalty, see `Penalty.split_images`.
    """
    return math.ceil((6.5 + split_images) * math.prod(shape) * itemsize) + inner_product_bytes()
