"""One image from several pairs of antenna arrays whose phases do not agree, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.solvers.checkpoints import Nested
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.solution import Solution


@dataclass(frozen=True)
class AlignedSolution:
    """What `phase_aligned` found."""

    solution: Solution
    """Of the last round."""
    phases: torch.Tensor
    """float64 ``(*problems, pair)`` [rad]; that of the first pair is zero."""
    rounds: int
    """How many images were made."""
    evaluations: int
    """How many times ``G`` was applied in all rounds."""


def phase_aligned(
    normal: NormalEquations,
    solve: Callable[[NormalEquations], Solution],
    *,
    image_axes: int,
    rounds: int = 20,
    change: float = 1e-3,
    nested: Nested | None = None,
) -> AlignedSolution:
    """Minimise over the image and a phase for each pair, in turns.

    The measurement of pair ``p`` is ``exp(j phi_p) A_p x``. For given phases the image solves the
    sum of the pairs' normal equations with ``b = sum_p exp(-j phi_p) b_p``, in which ``G`` has no
    phases; for a given image the best phase is that of ``<A_p x, y_p> = <x, b_p>``. Neither step
    can increase the cost.

    Parameters
    ----------
    normal
        Normal equations of each pair: ``b`` of shape ``(*problems, pair, *image)``, and ``G`` that
        maps images of this shape to the same, no pair to another.
    solve
        Solves the normal equations of all pairs together, of shape ``(*problems, *image)``.
    change
        Largest change of a phase [rad] at which all is done.
    nested
        Keeps the phases beside the state of the solve at work, which has to use it.
    """
    b, pair_axis = normal.b, normal.b.ndim - image_axes - 1

    def gram(x: torch.Tensor) -> torch.Tensor:
        repeated = x.unsqueeze(pair_axis).expand(b.shape).contiguous()
        return normal.gram(repeated).sum(pair_axis)

    energy = torch.as_tensor(normal.energy, dtype=torch.float64, device=b.device)
    if energy.ndim > pair_axis:
        energy = energy.sum(-1)
    phases = torch.zeros(b.shape[: pair_axis + 1], dtype=torch.float64, device=b.device)
    begun, evaluations = 1, 0
    if nested is not None and nested.known is not None:
        phases = nested.known["phases"].to(b.device)
        begun, evaluations = int(nested.known["round"]), int(nested.known["evaluations"])
    for count in range(begun, max(begun, rounds) + 1):
        if nested is not None:
            nested.surround(
                {
                    "phases": phases,
                    "round": torch.tensor(count),
                    "evaluations": torch.tensor(evaluations),
                }
            )
        turn = torch.polar(torch.ones_like(phases), -phases).to(b.dtype)
        turned = b * turn[(..., *(None,) * image_axes)]
        solution = solve(NormalEquations(turned.sum(pair_axis), gram, energy))
        evaluations += solution.evaluations
        found = _phases(solution.image, b, image_axes)
        moved = torch.remainder(found - phases + torch.pi, 2 * torch.pi) - torch.pi
        phases = found
        if float(moved.abs().max()) <= change:
            break
    return AlignedSolution(solution, phases.cpu(), count, evaluations)


def _phases(image: torch.Tensor, b: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Return the phase of ``<x, b_p>`` relative to the first pair's, whose own is arbitrary."""
    axes = tuple(range(-image_axes, 0))
    inner = (image.unsqueeze(-image_axes - 1).conj() * b).sum(axes, dtype=torch.complex128)
    relative: torch.Tensor = (inner * inner[..., :1].conj()).angle()
    return relative


def non_coherent(images: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Return ``sqrt(sum_p |x_p|^2)`` of ``(*problems, pair, *image)``, as complex numbers."""
    fused: torch.Tensor = torch.linalg.vector_norm(images, dim=-image_axes - 1).to(images.dtype)
    return fused
