"""What methods share whose steps are as long as the largest eigenvalue of ``G`` allows."""

from collections.abc import Callable
from typing import Protocol

import torch

from pipeline.solvers.checkpoints import Checkpoint, State, restored
from pipeline.solvers.normal import CountedGram, NormalEquations
from pipeline.solvers.penalty import Penalty
from pipeline.solvers.power import largest_eigenvalue
from pipeline.solvers.problems import norm, positive_settings, problem_axes, quotient
from pipeline.solvers.solution import Report, Solution

_WINDOW = 8
"""Iterations over which the images of a restless penalty have to get anywhere."""
_PROGRESS = 2.0
"""How many of the last step's lengths: eight of them where all go one way, one and a half where
they go to and fro."""


class Descent(Protocol):
    """Iterates of one method."""

    restless: bool
    """Whether steps go on to and fro for ever, as with `Penalty.restless`."""

    x: torch.Tensor
    """The images."""

    def advance(self, active: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a step where a problem is active; return lengths of the change and of the image."""

    def state(self) -> State:
        """Return what the next step depends on."""

    def restore(self, state: State) -> None:
        """Go on from a state."""


Method = Callable[
    [torch.Tensor, CountedGram, Penalty, torch.Tensor, torch.Tensor],
    Descent,
]
"""``(b, gram, penalty, bound, x)``, with a bound of the largest eigenvalue for each problem."""


def descend(
    who: str,
    method: Method,
    normal: NormalEquations,
    penalty: Penalty,
    *,
    iterations: int,
    change: float,
    lipschitz: float | torch.Tensor | None,
    bound_evaluations: int,
    report: Report | None,
    start: torch.Tensor | None,
    checkpoint: Checkpoint,
) -> Solution:
    """Take steps until the images change by less than `change`, each problem until its own does.

    `who` begins the message of an error; for the others see `pipeline.solvers.fista.fista`.
    """
    positive_settings(who, iterations=iterations, change=change)
    b, image_axes = normal.b, penalty.image_axes
    problems = problem_axes(b, image_axes, who)
    gram = CountedGram(normal.gram)
    saved = restored(checkpoint, b.device)
    if saved is not None:
        lipschitz = saved["bound"]
        gram.evaluations = int(saved["evaluations"])
    elif lipschitz is None:
        lipschitz = largest_eigenvalue(gram, b, image_axes=image_axes, iterations=bound_evaluations)
    bound = torch.as_tensor(lipschitz, dtype=torch.float64, device=b.device).expand(problems)
    x = torch.zeros_like(b) if start is None else start.clone()
    descent = method(b, gram, penalty, bound, x)
    del x
    active = torch.ones(problems, dtype=torch.bool, device=b.device)
    taken = torch.zeros(problems, dtype=torch.int64, device=b.device)
    relative = torch.zeros(problems, dtype=torch.float64, device=b.device)
    history: list[torch.Tensor] = []
    mark: torch.Tensor | None = None
    if saved is not None:
        descent.restore(saved)
        taken, history, active = saved["taken"], list(saved["history"]), saved["active"]
        relative, mark = history[-1], saved.get("mark")

    def state() -> State:
        return {
            **descent.state(),
            **{"bound": bound, "active": active, "taken": taken, "history": torch.stack(history)},
            **{"evaluations": torch.tensor(gram.evaluations)},
            **({} if mark is None else {"mark": mark}),
        }

    for iteration in range(len(history) + 1, iterations + 1):
        length, size = descent.advance(active)
        taken += active
        changed = quotient(length, size)
        # From something to nothing is no convergence.
        changed = torch.where((size == 0) & (length > 0), 1.0, changed)
        relative = torch.where(active, changed, relative)
        history.append(relative)
        active = active & (relative > change)
        if descent.restless and iteration % _WINDOW == 0:
            if mark is not None:
                active = active & (norm(mark.sub_(descent.x), image_axes) > _PROGRESS * length)
            mark = descent.x.clone()
        if report is not None:
            report(iteration, relative.max())
        if not bool(active.any()):
            break
        checkpoint.offer(iteration, state)
    residuals = torch.stack(history) if history else torch.empty((0, *problems))
    return Solution(
        descent.x,
        taken.cpu(),
        residuals.to("cpu", torch.float64),
        gram.evaluations,
        begins_at_zero=False,
    )
