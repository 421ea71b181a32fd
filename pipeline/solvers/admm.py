"""The alternating direction method of multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.errors import ConfigError
from pipeline.operators.inner import inner_product
from pipeline.solvers.cg import Preconditioner, improve
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, restored
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.problems import for_images, norm, positive_settings, problem_axes
from pipeline.solvers.solution import Report, Solution

ExactSolver = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``(rhs, rho) -> (G + rho D^H D)^-1 rhs`` with one float64 ``rho`` for each problem."""

_FACTOR = 2.0
"""By how much the penalty parameter changes at a time (tau of Boyd et al., 3.4.1)."""


@dataclass(frozen=True, kw_only=True)
class SplitSolution(Solution):
    """What ADMM found; `residuals` are the larger of two: 1 or less is converged."""

    primal: torch.Tensor
    """float64 on the CPU, ``(iteration, *problems)``: ``|D x - z|`` over what is allowed for it."""
    dual: torch.Tensor
    """Likewise ``rho |D^H (z - z_old)|``."""
    rho: torch.Tensor
    """float64 on the CPU, one for each problem: the last penalty parameter."""


def admm(
    normal: NormalEquations,
    penalty: Penalty,
    *,
    iterations: int,
    rho: float | torch.Tensor = 1.0,
    balance: float = 10.0,
    absolute: float = 1e-4,
    relative: float = 1e-3,
    relaxation: float = 1.6,
    exact_solver: ExactSolver | None = None,
    preconditioner: Preconditioner | None = None,
    inner_iterations: int = 20,
    inner_residual: float = 1e-4,
    report: Report | None = None,
    start: torch.Tensor | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> SplitSolution:
    """Minimise ``1/2 x^H G x - Re(b^H x) + f(z)`` subject to ``D x = z`` [1]_.

    Parameters
    ----------
    normal
        ``G`` and ``b``. Axes of ``b`` before those of one image count independent problems: each
        has a parameter and a stopping rule of its own, and rests once it has converged.
    penalty
        ``R(x) = f(D x)``; says which axes make one image.
    rho
        First penalty parameter, in the units of ``G``; one number or one for each problem.
        The mean diagonal of ``G`` is a good one.
    balance
        Ratio of the residuals, each relative to what is allowed, at which `rho` doubles or halves
        ([1]_, 3.4.1) during the first half of the iterations; infinite for never.
    absolute, relative
        Tolerances of Boyd's stopping rule ([1]_, 3.3.1). The absolute one is in units of the root
        mean square of the first ``x`` (primal) and of ``b`` (dual), so that it means the same
        whatever the scale of the data.
    relaxation
        Over-relaxation, 1 to 1.8 ([1]_, 3.4.3).
    exact_solver
        ``(rhs, rho) -> (G + rho D^H D)^-1 rhs``, such as `kronecker_solver`. `None` for conjugate
        gradients that continue from the last image and its residual.
    preconditioner
        Of these conjugate gradients, ``M`` near ``G + rho D^H D``.
    inner_iterations
        Most iterations of conjugate gradients in an update.
    inner_residual
        Residual relative to ``|b|`` at which an update ends, or is not even begun.
    start
        Images to begin with, and ``z`` with their transform; `None` for zero.

    Returns
    -------
    SplitSolution
        The image is ``z``, which is exactly sparse, where ``D`` is the identity; otherwise ``x``.

    Raises
    ------
    ConfigError
        If a setting is out of range or the penalty's axes do not fit ``b``.

    References
    ----------
    .. [1] S. Boyd, N. Parikh, E. Chu, B. Peleato, J. Eckstein, "Distributed optimization and
       statistical learning via the alternating direction method of multipliers", Found. Trends
       Mach. Learn. 3, 1-122 (2011).
    """
    positive_settings(
        "ADMM",
        iterations=iterations,
        absolute=absolute,
        relative=relative,
        inner_iterations=inner_iterations,
        inner_residual=inner_residual,
    )
    if not (0 < relaxation < 2 and balance > 1):
        raise ConfigError(
            f"ADMM: found relaxation {relaxation} and balance {balance}; relaxation must lie "
            "between 0 and 2, and balance above 1."
        )
    problem_axes(normal.b, penalty.image_axes, "ADMM")
    gram = CountedGram(normal.gram)
    saved = restored(checkpoint, normal.b.device)
    first_rho = _first_rho(normal.b, penalty, rho) if saved is None else saved["rho"]
    update = (
        _Conjugate(normal.b, gram, penalty, preconditioner, inner_iterations, inner_residual)
        if exact_solver is None
        else _Exact(normal.b, penalty, exact_solver)
    )
    splitting = _Splitting(normal.b, penalty, update, first_rho, absolute, relative, relaxation)
    primal: list[torch.Tensor] = []
    dual: list[torch.Tensor] = []
    if saved is None and start is not None:
        splitting.begin(start, gram)
    if saved is not None:
        splitting.restore(saved)
        primal, dual = list(saved["primal_history"]), list(saved["dual_history"])
        gram.evaluations = int(saved["evaluations"])

    def state() -> State:
        return {
            **splitting.state(),
            **{"primal_history": torch.stack(primal), "dual_history": torch.stack(dual)},
            "evaluations": torch.tensor(gram.evaluations),
        }

    for iteration in range(len(primal) + 1, iterations + 1):
        splitting.iterate()
        primal.append(splitting.primal)
        dual.append(splitting.dual)
        if report is not None:
            report(iteration, torch.maximum(primal[-1], dual[-1]).max())
        if not bool(splitting.active.any()):
            break
        if 2 * iteration <= iterations:
            splitting.balance(balance)
        checkpoint.offer(iteration, state)
    primal_history, dual_history = (
        torch.stack(values).cpu() if values else torch.empty((0, *first_rho.shape))
        for values in (primal, dual)
    )
    return SplitSolution(
        splitting.z if penalty.identity else splitting.x,
        splitting.taken.cpu(),
        torch.maximum(primal_history, dual_history),
        gram.evaluations,
        begins_at_zero=False,
        primal=primal_history,
        dual=dual_history,
        rho=splitting.rho.cpu(),
    )


def _first_rho(b: torch.Tensor, penalty: Penalty, rho: float | torch.Tensor) -> torch.Tensor:
    found = torch.as_tensor(rho, dtype=torch.float64, device=b.device)
    if not bool((found > 0).all()):
        raise ConfigError(f"ADMM: found rho {rho}; it must be positive.")
    return found.expand(b.shape[: b.ndim - penalty.image_axes]).clone()


class _Splitting:
    """The iterates of ADMM in scaled form, ``u`` the scaled dual variable."""

    _STATE = ("x", "z", "u", "rho", "active", "taken", "primal", "dual")

    def __init__(
        self,
        b: torch.Tensor,
        penalty: Penalty,
        update: _Conjugate | _Exact,
        rho: torch.Tensor,
        absolute: float,
        relative: float,
        relaxation: float,
    ) -> None:
        self.b, self.penalty, self.update, self.rho = b, penalty, update, rho
        self.absolute, self.relative, self.relaxation = absolute, relative, relaxation
        self.axes, self.split_axes = penalty.image_axes, penalty.transform_axes
        self.x = torch.zeros_like(b)
        self.z = torch.zeros_like(penalty.transform(self.x))
        self.u = torch.zeros_like(self.z)
        self.active = torch.ones_like(rho, dtype=torch.bool)
        self.taken = torch.zeros_like(rho, dtype=torch.int64)
        self.primal = self.dual = torch.zeros_like(rho)
        self.voxels = math.prod(b.shape[b.ndim - self.axes :])
        self.entries = math.prod(self.z.shape[self.z.ndim - self.split_axes :])
        self.dual_floor = absolute * norm(b, self.axes)
        self.primal_floor: torch.Tensor | None = None

    def state(self) -> State:
        """Return what the next iteration depends on."""
        floor = {} if self.primal_floor is None else {"primal_floor": self.primal_floor}
        return {**{name: getattr(self, name) for name in self._STATE}, **floor, **self.update.kept}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self.primal_floor = state.get("primal_floor")
        self.update.kept = {name: state[name] for name in self.update.kept}

    def begin(self, x: torch.Tensor, gram: CountedGram) -> None:
        """Begin with ``x``, ``z = D x``, and where ``D`` is the identity the ``u`` of a minimum."""
        self.x, self.z = x.clone(), self.penalty.transform(x).clone()
        left = self.b - gram(x)
        if self.penalty.identity:
            self.u = left / for_images(self.rho, left, self.axes)
            left = torch.zeros_like(left)
        if "residual" in self.update.kept:
            self.update.kept = {"residual": left}

    def iterate(self) -> None:
        """Update ``x``, ``z`` and ``u`` of the problems that have not converged."""
        penalty, rho = self.penalty, self.rho
        self.x = self.update(self)
        transformed = penalty.transform(self.x)
        # What is relaxed becomes u; z is what the penalty leaves of it.
        u = torch.lerp(self.z, transformed, self.relaxation).add_(self.u)
        z = penalty.shrink_(u.clone(), 1 / rho)
        u.sub_(z)
        if not bool(self.active.all()):
            resting = for_images((~self.active).double(), z, self.split_axes) > 0
            torch.where(resting, self.z, z, out=z)
            torch.where(resting, self.u, u, out=u)
        # The old ones become the changes, which both the update and the dual residual need.
        moved_z, moved_u = self.z.neg_().add_(z), self.u.neg_().add_(u)
        self.z, self.u = z, u
        self._measure(transformed, penalty.transform_adjoint(moved_z))
        self.update.moved(moved_z.sub_(moved_u), rho)

    def _measure(self, transformed: torch.Tensor, moved: torch.Tensor) -> None:
        """Compare both residuals with what is allowed; `moved` is ``D^H (z - z_old)``."""
        rho, axes = self.rho, self.split_axes
        if self.primal_floor is None:
            size = norm(self.x, self.axes) / math.sqrt(self.voxels)
            self.primal_floor = self.absolute * size * math.sqrt(self.entries)
        xx = inner_product(transformed, transformed, axes)
        zz = inner_product(self.z, self.z, axes)
        # |Dx - z|^2 without the difference in memory: float64 resolves 1e-8 of |z|.
        gap = (xx + zz - 2 * inner_product(transformed, self.z, axes)).clamp(min=0).sqrt()
        multiplier = rho * norm(self.penalty.transform_adjoint(self.u), self.axes)
        allowed_primal = self.primal_floor + self.relative * torch.maximum(xx, zz).sqrt()
        allowed_dual = self.dual_floor + self.relative * multiplier
        primal = _ratio(gap, allowed_primal)
        dual = _ratio(rho * norm(moved, self.axes), allowed_dual)
        self.taken += self.active
        self.primal = torch.where(self.active, primal, self.primal)
        self.dual = torch.where(self.active, dual, self.dual)
        self.active = self.active & (torch.maximum(self.primal, self.dual) > 1)

    def balance(self, ratio: float) -> None:
        """Change the penalty parameter where one residual is much larger than the other."""
        raised = self.active & (self.primal > ratio * self.dual)
        lowered = self.active & (self.dual > ratio * self.primal)
        if not bool((raised | lowered).any()):
            return
        factor = torch.where(raised, _FACTOR, torch.where(lowered, 1 / _FACTOR, 1.0))
        self.update.rescaled(self, self.rho * (factor - 1))
        self.rho = self.rho * factor
        self.u.mul_(for_images(1 / factor, self.u, self.split_axes))


def _ratio(found: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Return how many times too large a residual is; nothing is as it should be."""
    return torch.where(found > 0, found / allowed, 0.0)


class _Conjugate:
    """``x`` by conjugate gradients on ``G + rho D^H D``, from where it was.

    The residual of the last update is kept, and corrected for what has changed since on the right
    (and for ``rho``); so no update evaluates ``G`` merely to learn where it starts.
    """

    def __init__(
        self,
        b: torch.Tensor,
        gram: CountedGram,
        penalty: Penalty,
        preconditioner: Preconditioner | None,
        iterations: int,
        residual: float,
    ) -> None:
        self.gram, self.penalty, self.preconditioner = gram, penalty, preconditioner
        self.iterations, self.tolerance = iterations, residual
        self.scale = norm(b, penalty.image_axes)
        self.kept: State = {"residual": b.clone()}

    def __call__(self, at: _Splitting) -> torch.Tensor:
        penalty, axes = self.penalty, self.penalty.image_axes
        weight = for_images(at.rho, at.x, axes)

        def gram(p: torch.Tensor) -> torch.Tensor:
            if penalty.identity:  # its share is `regularization`, which needs no temporary
                return self.gram(p)
            return penalty.transform_normal(p).mul_(weight).add_(self.gram(p))

        improve(
            at.x,
            self.kept["residual"],
            gram,
            regularization=at.rho if penalty.identity else None,
            scale=torch.where(at.active, self.scale, 0.0),  # where it is zero a problem rests
            iterations=self.iterations,
            residual=self.tolerance,
            image_axes=axes,
            preconditioner=self.preconditioner,
        )
        return at.x

    def moved(self, change: torch.Tensor, rho: torch.Tensor) -> None:
        """Correct the residual for a change of ``z - u``."""
        change = self.penalty.transform_adjoint(change)
        self.kept["residual"].add_(change.mul_(for_images(rho, change, self.penalty.image_axes)))

    def rescaled(self, at: _Splitting, change: torch.Tensor) -> None:
        """Correct the residual for a change of ``rho`` under which ``rho u`` stays."""
        gap = self.penalty.transform_adjoint(at.z - self.penalty.transform(at.x))
        self.kept["residual"].add_(gap.mul_(for_images(change, gap, self.penalty.image_axes)))


class _Exact:
    """``x`` by the solver that the caller gave."""

    def __init__(self, b: torch.Tensor, penalty: Penalty, solver: ExactSolver) -> None:
        self.b, self.penalty, self.solver = b, penalty, solver
        self.kept: State = {}

    def __call__(self, at: _Splitting) -> torch.Tensor:
        axes = self.penalty.image_axes
        wanted = self.penalty.transform_adjoint(at.z - at.u)
        wanted = wanted.mul_(for_images(at.rho, at.x, axes)).add_(self.b)
        solved = self.solver(wanted, at.rho)
        if bool(at.active.all()):
            return solved
        return torch.where(for_images(at.active.double(), at.x, axes) > 0, solved, at.x)

    def moved(self, change: torch.Tensor, rho: torch.Tensor) -> None:
        """Nothing is kept."""

    def rescaled(self, at: _Splitting, change: torch.Tensor) -> None:
        """Nothing is kept."""
