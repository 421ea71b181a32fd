"""From normal equations to images, by the algorithm that the settings name."""

import torch
from torch import Tensor

from pipeline.config.reconstruction import ReconstructionSettings
from pipeline.reconstruction.job import BlockJob
from pipeline.solvers.cg import Solution, conjugate_gradient
from pipeline.solvers.fista import debias, fista
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.penalties import L1

Histories = list[list[float]]
"""For each image, what the solver watched after each iteration."""


def solve(
    job: BlockJob, normal: NormalEquations, diagonal: Tensor, *, image_axes: int
) -> tuple[Tensor, Histories]:
    """Return the images ``(image, *shape)`` and what the solver watched.

    Parameters
    ----------
    job
        The job, whose settings name the algorithm.
    normal
        Normal equations of a batch of images, ``b`` of shape ``(image, *shape)``.
    diagonal
        float64 ``(image,)``: diagonal of the normal operator for unit sensitivities.
    image_axes
        Number of axes of one image.
    """
    with job.phase("solve"):
        solution = _solution(job.settings, normal, diagonal, image_axes)
    job.receipt.record(operator_evaluations=solution.evaluations)
    histories = [
        residuals[1 : 1 + int(count)].tolist()
        for residuals, count in zip(solution.residuals.T, solution.iterations, strict=True)
    ]
    return solution.image, histories


def _solution(
    settings: ReconstructionSettings, normal: NormalEquations, diagonal: Tensor, image_axes: int
) -> Solution:
    if settings.algorithm in ("cg-sense", "tikhonov"):
        return conjugate_gradient(
            normal,
            regularization=settings.regularization * diagonal,
            iterations=settings.iterations,
            residual=settings.residual,
            image_axes=image_axes,
        )
    brightest = normal.b.abs().flatten(1).amax(1).to(torch.float64)
    weight = settings.sparsity * float(brightest.max())
    sparse = fista(normal, L1(weight, image_axes), iterations=settings.iterations)
    return debias(normal, sparse, image_axes=image_axes) if settings.debias else sparse
