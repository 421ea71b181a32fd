"""What solvers return and report: images, and what was watched on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Report = Callable[[int, torch.Tensor], None]
"""``(iteration, residual)``: the largest residual of all problems, which stays on the device until
somebody looks at it."""


@dataclass(frozen=True)
class Solution:
    """What a solver found."""

    image: torch.Tensor
    """The solution, where `NormalEquations.b` was."""
    iterations: torch.Tensor
    """int64 on the CPU, one for each problem: how many iterations changed it."""
    residuals: torch.Tensor
    """float64 on the CPU, ``(iteration, *problems)``: what the solver watches. Conjugate gradients:
    ``|b - G x| / |b|`` before the first iteration and after each one."""
    evaluations: int = 0
    """How many times ``G`` was applied, to all problems together."""
    begins_at_zero: bool = True
    """Whether the first of the residuals is that of the start."""

    def histories(self) -> list[list[float]]:
        """Return the residuals of each problem after each of its own iterations."""
        first = int(self.begins_at_zero)
        counts = self.iterations.flatten().tolist()
        columns = self.residuals.reshape(len(self.residuals), len(counts)).T
        return [
            values[first : first + count].tolist()
            for values, count in zip(columns, counts, strict=True)
        ]
