"""How much to regularise: by the noise, or by the discrepancy that the noise must leave.

References
----------
.. [1] D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika
   81, 425-455 (1994).
.. [2] V. A. Morozov, "On the solution of functional equations by the method of regularization",
   Soviet Math. Dokl. 7, 414-417 (1966).
.. [3] S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", Prentice Hall
   (1993), section 12.5.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.errors import ConfigError, DataError
from pipeline.solvers.checkpoints import Nested
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.problems import problem_axes, quotient
from pipeline.solvers.solution import Solution

_LEAST_SIGNAL = 1e-3
"""Of the energy of data that hold hardly more than noise."""
_DECADES = 12
"""Factors of ten that are searched in each direction for a bracket."""


def noise_weight(
    noise: float | torch.Tensor, diagonal: float | torch.Tensor, voxels: int
) -> torch.Tensor:
    """Return the l1 weight ``sigma sqrt(d ln Q)`` that noise alone seldom exceeds [1]_.

    Of ``Q`` correlations ``A^H n`` with complex noise of variance ``sigma^2`` (both parts together)
    the largest is close to ``sigma sqrt(d ln Q)``, ``d`` the squared norm of an atom.

    Parameters
    ----------
    noise
        Standard deviation of the complex noise, in the units of the weighted data: 1 where the
        weights are ``1 / sigma^2``.
    diagonal
        ``d``, the diagonal of ``G``.
    voxels
        ``Q``.

    Returns
    -------
    Tensor
        float64, in the units of ``b``.
    """
    level = torch.as_tensor(noise, dtype=torch.float64)
    atom = torch.as_tensor(diagonal, dtype=torch.float64)
    if bool((level < 0).any()) or bool((atom < 0).any()):
        raise ConfigError(
            f"noise weight: found noise {noise} and diagonal {diagonal}; neither may be negative."
        )
    return level.to(atom.device) * (atom * math.log(voxels)).sqrt()


def wiener_weight(
    noise: Noise, energy: float | torch.Tensor, diagonal: torch.Tensor, voxels: int
) -> torch.Tensor:
    """Return the Tikhonov weight of a linear minimum mean square error estimate [3]_.

    Voxels are taken to be independent and of one variance, which follows from the energy of the
    data beyond their noise. The weight is noise over signal, as of `Noise` and for each problem.
    """
    total = torch.as_tensor(energy, dtype=torch.float64, device=diagonal.device)
    beyond = torch.maximum(total - noise.misfit.square(), _LEAST_SIGNAL * total)
    signal = quotient(beyond, voxels * diagonal)
    return quotient(quotient(noise.adjoint.square(), diagonal), signal)


@dataclass(frozen=True)
class Discrepancy:
    """What the discrepancy principle found."""

    solution: Solution
    """With the weights found."""
    weight: torch.Tensor
    """float64, one for each problem."""
    misfit: torch.Tensor
    """float64, ``|W^(1/2) (A x - y)|`` of the image, one for each problem."""
    solutions: int
    """How many solutions the search took."""
    evaluations: int
    """How many times ``G`` was applied, by all solutions and to measure their misfits."""


def discrepancy(
    normal: NormalEquations,
    solve: Callable[[torch.Tensor], Solution],
    *,
    target: float | torch.Tensor,
    start: float | torch.Tensor,
    image_axes: int,
    tolerance: float = 0.05,
    solutions: int = 40,
    nested: Nested | None = None,
) -> Discrepancy:
    """Find the weight whose solution leaves as much of the data as there is noise [2]_.

    Parameters
    ----------
    normal
        ``G``, ``b`` and the energy, with which the misfit needs no data.
    solve
        ``weight -> solution``; the weight is float64, one for each problem, on the device of ``b``.
        The misfit must grow with it.
    target
        ``sigma sqrt(M)`` of ``M`` measurements; one number or one for each problem.
    start
        First weight, positive; one number or one for each problem.
    tolerance
        Relative deviation of the misfit from the target that is allowed.
    nested
        Keeps what the search knows beside the state of the solve at work, which has to use it.

    Raises
    ------
    ConfigError
        If a setting is not positive.
    DataError
        If no weight leaves this misfit: data with less in them than the noise that was stated, or
        that the model cannot explain so well.

    Notes
    -----
    Steps of ten until the target is enclosed, then false position in the logarithms of both, with
    bisection whenever that has not halved the interval. A misfit below a thousandth of the data's
    norm cannot be told from its energy in single precision.
    """
    b = normal.b
    problems = problem_axes(b, image_axes, "discrepancy principle")

    def numbers(value: float | torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=b.device).expand(problems)

    goal, weight, norms = numbers(target), numbers(start).clone(), numbers(normal.energy).sqrt()
    positive = bool((goal > 0).all()) and bool((weight > 0).all())
    if not positive or tolerance <= 0 or solutions < 1:
        raise ConfigError(
            f"discrepancy principle: found target {target}, start {start}, tolerance {tolerance} "
            f"and solutions {solutions}; all must be positive."
        )
    loud = goal >= norms
    if bool(loud.any()):
        wanted, found = _first(loud, goal, norms)
        raise DataError(
            f"discrepancy principle: the misfit should be {wanted:.4g}, but the data's norm is "
            f"{found:.4g}: the zero image would do. Check the noise level, or set the weight."
        )
    evaluations = 0
    # Logarithms of weights that leave too little and too much, and of misfits over the target.
    low, high = torch.full_like(weight, -math.inf), torch.full_like(weight, math.inf)
    below, above = low.clone(), high.clone()
    first, begun = weight.log(), 1
    if nested is not None and nested.known is not None:
        known = {name: value.to(b.device) for name, value in nested.known.items()}
        weight, low, high = known["weight"], known["low"], known["high"]
        below, above = known["below"], known["above"]
        begun, evaluations = int(known["count"]), int(known["evaluations"])
    for count in range(begun, solutions + 1):
        if nested is not None:
            nested.surround(
                {
                    **{"weight": weight, "low": low, "high": high, "below": below, "above": above},
                    "count": torch.tensor(count),
                    "evaluations": torch.tensor(evaluations),
                }
            )
        solution = solve(weight)
        misfit = (2 * normal.cost(solution.image, image_axes)).clamp(min=0).sqrt()
        evaluations += solution.evaluations + 1
        excess = (misfit.clamp(min=torch.finfo(torch.float64).tiny) / goal).log()
        done = (misfit / goal - 1).abs() <= tolerance
        if bool(done.all()):
            return Discrepancy(solution, weight, misfit, count, evaluations)
        position, width, small = weight.log(), high - low, excess < 0
        low, below = torch.where(small, position, low), torch.where(small, excess, below)
        high, above = torch.where(small, high, position), torch.where(small, above, excess)
        following = _next_position(low, high, below, above, width)
        far = (following - first).abs() > (_DECADES + 0.5) * math.log(10)
        if bool((far & ~done).any()) or count == solutions:
            break
        weight = torch.where(done, weight, following.exp())
    wanted, found, tried = _first(~done, goal, misfit, weight)
    raise DataError(
        f"discrepancy principle: the misfit should be {wanted:.4g}, but was {found:.4g} with the "
        f"weight {tried:.4g} after {count} solutions. Above the target, the model does not explain "
        "the data so well, or the solver needs more iterations; below it, there is less in the "
        "data than noise. Check the noise level, or set the weight."
    )


def _next_position(
    low: torch.Tensor,
    high: torch.Tensor,
    below: torch.Tensor,
    above: torch.Tensor,
    previous: torch.Tensor,
) -> torch.Tensor:
    """Return the next log weight: a decade further, false position, or the middle."""
    width, decade = high - low, math.log(10)
    # Where an end is missing, infinities give NaN, which `where` leaves behind.
    secant = low - below * width / (above - below)
    slow = previous.isfinite() & (width > previous / 2)
    inside = torch.where(slow, (low + high) / 2, secant)
    inside = torch.where(low.isinf(), high - decade, inside)
    return torch.where(high.isinf(), low + decade, inside)


def _first(which: torch.Tensor, *values: torch.Tensor) -> list[float]:
    """Return the figures of the first problem that is marked."""
    index = int(which.flatten().int().argmax())
    return [float(value.flatten()[index]) for value in values]
