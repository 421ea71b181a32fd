"""Conjugate gradients on normal equations, preconditioned where asked."""

from collections.abc import Callable

import torch

from pipeline.errors import ConfigError
from pipeline.operators.inner import inner_product
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, restored
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.solvers.problems import for_images, problem_axes, quotient
from pipeline.solvers.solution import Report, Solution

Preconditioner = Callable[[torch.Tensor], torch.Tensor]
"""``r -> M^-1 r``, Hermitian and positive definite, ``M`` near ``G + regularization``."""


def conjugate_gradient(
    normal: NormalEquations,
    *,
    regularization: float | torch.Tensor = 0.0,
    prior: Gram | None = None,
    iterations: int,
    residual: float = 0.0,
    change: float = 0.0,
    image_axes: int,
    preconditioner: Preconditioner | None = None,
    report: Report | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Solution:
    """Minimise ``1/2 x^H (G + P) x - Re(b^H x) + regularization / 2 |x|^2`` from zero [1]_.

    Parameters
    ----------
    normal
        ``G`` and ``b``. Axes of ``b`` before the last `image_axes` count independent problems:
        each has step lengths of its own, and rests once it has converged.
    regularization
        Tikhonov weight, absolute: in the units of ``G``; one number, or one for each problem.
    prior
        ``P``: ``x -> P x``, Hermitian and positive semidefinite, into a tensor of its own; `None`
        for none.
    residual
        Relative residual ``|b - (G + P + regularization) x| / |b|`` at which a problem has
        converged.
    change
        Relative change of the image in an iteration at which it has; in the norm of the operator,
        in which conjugate gradients lessen the error, the squared changes of all iterations to come
        add up to the squared error ([1]_, theorem 6:1).
    image_axes
        Number of trailing axes that make one image.
    preconditioner
        ``r -> M^-1 r`` as those of `pipeline.solvers.circulant_preconditioners`; it must not modify
        ``r``. The residuals remain those of the system itself.

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
    Iterates stay on the device of ``b``; inner products accumulate in float64. With `residual` and
    `change` zero the host never waits for the device.

    References
    ----------
    .. [1] M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems",
       J. Res. Natl. Bur. Stand. 49, 409-436 (1952).
    """
    b = normal.b
    weight = torch.as_tensor(regularization, dtype=torch.float64)
    if min(iterations, residual, change) < 0 or bool((weight < 0).any()):
        raise ConfigError(
            f"conjugate gradients: found iterations {iterations}, residual {residual}, change "
            f"{change} and regularization {regularization}; none may be negative."
        )
    plain = normal.gram

    def with_prior(p: torch.Tensor) -> torch.Tensor:
        assert prior is not None
        return prior(p).add_(plain(p))

    problems = problem_axes(b, image_axes, "conjugate gradients")
    x, r = torch.zeros_like(b), b.clone()
    taken, history = improve(
        x,
        r,
        plain if prior is None else with_prior,
        regularization=weight.to(b.device).expand(problems) if bool(weight.any()) else None,
        scale=inner_product(b, b, image_axes).sqrt(),
        iterations=iterations,
        residual=residual,
        change=change,
        image_axes=image_axes,
        preconditioner=preconditioner,
        report=report,
        checkpoint=checkpoint,
    )
    return Solution(x, taken.cpu(), history.cpu(), evaluations=len(history) - 1)


def improve(
    x: torch.Tensor,
    r: torch.Tensor,
    gram: Gram,
    *,
    regularization: torch.Tensor | None = None,
    scale: torch.Tensor,
    iterations: int,
    residual: float,
    change: float = 0.0,
    image_axes: int,
    preconditioner: Preconditioner | None = None,
    report: Report | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do iterations of conjugate gradients from any start, in place.

    Who keeps ``x`` and ``r`` and corrects ``r`` for a new right-hand side starts again where it
    was, without an evaluation of ``G`` for the first residual.

    Parameters
    ----------
    x, r
        Estimate and its residual ``b - (G + regularization) x``; both are overwritten.
    gram
        ``x -> G x``.
    regularization
        float64, one for each problem, on the device of `x`; `None` for none.
    scale
        float64, one for each problem: what residuals are relative to. Where it is zero a problem
        counts as converged.

    Returns
    -------
    taken : Tensor
        int64, one for each problem: the iterations that changed it.
    history : Tensor
        float64, ``(iteration, *problems)``: relative residuals, the first of them the start's.
    """

    def each(factors: torch.Tensor) -> torch.Tensor:
        return for_images(factors, x, image_axes).to(x.dtype)

    saved = restored(checkpoint, x.device)
    if saved is None:
        # The direction is overwritten: it must not be the residual, nor what an identity returns.
        z = r if preconditioner is None else preconditioner(r)
        p = z.clone()
        rr = inner_product(r, r, image_axes)
        rho = rr if preconditioner is None else inner_product(r, z, image_axes)
        relative = quotient(rr.sqrt(), scale)
        history = [relative]
        active = relative > residual
        taken = torch.zeros(rr.shape, dtype=torch.int64, device=x.device)
        gained = torch.zeros_like(rr)
    else:
        for kept, before in ((x, saved["x"]), (r, saved["r"])):
            kept.copy_(before)
        p, rr, rho, gained = saved["p"], saved["rr"], saved["rho"], saved["gained"]
        history, active, taken = list(saved["history"]), saved["active"], saved["taken"]

    def state() -> State:
        return {
            **{"x": x, "r": r, "p": p, "rr": rr, "rho": rho, "gained": gained},
            **{"history": torch.stack(history), "active": active, "taken": taken},
        }

    for iteration in range(len(history), iterations + 1):
        if max(residual, change) > 0 and not bool(active.any()):
            break
        q = gram(p)
        curvature = inner_product(p, q, image_axes)
        if regularization is not None:
            curvature += regularization * inner_product(p, p, image_axes)
        # A direction without curvature, or a vanished residual, ends a problem without a NaN.
        active = active & (curvature > 0) & (rho > 0)
        alpha = torch.where(active, rho / torch.where(active, curvature, 1.0), 0.0)
        x.addcmul_(p, each(alpha))
        gained = gained + alpha * rho  # squared lengths of the steps
        r.addcmul_(q, each(-alpha))
        if regularization is not None:
            r.addcmul_(p, each(-alpha * regularization))
        del q  # before the next one is made
        rr = torch.where(active, inner_product(r, r, image_axes), rr)
        if preconditioner is None:
            z, previous, rho = r, rho, rr
        else:
            z = preconditioner(r)
            previous, rho = rho, torch.where(active, inner_product(r, z, image_axes), rho)
        beta = torch.where(active, rho / torch.where(active, previous, 1.0), 0.0)
        p.mul_(each(beta)).add_(z)
        taken += active
        relative = quotient(rr.sqrt(), scale)
        history.append(relative)
        active = active & (relative > residual)
        if change > 0:
            active = active & (alpha * previous > change**2 * gained)
        if report is not None:
            report(iteration, relative.max())
        checkpoint.offer(iteration, state)
    return taken, torch.stack(history)
