"""Accelerated proximal gradients."""

import torch

from pipeline.operators.inner import inner_product
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, below, restored, within
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.power import LANCZOS_STEPS, largest_eigenvalue
from pipeline.solvers.problems import for_images, norm, positive_settings, problem_axes, quotient
from pipeline.solvers.solution import Report, Solution

_MARGIN = 1.2
"""Over the bound of the largest eigenvalue, which few products find up to 15 % too small. Steps as
long as an eigenvalue allows would let its eigenvector swing to and fro."""


def fista(
    normal: NormalEquations,
    penalty: Penalty,
    *,
    iterations: int,
    change: float = 1e-5,
    lipschitz: float | torch.Tensor | None = None,
    bound_evaluations: int = LANCZOS_STEPS,
    report: Report | None = None,
    start: torch.Tensor | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Solution:
    """Minimise ``1/2 x^H G x - Re(b^H x) + R(x)`` by FISTA [1]_ with optimized gradients [2]_.

    Gradients are taken at the image itself and go further than FISTA's, which halves the bound on
    the error. Momentum that turns uphill begins anew [3]_.

    Parameters
    ----------
    normal
        ``G`` and ``b``. Axes of ``b`` before those of one image count independent problems: each
        has a step length and momentum of its own, and rests once it has converged.
    penalty
        ``R``; says which axes make one image.
    change
        Relative change ``|x_k - x_(k-1)| / |x_k|`` at which a problem has converged.
    lipschitz
        A number no smaller than the largest eigenvalue of ``G``, or one for each problem;
        `largest_eigenvalue` if `None`.
    bound_evaluations
        How often ``G`` is applied to find that number.
    start
        Images to begin with; `None` for zero.

    Returns
    -------
    Solution
        `residuals` are the relative changes, one for each iteration. `evaluations` includes those
        for the largest eigenvalue.

    Raises
    ------
    ConfigError
        If a setting is negative or the penalty's axes do not fit ``b``.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
       inverse problems", SIAM J. Imaging Sci. 2, 183-202 (2009).
    .. [2] A. Taylor, J. Hendrickx, F. Glineur, "Exact worst-case performance of first-order methods
       for composite convex optimization", SIAM J. Optim. 27, 1283-1313 (2017): POGM.
    .. [3] D. Kim, J. A. Fessler, "Adaptive restart of the optimized gradient method for convex
       optimization", J. Optim. Theory Appl. 178, 240-263 (2018).
    """
    positive_settings("FISTA", iterations=iterations, change=change)
    b, image_axes = normal.b, penalty.image_axes
    problems = problem_axes(b, image_axes, "FISTA")
    gram = CountedGram(normal.gram)
    saved = restored(checkpoint, b.device)
    if saved is not None:
        lipschitz = saved["bound"]
        gram.evaluations = int(saved["evaluations"])
    elif lipschitz is None:
        lipschitz = largest_eigenvalue(gram, b, image_axes=image_axes, iterations=bound_evaluations)
    bound = torch.as_tensor(lipschitz, dtype=torch.float64, device=b.device).expand(problems)
    # Without any measurement there is no gradient, and the penalty's minimum is zero.
    x = torch.zeros_like(b) if start is None else start.clone()
    descent = _Descent(b, gram, penalty, quotient(1, _MARGIN * bound), x)
    del x
    active = torch.ones(problems, dtype=torch.bool, device=b.device)
    taken = torch.zeros(problems, dtype=torch.int64, device=b.device)
    relative = torch.zeros(problems, dtype=torch.float64, device=b.device)
    history: list[torch.Tensor] = []
    if saved is not None:
        descent.x, descent.ahead, descent.theta = saved["x"], saved["ahead"], saved["theta"]
        descent.kept = dict(below("penalty", saved))
        taken, history, active = saved["taken"], list(saved["history"]), saved["active"]
        relative = history[-1]

    def state() -> State:
        return {
            **{"x": descent.x, "ahead": descent.ahead, "theta": descent.theta, "bound": bound},
            **{"active": active, "taken": taken, "history": torch.stack(history)},
            **{"evaluations": torch.tensor(gram.evaluations)},
            **within("penalty", descent.kept),
        }

    for iteration in range(len(history) + 1, iterations + 1):
        length, size = descent.advance(active)
        taken += active
        changed = quotient(length, size)
        # From something to nothing is no convergence.
        changed = torch.where((size == 0) & (length > 0), 1.0, changed)
        relative = torch.where(active, changed, relative)
        history.append(relative)
        active = active & (relative > change)
        if report is not None:
            report(iteration, relative.max())
        if not bool(active.any()):
            break
        checkpoint.offer(iteration, state)
    residuals = torch.stack(history) if history else torch.empty((0, *problems))
    return Solution(
        descent.x,
        taken.cpu(),
        residuals.to("cpu", torch.float64),
        gram.evaluations,
        begins_at_zero=False,
    )


class _Descent:
    """The image ``x``, and where the gradient of all led from the one before: ``ahead``."""

    def __init__(
        self,
        b: torch.Tensor,
        gram: CountedGram,
        penalty: Penalty,
        step: torch.Tensor,
        x: torch.Tensor,
    ) -> None:
        self.b, self.gram, self.penalty, self.step = b, gram, penalty, step
        self.x, self.ahead = x, x.clone()
        self.theta = torch.ones_like(step)
        self.kept: dict[str, torch.Tensor] = {}

    def advance(self, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a step where a problem is active; return lengths of the change and of the image."""
        axes, x, ahead = self.penalty.image_axes, self.x, self.ahead
        following = (1 + (1 + 4 * self.theta**2).sqrt()) / 2
        momentum, excess = (self.theta - 1) / following, self.theta / following
        stretch = 1 + momentum + excess
        u = torch.sub(self.b, self.gram(x)).mul_(self._each(self.step)).add_(x)
        # u + momentum (u - ahead) + excess (u - x)
        z = u * self._each(stretch)
        z.addcmul_(ahead, self._each(-momentum)).addcmul_(x, self._each(-excess))
        u.addcmul_(z, self._each(-1 / stretch))
        newer = self.penalty.proximal(z, self.step * stretch, self.kept)
        del z
        if not bool(active.all()):
            torch.where(self._each(active.double()).real > 0, newer, x, out=newer)
        u.addcmul_(newer, self._each(1 / stretch))
        # Differences overwrite what they are of, so that there are never five images.
        back, further = x.sub_(u), ahead.neg_().add_(u)
        uphill = inner_product(back, further, axes) >= 0
        move = back.add_(u).neg_().add_(newer)
        self.x, self.ahead = newer, u.lerp_(newer, self._each(uphill.double()))
        self.theta = torch.where(uphill, 1.0, following)
        return norm(move, axes), norm(newer, axes)

    def _each(self, factors: torch.Tensor) -> torch.Tensor:
        return for_images(factors, self.b, self.penalty.image_axes).to(self.b.dtype)
