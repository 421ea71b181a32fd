"""Each algorithm that settings can name, on the normal equations of a batch of images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipeline.config.reconstruction import ReconstructionSettings, network_checksum
from pipeline.engine.noise import Noise
from pipeline.errors import ConfigError, DataError
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz
from pipeline.solvers.admm import ExactSolver, SplitSolution, admm
from pipeline.solvers.cg import Preconditioner, Report, Solution, conjugate_gradient
from pipeline.solvers.checkpoints import Checkpoint, Nested
from pipeline.solvers.fista import debias, fista
from pipeline.solvers.inner import inner_product
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.solvers.omp import orthogonal_matching_pursuit
from pipeline.solvers.penalties import (
    L1,
    GroupSparsity,
    Penalty,
    TotalVariation,
    WaveletSparsity,
)
from pipeline.solvers.power import LANCZOS_STEPS, largest_eigenvalue
from pipeline.solvers.preconditioners import CirculantPreconditioner, toeplitz_preconditioner
from pipeline.solvers.regularization import Discrepancy, discrepancy, noise_weight
from pipeline.solvers.unrolled import UnrolledProximalGradient
from pipeline.storage.networks import read_network

_ADMM_TOLERANCE = 1e-3
_FISTA_TOLERANCE = 1e-5
_PENALTIES: dict[str, type[Penalty]] = {
    "l1": L1,
    "tv": TotalVariation,
    "wavelet": WaveletSparsity,
    "l21": GroupSparsity,
}


@dataclass(frozen=True)
class Outcome:
    """What an algorithm found, and how.

    Attributes
    ----------
    solution
        Images, and the histories of the algorithm (not of debiasing).
    evaluations
        How often the normal operator was applied in all.
    objective
        float64, one for each problem: the cost function at the solution, with its penalty, before
        debiasing; `None` where nothing is minimised.
    stopped
        For each problem ``tolerance``, ``iterations``, ``points`` or ``layers``.
    weight
        float64, one for each problem: weight of the penalty, in the units of the normal equations.
    details
        JSON values for the receipt: what only this algorithm knows.
    """

    solution: Solution
    evaluations: int
    objective: Tensor | None
    stopped: list[str]
    weight: Tensor | None = None
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Normal equations of a batch of images, and all that an algorithm may want to know of them.

    Attributes
    ----------
    normal
        ``G``, ``b`` of shape ``(*problems, *image)``, and the energy, one for each problem.
    diagonal
        float64, one for each problem: mean diagonal of ``G``.
    image_axes
        Number of axes of an image.
    noise
        Of the measurement; `None` where it is not known.
    exact
        Solves ``(G + rho) x = r`` without iterations, where there is a way.
    who
        Dataset and block; begins the message of an error.
    """

    normal: NormalEquations
    diagonal: Tensor
    image_axes: int
    noise: Noise | None
    exact: ExactSolver | None
    who: str

    def known_noise(self, setting: str) -> Noise:
        """Return the noise, or say which setting cannot do without."""
        if self.noise is None:
            raise DataError(
                f"{self.who}: `{setting}` needs the noise level, and the data brings none "
                "(MRI: array `noise`; RF: `noise_std`); give a number"
            )
        return self.noise


