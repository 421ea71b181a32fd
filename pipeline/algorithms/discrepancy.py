"""The rule `discrepancy`: the weight that leaves as much of the data as there is noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.algorithms.base import Problem
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Solution

DISCREPANCY_IMAGES = 2
"""Images that the search holds: the best solution so far, and its residual."""


def check_fusion(weight: object, fusion: str) -> None:
    """Refuse the rule for images of pairs apart, as a fault of the settings."""
    if weight == "discrepancy" and fusion != "coherent":
        raise ValueError("`discrepancy` needs `fusion: coherent`; give a number")


def by_discrepancy(
    problem: Problem,
    at: Callable[[Tensor, Checkpoint], Solution],
    start: Tensor,
    setting: str,
    checkpoint: Checkpoint,
) -> tuple[Solution, Tensor, dict[str, object]]:
    """Return the solution that leaves what the noise leaves, its weight, and receipt values.

    ``at(weight, checkpoint)`` solves with a float64 weight for each problem, the first of them
    `start`; `setting`, which asks for the rule, is named in messages.
    """
    import torch

    from pipeline.solvers.checkpoints import Nested
    from pipeline.solvers.regularization import discrepancy

    noise = problem.known_noise(f"{setting}: discrepancy")
    nested = Nested(checkpoint)
    found = discrepancy(
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
        {"discrepancy_solutions": found.solutions},
    )
