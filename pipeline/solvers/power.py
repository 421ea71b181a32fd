"""The largest eigenvalue of a normal operator, from above: the reciprocal of a safe step."""

import torch

from pipeline.operators.inner import inner_product
from pipeline.solvers.normal import Gram
from pipeline.solvers.problems import for_images, norm, problem_axes, quotient

LANCZOS_STEPS = 16
"""Evaluations of ``G`` for a bound."""


def largest_eigenvalue(
    gram: Gram, like: torch.Tensor, *, image_axes: int, iterations: int = LANCZOS_STEPS
) -> torch.Tensor:
    """Bound the largest eigenvalue of ``G`` for each problem.

    Parameters
    ----------
    gram
        ``x -> G x``, Hermitian and positive semidefinite.
    like
        A tensor of the shape, dtype and device of the images; only these are used.
    image_axes
        Number of trailing axes that make one image.

    Returns
    -------
    Tensor
        float64 on the device of `like`, of the shape of the leading axes: the largest Ritz value
        plus its residual [2]_, usually 0 to 3 % above the eigenvalue.

    Notes
    -----
    Powers of ``G`` applied to one start, as in power iteration, but combined by the Lanczos process
    [1]_: a plain power iteration approaches from below, so slowly under the flat spectra of
    Toeplitz operators that its margin would have to be a guess. The start is white noise, always
    the same for the same shape.

    References
    ----------
    .. [1] C. Lanczos, "An iteration method for the solution of the eigenvalue problem of linear
       differential and integral operators", J. Res. Natl. Bur. Stand. 45, 255-282 (1950).
    .. [2] Y. Zhou, R.-C. Li, "Bounding the spectrum of large Hermitian matrices", Linear Algebra
       Appl. 435, 480-493 (2011).
    """
    problems = problem_axes(like, image_axes, "largest eigenvalue")
    generator = torch.Generator().manual_seed(0)
    # The same start for every problem, so that a problem's bound does not depend on the others.
    start = torch.randn(like.shape[len(problems) :], dtype=like.dtype, generator=generator)
    v = start.to(like.device).expand(like.shape).contiguous()
    v.mul_(for_images(1 / norm(v, image_axes), v, image_axes))
    previous = torch.zeros_like(v)
    beta = torch.zeros(problems, dtype=torch.float64, device=like.device)
    diagonal, off_diagonal = [], []
    for _ in range(iterations):
        # The operator may return its argument, which is still needed.
        w = previous.mul_(for_images(-beta, v, image_axes)).add_(gram(v))
        alpha = inner_product(v, w, image_axes)
        w.addcmul_(v, for_images(-alpha, v, image_axes).to(v.dtype))
        beta = norm(w, image_axes)
        diagonal.append(alpha)
        off_diagonal.append(beta)
        # A vanished remainder ends a problem: all that follows is zero, and so no eigenvalue.
        previous, v = v, w.mul_(for_images(quotient(1, beta), v, image_axes))
    tridiagonal = torch.diag_embed(torch.stack(diagonal, -1))
    if iterations > 1:
        between = torch.stack(off_diagonal[:-1], -1)
        tridiagonal += torch.diag_embed(between, 1) + torch.diag_embed(between, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    bound: torch.Tensor = values[..., -1] + beta * vectors[..., -1, -1].abs()
    return bound
