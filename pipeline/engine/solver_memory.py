"""What each algorithm holds besides the right-hand side and the normal operator. Pure."""

import math
from collections.abc import Sequence

from pipeline.config.reconstruction import ReconstructionSettings
from pipeline.solvers.admm import admm_bytes
from pipeline.solvers.cg import conjugate_gradient_bytes
from pipeline.solvers.fista import debias_bytes, fista_bytes
from pipeline.solvers.omp import orthogonal_matching_pursuit_bytes
from pipeline.solvers.power import largest_eigenvalue_bytes
from pipeline.solvers.preconditioners import preconditioner_bytes
from pipeline.solvers.unrolled import unrolled_bytes

_LAYERS, _CHANNELS = 16, 32
"""A network is not read to plan: larger ones than this need a larger limit."""


def solver_vectors(
    settings: ReconstructionSettings, batch: Sequence[int], *, itemsize: int, kernels: int
) -> int:
    """Return the bytes of the solver's own vectors.

    Parameters
    ----------
    settings
        How to reconstruct.
    batch
        ``(image, *shape)``, all that are solved for together.
    itemsize
        Bytes of a complex number: 8 or 16.
    kernels
        Kernels of the normal operator, each with a preconditioner of its own.
    """
    image = math.prod(batch) * itemsize
    axes = len(batch) - 1
    differences = settings.penalty == "tv"
    match settings.algorithm:
        case "fista":
            vectors = fista_bytes(batch, itemsize=itemsize, components=axes if differences else 0)
        case "admm":
            vectors = admm_bytes(
                batch,
                itemsize=itemsize,
                components=axes if differences else 1,
                identity=not differences,
            )
        case "omp":
            vectors = orthogonal_matching_pursuit_bytes(
                batch, settings.points or 1, itemsize=itemsize, problems=batch[0]
            )
        case "unrolled":
            vectors = unrolled_bytes(
                batch, itemsize=itemsize, layers=_LAYERS, channels=_CHANNELS, training=False
            )
            vectors = max(vectors, largest_eigenvalue_bytes(batch, itemsize=itemsize))
        case _:
            vectors = conjugate_gradient_bytes(
                batch, itemsize=itemsize, preconditioned=settings.preconditioner != "none"
            )
    if settings.preconditioner != "none":
        resident, setup = preconditioner_bytes(
            batch[1:],
            itemsize=itemsize,
            kronecker=settings.preconditioner == "kronecker",
            frames=kernels,
        )
        vectors = max(vectors + resident, setup)
    if settings.penalty == "wavelet":
        vectors += 3 * image  # the coefficients, and what one level is made of
    if settings.debias:
        vectors = max(vectors, image + debias_bytes(batch, itemsize=itemsize))
    if "discrepancy" in (settings.regularization, settings.sparsity):
        vectors += 2 * image  # the best solution so far, and its residual
    return vectors
