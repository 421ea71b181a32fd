"""Accelerated proximal gradients."""

import torch

from pipeline.operators.inner import inner_product
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, below, within
from pipeline.solvers.descent import descend
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.power import LANCZOS_STEPS
from pipeline.solvers.problems import for_images, norm, quotient
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
        Relative change ``|x_k - x_(k-1)| / |x_k|`` at which a problem has converged. One with a
        restless penalty also has where several steps together lead hardly further than one.
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
    return descend(
        "FISTA",
        _Descent,
        normal,
        penalty,
        iterations=iterations,
        change=change,
        lipschitz=lipschitz,
        bound_evaluations=bound_evaluations,
        report=report,
        start=start,
        checkpoint=checkpoint,
    )


class _Descent:
    """The image ``x``, and where the gradient of all led from the one before: ``ahead``."""

    def __init__(
        self,
        b: torch.Tensor,
        gram: CountedGram,
        penalty: Penalty,
        bound: torch.Tensor,
        x: torch.Tensor,
    ) -> None:
        self.b, self.gram, self.penalty = b, gram, penalty
        # Without any measurement there is no gradient, and the penalty's minimum is zero.
        self.step = quotient(1, _MARGIN * bound)
        self.x, self.ahead = x, x.clone()
        self.theta = torch.ones_like(self.step)
        self.kept: dict[str, torch.Tensor] = {}
        self.restless = penalty.restless

    def state(self) -> State:
        """Return what the next step depends on."""
        own = {"x": self.x, "ahead": self.ahead, "theta": self.theta}
        return {**own, **within("penalty", self.kept)}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.x, self.ahead, self.theta = state["x"], state["ahead"], state["theta"]
        self.kept = dict(below("penalty", state))

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
