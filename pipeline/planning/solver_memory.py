"""What each algorithm holds besides the right-hand side and the normal operator. Pure."""

import math

from pipeline.config.reconstruction import ReconstructionSettings
from pipeline.solvers.admm import admm_bytes
from pipeline.solvers.cg import conjugate_gradient_bytes
from pipeline.solvers.fista import debias_bytes, fista_bytes
from pipeline.solvers.omp import orthogonal_matching_pursuit_bytes


def solver_vectors(
    settings: ReconstructionSettings, batch: tuple[int, ...], *, itemsize: int
) -> int:
    """Return the bytes of the solver's own vectors.

    Parameters
    ----------
    settings
        How to reconstruct.
    batch
        ``(image, *shape)``.
    itemsize
        Bytes of a complex number: 8 or 16.
    """
    axes = len(batch) - 1
    total_variation = settings.penalty == "tv"
    vectors = 0
    match settings.algorithm:
        case "fista":
            vectors = fista_bytes(
                batch, itemsize=itemsize, components=axes if total_variation else 0
            )
        case "admm":
            vectors = admm_bytes(
                batch,
                itemsize=itemsize,
                components=axes if total_variation else 1,
                identity=not total_variation,
            )
        case "omp":
            vectors = orthogonal_matching_pursuit_bytes(
                batch, settings.points or 1, itemsize=itemsize, problems=batch[0]
            )
        case _:
            vectors = conjugate_gradient_bytes(
                batch, itemsize=itemsize, preconditioned=settings.preconditioner != "none"
            )
    if settings.debias:
        solution = math.prod(batch) * itemsize
        vectors = max(vectors, solution + debias_bytes(batch, itemsize=itemsize))
    return vectors
