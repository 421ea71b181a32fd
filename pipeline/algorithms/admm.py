"""Least squares with a penalty by ADMM, the alternating direction method of multipliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.algorithms.base import Problem
from pipeline.algorithms.penalised import PenalisedSolver
from pipeline.algorithms.preconditioned import PreconditionedSettings
from pipeline.config.equations import Known
from pipeline.config.sources import Kind
from pipeline.operators.inner import inner_product_bytes
from pipeline.solvers.penalties import penalty_class

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.penalty import Penalty
    from pipeline.solvers.solution import Report, Solution

_FEW = 4
"""Conjugate gradients, all of which an update takes."""


class AdmmSettings(PenalisedSolver, PreconditionedSettings):
    """Least squares with a penalty, by the alternating direction method of multipliers."""

    usual_iterations: ClassVar = {"mri": 16, "rf": 100}
    usual_tolerance: ClassVar = {"mri": 1e-3, "rf": 1e-3}
    usual_inner: ClassVar[Mapping[Kind, int]] = {"mri": 4, "rf": 20}
    usual_rho: ClassVar[Mapping[Kind, float]] = {"mri": 0.3, "rf": 1.0}
    allowed_residual = 1.0
    curve = (
        "residual over allowed",
        "Larger of the primal and the dual residual over what is allowed",
    )

    algorithm: Literal["admm"]
    rho: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """First penalty parameter relative to the mean diagonal of the normal operator; `auto` is 0.3
    (RF: 1). It then adapts to the residuals."""
    inner_iterations: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    """Conjugate gradients at most in each iteration; `auto` is 4 (RF: 20). None are needed for a
    single pair at a single frequency, which is solved exactly."""

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means; see `EquationSettings.decided`."""
        settings = super().decided(known)
        auto = {
            "preconditioner": "none",
            "inner_iterations": self.usual_inner[known.kind],
            "rho": self.usual_rho[known.kind],
        }
        left = {key: value for key, value in auto.items() if getattr(settings, key) == "auto"}
        return settings.model_copy(update=left)

    @property
    def _most_inner(self) -> int:
        inner = self.inner_iterations
        return self.usual_inner["mri"] if inner == "auto" else inner

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
        """Conjugate gradients that begin where they were end early, unless they are few."""
        inner = self._most_inner
        return self.most_iterations * min(inner, max(_FEW, -(-inner // 2)))

    def minimising_bytes(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of `minimise`, and of the preconditioner."""
        from pipeline.solvers.several import several_images

        kinds, along = zip(*self.acting_on(batch), strict=True)
        images = kinds[0].split_images(along[0])
        if self.penalties:
            images = several_images(kinds, along)
        own = admm_bytes(batch, itemsize=itemsize, split_images=images)
        return self.with_preconditioner(own, batch, itemsize=itemsize, kernels=kernels)

    def minimising_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of conjugate gradients with ``G``, beside ``z`` and ``u``.

        Of each unknown the image, its residual, a direction, ``G`` and ``D^H D`` times it, and
        where there are several their equations.
        """
        pairs = self.acting_on(batch)
        unknowns = 1 + sum(kind.unknowns_along(axes) - 1 for kind, axes in pairs)
        images = (6.6 if unknowns > 1 else 5.0) * unknowns
        images += 2 * sum(kind.components_along(axes) for kind, axes in pairs)
        own = math.ceil(images * math.prod(batch) * itemsize) + inner_product_bytes()
        return self.with_preconditioner(own, batch, itemsize=itemsize, kernels=kernels)

    def details_of(self, found: Solution) -> dict[str, Tensor]:
        """Return the last penalty parameter, unless the solve was resumed after its end."""
        from pipeline.solvers.admm import SplitSolution

        return {"rho": found.rho} if isinstance(found, SplitSolution) else {}

    def minimise(
        self, problem: Problem, penalty: Penalty, report: Report, checkpoint: Checkpoint
    ) -> Solution:
        """Solve a problem with one penalty and its weight."""
        import torch

        from pipeline.solvers.admm import admm

        tolerance, diagonal = self.converged_change, problem.diagonal
        if self.joins_pairs:
            diagonal = diagonal.mean(-1)
        first = self.usual_rho["mri"] if self.rho == "auto" else self.rho
        rho = first * torch.where(diagonal > 0, diagonal, 1.0)
        return admm(
            problem.normal,
            penalty,
            iterations=self.most_iterations,
            rho=rho,
            absolute=0.1 * tolerance,
            relative=tolerance,
            exact_solver=(problem.exact() if penalty.identity and not self.joins_pairs else None),
            preconditioner=self.preconditioner_of(problem, rho * penalty.normal_diagonal),
            inner_iterations=self._most_inner,
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
