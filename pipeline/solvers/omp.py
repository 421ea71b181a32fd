"""Orthogonal matching pursuit that sees normal equations only."""

import math
from collections.abc import Callable
from typing import Any

import torch

from pipeline.errors import ConfigError
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Checkpoint, State, restored
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.problems import positive_settings, problem_axes, quotient
from pipeline.solvers.solution import Report, Solution

Entries = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``(rows, column) -> G[rows, column]`` of flat voxel indices.

`rows` is int64 ``(problem, atom)``, `column` ``(problem, 1)``; the result is ``(problem, atom)``.
"""

_DEPENDENT = 1e-10
"""Share of an atom's energy outside the span of the others below which it adds nothing."""


def orthogonal_matching_pursuit(
    normal: NormalEquations,
    *,
    atoms: int,
    residual: float | torch.Tensor = 0.0,
    image_axes: int,
    diagonal: torch.Tensor | None = None,
    entries: Entries | None = None,
    report: Report | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> Solution:
    """Pick voxels one by one, each time solving least squares on all that were picked [1]_.

    Parameters
    ----------
    normal
        ``G``, ``b`` and, for `residual`, the energy. Axes of ``b`` before the last `image_axes`
        count independent problems.
    atoms
        Most voxels.
    residual
        Norm of the residual ``|W^(1/2) (A x - y)|`` at which a problem ends: ``sigma sqrt(M)`` of
        ``M`` measurements with the noise ``sigma``. One number or one for each problem. It is
        computed as a difference from the energy, which single precision resolves to a thousandth of
        ``|y|``.
    image_axes
        Number of trailing axes that make one image.
    diagonal
        Diagonal of ``G``, the squared norms of the atoms, real, broadcasting against ``b``; `None`
        if they are all the same, as those of a Toeplitz operator are.
    entries
        Entries of ``G``, if there is a cheaper way to them than a column: for a Toeplitz operator
        the kernel at the differences of the voxels. `None` evaluates ``G`` on the picked voxel.

    Returns
    -------
    Solution
        `iterations` are the atoms of each problem, `residuals` ``|W^(1/2) (A x - y)|`` relative to
        that of the zero image, that one first; zeros without an energy. Each atom takes two
        evaluations of ``G``, or one with `entries`.

    Raises
    ------
    ConfigError
        If a setting is negative, `image_axes` does not fit ``b``, or a residual is asked for
        without an energy.

    Notes
    -----
    The residual in image space, ``b - G x``, is all that picking needs, so atoms are never formed
    [2]_. The picked entries of ``G`` are factored by Cholesky's method, one row an atom, in double
    precision. An atom that depends on the others ends its problem.

    References
    ----------
    .. [1] Y. C. Pati, R. Rezaiifar, P. S. Krishnaprasad, "Orthogonal matching pursuit: recursive
       function approximation with applications to wavelet decomposition", Proc. 27th Asilomar
       Conf. Signals Syst. Comput., 40-44 (1993).
    .. [2] R. Rubinstein, M. Zibulevsky, M. Elad, "Efficient implementation of the K-SVD algorithm
       using batch orthogonal matching pursuit", Technion CS-2008-08 (2008).
    """
    b = normal.b
    problem_shape = problem_axes(b, image_axes, "OMP")
    wanted = torch.as_tensor(residual, dtype=torch.float64, device=b.device)
    positive_settings("OMP", atoms=atoms, residual=float(wanted.min()))
    energy = torch.as_tensor(normal.energy, dtype=torch.float64, device=b.device)
    measured = bool((energy > 0).any())
    if bool((wanted > 0).any()) and not measured:
        raise ConfigError(
            "OMP: a residual was asked for, but the normal equations have no energy; give "
            "sum |y|^2 as `energy`, or stop by the number of atoms."
        )
    problems = math.prod(problem_shape)
    energy = energy.expand(problem_shape).reshape(problems)
    wanted = wanted.expand(problem_shape).reshape(problems)
    gram = CountedGram(normal.gram)
    pursuit = _Pursuit(normal.b, problems, atoms, gram, diagonal, entries)
    history = [torch.where(energy > 0, 1.0, 0.0).to(torch.float64)]
    active = pursuit.b.abs().amax(1) > 0
    if measured:
        active = active & (energy.sqrt() > wanted)
    taken = torch.zeros(problems, dtype=torch.int64, device=b.device)
    saved = restored(checkpoint, b.device)
    if saved is not None:
        pursuit.restore(saved)
        active, taken, history = saved["active"], saved["taken"], list(saved["history"])
        gram.evaluations = int(saved["evaluations"])

    def state() -> State:
        return {
            **pursuit.state(),
            **{"active": active, "taken": taken, "history": torch.stack(history)},
            "evaluations": torch.tensor(gram.evaluations),
        }

    for count in range(len(history), atoms + 1):
        if not bool(active.any()):
            break
        active = pursuit.pick(count, active)
        taken += active
        left = (energy - pursuit.explained).clamp(min=0).sqrt()
        relative = quotient(left, energy.sqrt())
        history.append(relative)
        if measured:
            active = active & (left > wanted)
        if report is not None:
            report(count, relative.max())
        checkpoint.offer(count, state)
    return Solution(
        pursuit.image.reshape(b.shape),
        taken.reshape(problem_shape).cpu(),
        torch.stack(history).reshape(-1, *problem_shape).cpu(),
        gram.evaluations,
    )


class _Pursuit:
    """The picked voxels of all problems, one row each, and the factored equations on them."""

    _STATE = ("correlation", "image", "support", "cholesky", "right", "explained")

    def __init__(
        self,
        b: torch.Tensor,
        problems: int,
        atoms: int,
        gram: CountedGram,
        diagonal: torch.Tensor | None,
        entries: Entries | None,
    ) -> None:
        self.shape, self.gram, self.entries = b.shape, gram, entries
        self.b = b.reshape(problems, -1)
        self.correlation = self.b
        self.image = torch.zeros_like(self.b)
        self.inverse_norms = (
            None
            if diagonal is None
            else torch.where(diagonal > 0, diagonal, math.inf)
            .rsqrt()
            .expand(b.shape)
            .reshape(problems, -1)
        )
        wide: dict[str, Any] = {"dtype": torch.complex128, "device": b.device}
        self.support = torch.zeros(problems, atoms, dtype=torch.int64, device=b.device)
        # Rows that were not picked are those of the identity, with nothing on the right.
        self.cholesky = torch.eye(atoms, **wide).repeat(problems, 1, 1)
        self.right = torch.zeros(problems, atoms, 1, **wide)
        self.explained = torch.zeros(problems, dtype=torch.float64, device=b.device)

    def state(self) -> State:
        """Return what the next atom depends on."""
        return {name: getattr(self, name) for name in self._STATE}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        for name in self._STATE:
            setattr(self, name, state[name])

    def pick(self, count: int, active: torch.Tensor) -> torch.Tensor:
        """Add the atom number `count` to the active problems; return those that could use it."""
        last = count - 1
        score = self.correlation.abs()
        if self.inverse_norms is not None:
            score.mul_(self.inverse_norms)
        # What was picked has no correlation left but for rounding.
        score.scatter_(1, self.support[:, :last], -1.0)
        chosen = score.argmax(1, keepdim=True)
        self.support[:, last:count] = chosen
        column = self._column(self.support[:, :count], chosen)
        active = self._factor(column, chosen, count, active)
        solved = torch.cholesky_solve(self.right[:, :count], self.cholesky[:, :count, :count])
        self.explained = (self.right[:, :count].conj() * solved).real.sum((1, 2))
        # Rows that were not used are zero and must not overwrite the voxel they name: add.
        self.image.zero_().scatter_add_(1, self.support[:, :count], solved[..., 0].to(self.b.dtype))
        self.correlation = self.b - self.gram(self.image.reshape(self.shape)).reshape(self.b.shape)
        return active

    def _column(self, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the entries of ``G`` between the picked voxels and the new one."""
        if self.entries is not None:
            return self.entries(rows, chosen).to(torch.complex128)
        unit = torch.zeros_like(self.b).scatter_(1, chosen, 1.0)
        return (
            self.gram(unit.reshape(self.shape))
            .reshape(unit.shape)
            .gather(1, rows)
            .to(torch.complex128)
        )

    def _factor(
        self, column: torch.Tensor, chosen: torch.Tensor, count: int, active: torch.Tensor
    ) -> torch.Tensor:
        """Append a row to the Cholesky factors where the atom is independent of the others."""
        last = count - 1
        own = column[:, last].real
        row = torch.linalg.solve_triangular(
            self.cholesky[:, :last, :last], column[:, :last, None], upper=False
        )[..., 0]
        outside = own - row.abs().square().sum(1)
        active = active & (outside > _DEPENDENT * own)
        self.cholesky[:, last, :last] = torch.where(active[:, None], row.conj(), 0.0)
        root = torch.where(active, outside, 1.0).sqrt()
        self.cholesky[:, last, last] = root.to(torch.complex128)
        value = self.b.gather(1, chosen).to(torch.complex128)
        self.right[:, last] = torch.where(active[:, None], value, 0.0)
        return active
