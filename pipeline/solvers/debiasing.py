"""Least squares on the support that a sparse penalty has found."""

import dataclasses

from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.problems import positive_settings, problem_axes
from pipeline.solvers.solution import Report, Solution


def debias(
    normal: NormalEquations,
    solution: Solution,
    *,
    image_axes: int,
    threshold: float = 0.0,
    iterations: int = 50,
    residual: float = 1e-6,
    report: Report | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Solution:
    """Solve least squares on the voxels that are not zero, which a sparse penalty has shortened.

    Parameters
    ----------
    solution
        Of a sparse penalty; only where it is not zero matters.
    threshold
        Magnitude, relative to the largest of the image, up to which voxels are left out: with a
        weight at the level of the noise, a few voxels of the sparse image are noise.

    Returns
    -------
    Solution
        Of the conjugate gradients, but for `evaluations`, which are those of both solutions.
    """
    positive_settings("debias", threshold=threshold)
    magnitude = solution.image.abs()
    problem_axes(magnitude, image_axes, "debias")
    largest = magnitude.amax(dim=tuple(range(-image_axes, 0)), keepdim=True)
    support = magnitude > threshold * largest
    del magnitude
    gram = normal.gram
    # Every iterate is zero outside, so only the result of G must be cut.
    restricted = NormalEquations(normal.b * support, lambda x: gram(x) * support, normal.energy)
    refined = conjugate_gradient(
        restricted,
        iterations=iterations,
        residual=residual,
        image_axes=image_axes,
        report=report,
        checkpoint=checkpoint,
    )
    return dataclasses.replace(refined, evaluations=solution.evaluations + refined.evaluations)
