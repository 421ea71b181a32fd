"""Orthogonal matching pursuit: points found one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.algorithms.base import Outcome, Problem, SolverSettings

if TYPE_CHECKING:
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Report


class OmpSettings(SolverSettings):
    """Points found one by one."""

    curve = ("relative misfit", "Misfit of the data relative to the data, after each point")

    algorithm: Literal["omp"]
    series: ClassVar[None] = None  # type: ignore[misc]
    points: Annotated[int, Field(ge=1, le=10000)]
    """The most points that it may find."""
    residual: Literal["noise"] | Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stop once the misfit relative to the data is below, or with `noise` once it is what noise
    leaves."""

    @property
    def uses_noise(self) -> bool:
        """Whether it stops by the noise."""
        return self.residual == "noise"

    @property
    def most_iterations(self) -> int:
        """One iteration a point."""
        return self.points

    @property
    def applications(self) -> int:
        """Two a point."""
        return 2 * self.points

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of the pursuit."""
        return orthogonal_matching_pursuit_bytes(
            batch, self.points, itemsize=itemsize, problems=batch[0]
        )

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Solve a problem."""
        import torch

        from pipeline.solvers.omp import orthogonal_matching_pursuit

        normal = problem.normal
        energy = torch.as_tensor(normal.energy, dtype=torch.float64, device=normal.b.device)
        wanted = (
            problem.known_noise("residual: noise").misfit
            if self.residual == "noise"
            else self.residual * energy.sqrt()
        )
        found = orthogonal_matching_pursuit(
            normal,
            atoms=self.points,
            residual=wanted,
            image_axes=problem.image_axes,
            report=report,
            checkpoint=checkpoint,
        )
        counts = found.iterations.flatten()
        stopped = ["points" if count == self.points else "tolerance" for count in counts]
        last = [history[-1] if history else 1.0 for history in found.histories()]
        ratio = torch.tensor(last, dtype=torch.float64, device=energy.device)
        misfit = energy.flatten() * ratio**2
        return Outcome(found, found.evaluations, 0.5 * misfit, misfit, stopped)


def orthogonal_matching_pursuit_bytes(
    shape: Sequence[int], atoms: int, *, itemsize: int, problems: int = 1
) -> int:
    """Predict the bytes of the solver besides ``b``, of this shape, and the workspace of ``G``.

    Image, correlation, a picked voxel and what ``G`` makes of it, and scores: 4.5 images. Of each
    of the `problems` the equations on the picked voxels, their part in use as torch copies it, and
    solutions.
    """
    equations = 16 * problems * atoms * (3 * atoms + 8)
    return 9 * math.prod(shape) * itemsize // 2 + equations
