"""Conjugate gradients on normal equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pipeline.errors import ConfigError
from pipeline.solvers.inner import inner_product, inner_product_bytes
from pipeline.solvers.normal import NormalEquations

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Parameters
    ----------
    image
        The solution, where `NormalEquations.b` was.
    iterations
        int64 on the CPU, one for each problem: how many iterations changed it.
    residuals
        float64 on the CPU, ``(iteration, *problems)``: ``|b - G x| / |b|`` before the first
        iteration and after each one.
    """

    image: torch.Tensor
    iterations: torch.Tensor
    residuals: torch.Tensor


def conjugate_gradient(
    normal: NormalEquations,
    *,
    regularization: float | torch.Tensor = 0.0,
    iterations: int,
    residual: float = 0.0,
    image_axes: int,
    report: Report | None = None,
) -> Solution:
    """Minimise ``1/2 x^H G x - Re(b^H x) + regularization / 2 |x|^2`` from zero [1]_.

    Parameters
    ----------
    normal
        ``G`` and ``b``. Axes of ``b`` before the last `image_axes` count independent problems:
        each has step lengths of its own, and rests once it has converged.
    regularization
        Tikhonov weight, absolute: in the units of ``G``; one number, or one for each problem.
    iterations
        Most iterations.
    residual
        Relative residual ``|b - (G + regularization) x| / |b|`` at which a problem has converged.
    image_axes
        Number of trailing axes that make one image.
    report
        Called after every iteration with its number and the largest relative residual.

    Returns
    -------
    Solution
        Image, iterations and residuals. Where ``b`` is zero so is the image.

    Raises
    ------
    ConfigError
        If a setting is negative or `image_axes` does not fit ``b``.

    Notes
    -----
    Iterates stay on the device of ``b``; inner products accumulate in float64. With `residual`
    zero and no `report` the host never waits for the device.

    References
    ----------
    .. [1] M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems",
       J. Res. Natl. Bur. Stand. 49, 409-436 (1952).
    """
    b = normal.b
    weight = torch.as_tensor(regularization, dtype=torch.float64)
    if iterations < 0 or residual < 0 or bool((weight < 0).any()):
        raise ConfigError(
            f"conjugate gradients: found iterations {iterations}, residual {residual} and "
            f"regularization {regularization}; none may be negative."
        )
    if not 0 < image_axes <= b.ndim:
        raise ConfigError(
            f"conjugate gradients: found image_axes {image_axes}, but b has {b.ndim} axes."
        )
    problems = b.shape[: b.ndim - image_axes]

    def each(factors: torch.Tensor) -> torch.Tensor:
        """Shape one factor per problem so that it multiplies images."""
        return factors.to(b.dtype).reshape(*problems, *(1,) * image_axes)

    regularized = bool(weight.any())
    weight = weight.to(b.device).expand(problems)
    x = torch.zeros_like(b)
    r = b.clone()
    p = b.clone()
    rho = inner_product(r, r, image_axes)
    start = rho.clone()
    # Zero where b is zero, so that such problems count as converged from the beginning.
    relative = torch.where(start > 0, 1.0, 0.0).to(torch.float64)
    history = [relative]
    active = relative > residual
    taken = torch.zeros(problems, dtype=torch.int64, device=b.device)
    watched = residual > 0 or report is not None
    for iteration in range(1, iterations + 1):
        if watched and not bool(active.any()):
            break
        q = normal.gram(p)
        curvature = inner_product(p, q, image_axes)
        if regularized:
            curvature += weight * inner_product(p, p, image_axes)
        # A direction without curvature, or a vanished residual, ends a problem without a NaN.
        active = active & (curvature > 0) & (rho > 0)
        alpha = torch.where(active, rho / torch.where(active, curvature, 1.0), 0.0)
        x.addcmul_(p, each(alpha))
        r.addcmul_(q, each(-alpha))
        if regularized:
            r.addcmul_(p, each(-alpha * weight))
        previous, rho = rho, torch.where(active, inner_product(r, r, image_axes), rho)
        beta = torch.where(active, rho / torch.where(active, previous, 1.0), 0.0)
        p.mul_(each(beta)).add_(r)
        taken += active
        relative = torch.where(start > 0, (rho / torch.where(start > 0, start, 1.0)).sqrt(), 0.0)
        history.append(relative)
        active = active & (relative > residual)
        if report is not None:
            report(iteration, float(relative.max()))
    return Solution(x, taken.cpu(), torch.stack(history).cpu())


def conjugate_gradient_bytes(shape: Sequence[int], *, itemsize: int) -> int:
    """Predict the bytes that the solver needs besides ``b`` and the workspace of ``G``.

    Parameters
    ----------
    shape
        Shape of ``b``, all problems together.
    itemsize
        Bytes of a complex number: 8 or 16.

    Returns
    -------
    int
        Solution, residual, direction and ``G`` times the direction.
    """
    return 4 * math.prod(shape) * itemsize + inner_product_bytes()
