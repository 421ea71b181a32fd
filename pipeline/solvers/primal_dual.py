"""A primal-dual method: one application of ``G`` and few of a penalty's transform an iteration."""

import torch

from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State
from pipeline.solvers.descent import descend
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.power import LANCZOS_STEPS
from pipeline.solvers.problems import for_images, norm
from pipeline.solvers.solution import Report, Solution

_STEP = 1.0
"""Step of the image times the bound of the largest eigenvalue. Below 2 it converges; between a half
and one it does so fastest on images of a phantom, and few products find the bound up to 15 % too
small."""


def primal_dual(
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
    """Minimise ``1/2 x^H G x - Re(b^H x) + f(D x)`` by steps of the image and of a dual [1]_ [2]_.

    With steps ``t < 2 / |G|`` and ``s = 1 / (t |D|^2)``

        g  = x - t (G x - b)
        y' = prox of s f*  at  y + s D (g - t D^H y)
        x' = g - t D^H y'

    where the proximal operator of the conjugate follows from that of ``f``, by Moreau.

    Parameters
    ----------
    normal
        ``G`` and ``b``. Axes of ``b`` before those of one image count independent problems: each
        has steps of its own, and rests once it has converged.
    penalty
        ``R(x) = f(D x)``; says which axes make one image.
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
    .. [1] I. Loris, C. Verhoeven, "On a generalization of the iterative soft-thresholding algorithm
       for the case of non-separable penalty", Inverse Probl. 27, 125007 (2011).
    .. [2] P. Chen, J. Huang, X. Zhang, "A primal-dual fixed point algorithm for convex separable
       minimization with applications to image restoration", Inverse Probl. 29, 025011 (2013).
    """
    return descend(
        "primal-dual",
        _Pair,
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


class _Pair:
    """The image ``x`` and the dual ``y``, of the shape of ``D x``."""

    restless = False  # no penalty is shifted here

    def __init__(
        self,
        b: torch.Tensor,
        gram: CountedGram,
        penalty: Penalty,
        bound: torch.Tensor,
        x: torch.Tensor,
    ) -> None:
        self.b, self.gram, self.penalty = b, gram, penalty
        # Without any measurement there is no gradient, and any step will do.
        self.step = torch.where(bound > 0, _STEP / bound, 1.0)
        self.dual_step = 1 / (self.step * penalty.normal_bound)
        self.x, self.y = x, torch.zeros_like(penalty.transform(x))

    def state(self) -> State:
        """Return both."""
        return {"x": self.x, "y": self.y}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self.x, self.y = state["x"], state["y"]

    def advance(self, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a step where a problem is active; return lengths of the change and of the image."""
        penalty, x, y = self.penalty, self.x, self.y
        axes, split_axes = penalty.image_axes, penalty.transform_axes
        step = for_images(self.step, x, axes).to(x.dtype)
        dual_step = for_images(self.dual_step, y, split_axes)
        g = torch.sub(self.b, self.gram(x)).mul_(step).add_(x)
        u = penalty.transform(torch.addcmul(g, penalty.transform_adjoint(y), -step))
        u.mul_(dual_step).add_(y)
        newer_y = u.sub_(penalty.shrink_(u / dual_step, 1 / self.dual_step).mul_(dual_step))
        newer = g.addcmul_(penalty.transform_adjoint(newer_y), -step)
        if not bool(active.all()):
            resting = (~active).double()
            torch.where(for_images(resting, x, axes) > 0, x, newer, out=newer)
            torch.where(for_images(resting, y, split_axes) > 0, y, newer_y, out=newer_y)
        move = x.sub_(newer)
        self.x, self.y = newer, newer_y
        return norm(move, axes), norm(newer, axes)
