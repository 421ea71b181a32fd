"""Accelerated proximal gradients."""

import torch

from pipeline.operators.inner import inner_product
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, below, restored, within
from pipeline.solvers.costs import BOUND_EVALUATIONS
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.power import largest_eigenvalue
from pipeline.solvers.problems import for_images, norm, positive_settings, problem_axes, quotient
from pipeline.solvers.solution import Report, Solution


def fista(
    normal: NormalEquations,
    penalty: Penalty,
    *,
    iterations: int,
    change: float = 1e-5,
    lipschitz: float | torch.Tensor | None = None,
    report: Report | None = None,
    start: torch.Tensor | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Solution:
    """Minimise ``1/2 x^H G x - Re(b^H x) + R(x)`` by greedy FISTA [1]_ [2]_.

    Each step begins as far ahead as the last one went, until one turns uphill [3]_: then they start
    anew.

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
    start
        Images to begin with; `None` for zero.

    Returns
    -------
    Solution
        `residuals` are the relative changes, one for each iteration. `evaluations` includes those
        for the largest eigenvalue, `BOUND_EVALUATIONS`.

    Raises
    ------
    ConfigError
        If a setting is negative or the penalty's axes do not fit ``b``.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
       inverse problems", SIAM J. Imaging Sci. 2, 183-202 (2009).
    .. [2] J. Liang, T. Luo, C.-B. Schönlieb, "Improving 'Fast Iterative Shrinkage-Thresholding
       Algorithm': faster, smarter, and greedier", SIAM J. Sci. Comput. 44, A1069-A1091 (2022).
    .. [3] B. O'Donoghue, E. Candès, "Adaptive restart for accelerated gradient schemes", Found.
       Comput. Math. 15, 715-732 (2015).
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
        lipschitz = largest_eigenvalue(gram, b, image_axes=image_axes, iterations=BOUND_EVALUATIONS)
    bound = torch.as_tensor(lipschitz, dtype=torch.float64, device=b.device).expand(problems)
    # Without any measurement there is no gradient, and the penalty's minimum is zero.
    step = quotient(1, bound)

    def each(factors: torch.Tensor) -> torch.Tensor:
        return for_images(factors, b, image_axes)

    x = torch.zeros_like(b) if start is None else start
    ahead = x.clone()
    active = torch.ones(problems, dtype=torch.bool, device=b.device)
    taken = torch.zeros(problems, dtype=torch.int64, device=b.device)
    relative = torch.zeros(problems, dtype=torch.float64, device=b.device)
    history: list[torch.Tensor] = []
    kept = {} if saved is None else dict(below("penalty", saved))
    if saved is not None:
        x, ahead, active = (saved[name] for name in ("x", "ahead", "active"))
        taken, history = saved["taken"], list(saved["history"])
        relative = history[-1]

    def state() -> State:
        return {
            **{"x": x, "ahead": ahead, "active": active, "taken": taken},
            **{"history": torch.stack(history), "bound": bound},
            **{"evaluations": torch.tensor(gram.evaluations), **within("penalty", kept)},
        }

    for iteration in range(len(history) + 1, iterations + 1):
        # A problem at rest takes no step, neither along its gradient nor to its penalty.
        newer = torch.sub(b, gram(ahead)).mul_(each(step)).add_(ahead)
        newer = penalty.proximal(newer, step, kept)
        if not bool(active.all()):
            newer = torch.where(each(active) > 0, newer, x)
        taken += active
        # `ahead` becomes x_(k-1) + ... only below; here it still is the point of the gradient.
        move = newer - x
        uphill = inner_product(ahead.sub_(newer), move, image_axes) > 0
        length, size = norm(move, image_axes), norm(newer, image_axes)
        ahead = move.mul_(each((~uphill).double())).add_(newer)
        x = newer
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
        x,
        taken.cpu(),
        residuals.to("cpu", torch.float64),
        gram.evaluations,
        begins_at_zero=False,
    )
