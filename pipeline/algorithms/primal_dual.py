"""Least squares with penalties by a primal-dual method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.algorithms.base import Problem
from pipeline.algorithms.penalised import BOUND_EVALUATIONS, PenalisedSolver
from pipeline.operators.inner import inner_product_bytes

if TYPE_CHECKING:
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.penalty import Penalty
    from pipeline.solvers.solution import Report, Solution


class PrimalDualSettings(PenalisedSolver):
    """Least squares with one penalty or several, each of whose transforms has a dual image."""

    usual_iterations: ClassVar = {"mri": 100, "rf": 500}
    usual_tolerance: ClassVar = {"mri": 5e-4, "rf": 1e-5}
    curve = ("relative change", "Change of the image relative to the image")

    algorithm: Literal["primal-dual"]
    debias: ClassVar[Literal[False]] = False  # type: ignore[misc]

    @property
    def applications(self) -> int:
        """One an iteration, those of the step's length, and of the misfit."""
        return self.most_iterations + BOUND_EVALUATIONS + 1

    def minimising_bytes(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of `minimise`."""
        pairs = self.acting_on(batch)
        several = len(pairs) > 1  # the transform of each is copied to its place
        return primal_dual_bytes(
            batch,
            itemsize=itemsize,
            unknowns=1 + sum(kind.unknowns_along(axes) - 1 for kind, axes in pairs),
            components=sum(kind.components_along(axes) for kind, axes in pairs),
            shrink_images=max(
                kind.shrink_images() + several * kind.components_along(axes) for kind, axes in pairs
            ),
        )

    def minimising_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the images, their duals, and what ``G`` makes of them."""
        pairs = self.acting_on(batch)
        images = 2 + sum(kind.unknowns_along(axes) - 1 for kind, axes in pairs)
        images += sum(kind.components_along(axes) for kind, axes in pairs)
        return images * math.prod(batch) * itemsize

    def minimise(
        self, problem: Problem, penalty: Penalty, report: Report, checkpoint: Checkpoint
    ) -> Solution:
        """Solve a problem with its penalties and their weights."""
        from pipeline.solvers.primal_dual import primal_dual

        return self.descended(primal_dual, problem, penalty, report, checkpoint)


def primal_dual_bytes(
    shape: Sequence[int], *, itemsize: int, unknowns: int, components: int, shrink_images: float
) -> int:
    """Predict the bytes of `primal_dual` besides ``b``, of this shape, and the workspace of ``G``.

    Parameters
    ----------
    unknowns, components
        Images that are found together, and that their transform ``D x`` is as large as.
    shrink_images
        What is held while ``D x`` is made or shortened; see `Penalty.shrink_images`.

    Notes
    -----
    The unknowns before and after a step, and, where there are several, their equations; the dual
    before and after, and what the penalty leaves.
    """
    images = (2 + (unknowns > 1)) * unknowns + 3 * components + shrink_images
    return math.ceil(images * math.prod(shape) * itemsize) + inner_product_bytes()