def run_algorithm(
    settings: ReconstructionSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    """Solve the problem as the settings say.

    Raises
    ------
    DataError
        If a rule for the weight needs the noise level and there is none, or no weight leaves the
        misfit of the noise.
    """
    run = {
        "cg-sense": _least_squares,
        "tikhonov": _least_squares,
        "fista": _penalised,
        "admm": _penalised,
        "omp": _points,
        "unrolled": _network,
    }[settings.algorithm]
    return run(settings, problem, report, checkpoint)


def _least_squares(
    settings: ReconstructionSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    normal = problem.normal

    def at(weight: Tensor, checkpoint: Checkpoint) -> Solution:
        return conjugate_gradient(
            normal,
            regularization=weight,
            iterations=settings.iterations,
            residual=float(settings.residual),
            image_axes=problem.image_axes,
            preconditioner=_preconditioner(settings, problem, weight),
            report=report,
            checkpoint=checkpoint,
        )

    if settings.regularization == "discrepancy":
        start = 0.01 * problem.diagonal
        found, weight, details = _by_discrepancy(problem, at, start, "regularization", checkpoint)
    else:
        weight = settings.regularization * problem.diagonal
        found, details = at(weight, checkpoint), {}
    # Conjugate gradients leave b - (G + weight) x orthogonal to x, so x^H (G + weight) x = b^H x.
    energy = torch.as_tensor(normal.energy, device=weight.device)
    cost = 0.5 * (energy - inner_product(normal.b, found.image, problem.image_axes))
    tail = [history[-1] if history else 0.0 for history in found.histories()]
    stopped = [_stop(value <= float(settings.residual)) for value in tail]
    return Outcome(found, found.evaluations, cost, stopped, weight, details)


def _penalised(
    settings: ReconstructionSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    normal, together = problem.normal, int(settings.penalty == "l21")
    axes = problem.image_axes + together
    penalty_of = functools.partial(_PENALTIES[settings.penalty], image_axes=axes)
    magnitude = normal.b.abs()
    if together:
        magnitude = torch.linalg.vector_norm(magnitude, dim=-axes)
    brightest = magnitude.amax(dim=tuple(range(-problem.image_axes, 0))).double()
    del magnitude
    # An image without data has a weight too, whatever it is.
    brightest = torch.where(brightest > 0, brightest, 1.0)
    voxels = normal.b[(0,) * (normal.b.ndim - problem.image_axes)].numel()
    stages = Nested(checkpoint)
    solve = _Penalised(settings, problem, penalty_of, report, axes)
    details: dict[str, object] = {"penalty": settings.penalty}
    if stages.known:
        known = {name: value.to(normal.b.device) for name, value in stages.known.items()}
        weight = known["weight"]
        sparse = Solution(
            known["image"],
            known["iterations"].cpu(),
            known["residuals"].cpu(),
            int(known["evaluations"]),
            begins_at_zero=False,
        )
    elif settings.sparsity == "discrepancy":
        start = 0.05 * brightest
        sparse, weight, searched = _by_discrepancy(problem, solve, start, "sparsity", stages)
        details |= searched
    else:
        if settings.sparsity == "noise":
            noise = problem.known_noise("sparsity: noise")
            weight = noise_weight(1.0, noise.adjoint.square(), voxels)
        else:
            weight = settings.sparsity * brightest
        sparse = solve(weight, stages)
    cost = normal.cost(sparse.image, axes) + penalty_of(weight).value(sparse.image)
    evaluations = sparse.evaluations + 1
    reached = 1.0 if settings.algorithm == "admm" else solve.tolerance
    stopped = [_stop(bool(history) and history[-1] <= reached) for history in sparse.histories()]
    if isinstance(sparse, SplitSolution):
        details["rho"] = sparse.rho.flatten().tolist()
    if settings.debias:
        stages.surround(
            {
                **{"image": sparse.image, "iterations": sparse.iterations, "weight": weight},
                **{"residuals": sparse.residuals, "evaluations": torch.tensor(sparse.evaluations)},
            }
        )
        refined = debias(
            normal,
            sparse,
            image_axes=axes,
            threshold=0.0 if settings.debias is True else float(settings.debias),
            report=report,
            checkpoint=stages,
        )
        evaluations += refined.evaluations - sparse.evaluations
        details["debias_iterations"] = int(refined.iterations.max())
        sparse = dataclasses.replace(sparse, image=refined.image)
    return Outcome(sparse, evaluations, cost, stopped, weight, details)


class _Penalised:
    """FISTA or ADMM at any weight."""

    def __init__(
        self,
        settings: ReconstructionSettings,
        problem: Problem,
        penalty_of: Callable[[Tensor], Penalty],
        report: Report,
        axes: int,
    ) -> None:
        self.settings, self.problem, self.report = settings, problem, report
        self.penalty_of, self.axes = penalty_of, axes
        default = _ADMM_TOLERANCE if settings.algorithm == "admm" else _FISTA_TOLERANCE
        self.tolerance = settings.tolerance or default

    def __call__(self, weight: Tensor, checkpoint: Checkpoint) -> Solution:
        settings, problem, penalty = self.settings, self.problem, self.penalty_of(weight)
        if settings.algorithm == "fista":
            return fista(
                problem.normal,
                penalty,
                iterations=settings.iterations,
                change=self.tolerance,
                report=self.report,
                checkpoint=checkpoint,
            )
        diagonal = problem.diagonal
        if self.axes > problem.image_axes:
            diagonal = diagonal.mean(-1)
        rho = (settings.rho or 1.0) * torch.where(diagonal > 0, diagonal, 1.0)
        # Finite differences have the mean squared norm 2 an axis.
        shift = rho * (2 * problem.image_axes if settings.penalty == "tv" else 1)
        exact = problem.exact if penalty.identity and self.axes == problem.image_axes else None
        return admm(
            problem.normal,
            penalty,
            iterations=settings.iterations,
            rho=rho,
            absolute=0.1 * self.tolerance,
            relative=self.tolerance,
            exact_solver=exact,
            preconditioner=_preconditioner(settings, problem, shift),
            inner_iterations=settings.inner_iterations,
            # No image is better than the equations that it was solved from.
            inner_residual=0.1 * self.tolerance,
            report=self.report,
            checkpoint=checkpoint,
        )


def _points(
    settings: ReconstructionSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    normal = problem.normal
    energy = torch.as_tensor(normal.energy, dtype=torch.float64, device=normal.b.device)
    wanted = (
        problem.known_noise("residual: noise").misfit
        if settings.residual == "noise"
        else float(settings.residual) * energy.sqrt()
    )
    points = int(settings.points or 1)
    found = orthogonal_matching_pursuit(
        normal,
        atoms=points,
        residual=wanted,
        image_axes=problem.image_axes,
        report=report,
        checkpoint=checkpoint,
    )
    stopped = ["points" if count == points else "tolerance" for count in found.iterations.flatten()]
    last = [history[-1] if history else 1.0 for history in found.histories()]
    ratio = torch.tensor(last, dtype=torch.float64, device=energy.device)
    cost = 0.5 * energy.flatten() * ratio**2
    return Outcome(found, found.evaluations, cost, stopped)


def _network(
    settings: ReconstructionSettings, problem: Problem, report: Report, checkpoint: Checkpoint
) -> Outcome:
    normal = problem.normal
    arguments, parameters = read_network(Path(str(settings.weights_file)))
    network = UnrolledProximalGradient(**arguments, dtype=normal.b.dtype).to(normal.b.device)
    network.load_state_dict(parameters)
    if network.image_axes != problem.image_axes:
        raise ConfigError(
            f"{problem.who}: the network in {settings.weights_file} was trained on "
            f"{network.image_axes}D images, and these have {problem.image_axes} axes"
        )
    with torch.no_grad():
        bound = largest_eigenvalue(normal.gram, normal.b, image_axes=problem.image_axes)
        image = network(normal, bound)
    problems = normal.b.shape[: normal.b.ndim - problem.image_axes]
    layers = len(network.layers)
    nothing = torch.zeros(0, *problems, dtype=torch.float64)
    found = Solution(image, torch.full(problems, layers), nothing, begins_at_zero=False)
    evaluations = LANCZOS_STEPS + layers
    details: dict[str, object] = {"network_sha256": network_checksum(settings)}
    return Outcome(found, evaluations, None, ["layers"] * problems.numel(), details=details)


def _by_discrepancy(
    problem: Problem,
    at: Callable[[Tensor, Checkpoint], Solution],
    start: Tensor,
    setting: str,
    checkpoint: Checkpoint,
) -> tuple[Solution, Tensor, dict[str, object]]:
    """Return the solution that leaves what the noise leaves, its weight, and receipt values."""
    noise = problem.known_noise(f"{setting}: discrepancy")
    nested = Nested(checkpoint)
    found: Discrepancy = discrepancy(
        problem.normal,
        lambda weight: at(weight, nested),
        target=noise.misfit,
        start=torch.where(start > 0, start, 1.0),
        image_axes=problem.image_axes,
        nested=nested,
    )
    return (
        dataclasses.replace(found.solution, evaluations=found.evaluations),
        found.weight,
        {
            "discrepancy_solutions": found.solutions,
            "misfit": found.misfit.flatten().tolist(),
            "noise_misfit": noise.misfit.flatten().tolist(),
        },
    )


def _preconditioner(
    settings: ReconstructionSettings, problem: Problem, shift: Tensor
) -> Preconditioner | None:
    if settings.preconditioner == "none":
        return None
    toeplitz = toeplitz_of(problem.normal.gram)
    if toeplitz is None:
        raise ConfigError(
            f"{problem.who}: `preconditioner: {settings.preconditioner}` needs a normal operator "
            "of a single Toeplitz kernel: MRI with `normal: toeplitz`, RF pairs with `model: W`; "
            "leave it out"
        )
    spectrum, shape = toeplitz.spectrum, toeplitz.shape
    if toeplitz.frames and len(spectrum) == 1:
        spectrum = spectrum[0]
    framed = spectrum.ndim > len(shape)
    weight: Tensor | float = shift if framed else float(shift.mean())
    if settings.preconditioner == "circulant" or framed:
        return CirculantPreconditioner(spectrum, shape, regularization=weight)
    return toeplitz_preconditioner(spectrum, shape, regularization=float(weight))


def toeplitz_of(gram: Gram) -> Toeplitz | None:
    """Return the one-coil Toeplitz operator that a normal operator is made of, if it is one."""
    operator = gram.normal if isinstance(gram, SenseNormal) else gram
    return operator if isinstance(operator, Toeplitz) else None


def _stop(converged: bool) -> str:
    return "tolerance" if converged else "iterations"
