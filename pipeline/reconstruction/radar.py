"""What all RF reconstructions share once their measurements are normal equations."""

from torch import Tensor

from pipeline.config.reconstruction import ReconstructionSettings
from pipeline.reconstruction.job import BlockJob, histories_of
from pipeline.solvers.cg import Solution, conjugate_gradient
from pipeline.solvers.fista import debias, fista
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.penalties import L1


def solve(job: BlockJob, normal: NormalEquations, diagonal: float) -> tuple[Tensor, list[float]]:
    """Return the image of one frame by the job's algorithm, and its residuals.

    Parameters
    ----------
    job
        The job.
    normal
        Normal equations of one image, ``b`` of shape ``(1, *shape)``.
    diagonal
        Diagonal of the normal operator: what a scatterer of amplitude 1 adds to ``b``.
    """
    with job.phase("solve"):
        solution = _solution(job.settings, normal, diagonal)
    job.receipt.record(operator_evaluations=solution.evaluations)
    return solution.image[0], histories_of(solution)[0]


def _solution(
    settings: ReconstructionSettings, normal: NormalEquations, diagonal: float
) -> Solution:
    axes = normal.b.ndim - 1
    if settings.algorithm == "tikhonov":
        return conjugate_gradient(
            normal,
            regularization=settings.regularization * diagonal,
            iterations=settings.iterations,
            residual=settings.residual,
            image_axes=axes,
        )
    weight = settings.sparsity * float(normal.b.abs().max())
    sparse = fista(normal, L1(weight, axes), iterations=settings.iterations)
    return debias(normal, sparse, image_axes=axes) if settings.debias else sparse
