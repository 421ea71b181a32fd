"""What a long solve keeps, so that it can go on after it was killed.

Solvers offer their state after every iteration and never know whether, when or where it is kept.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch

State = Mapping[str, torch.Tensor]


class Checkpoint(Protocol):
    """Keeps the state of one solve."""

    def restore(self) -> State | None:
        """Return the state that was kept, on any device, or `None` to begin; asked once."""

    def offer(self, iteration: int, state: Callable[[], State]) -> None:
        """Keep the state after so many iterations if it is time to.

        ``state()`` is what the next iteration depends on; called only if it is kept, and at once.
        """


class NoCheckpoint:
    """Keeps nothing."""

    def restore(self) -> State | None:
        """Return `None`: begin."""
        return None

    def offer(self, iteration: int, state: Callable[[], State]) -> None:
        """Do nothing."""


NO_CHECKPOINT = NoCheckpoint()


def restored(checkpoint: Checkpoint, device: torch.device) -> dict[str, torch.Tensor] | None:
    """Return the state that was kept, on `device`; `None` to begin."""
    state = checkpoint.restore()
    return None if state is None else {name: value.to(device) for name, value in state.items()}


class Nested:
    """The checkpoint of solves inside a search: what the search knows is kept beside their state.

    Attributes
    ----------
    known
        What the interrupted search knew when it began the solve that was interrupted; `None` to
        begin.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._around: State = {}
        self._inner: State | None = None
        self.known: State | None = None
        state = checkpoint.restore()
        if state is not None:
            self.known = below("search", state)
            self._inner = below("solve", state)

    def surround(self, known: State) -> None:
        """Say what the search knows before it begins a solve."""
        self._around = dict(known)

    def restore(self) -> State | None:
        """Return the state of the solve that was interrupted, to the first one that asks."""
        inner, self._inner = self._inner, None
        return inner

    def offer(self, iteration: int, state: Callable[[], State]) -> None:
        """Keep the state of the solve with what the search knows."""

        def both() -> State:
            return {**within("search", self._around), **within("solve", state())}

        self._checkpoint.offer(iteration, both)


def within(prefix: str, state: State) -> State:
    """Return a state under names that begin with ``prefix/``, to stand within another."""
    return {f"{prefix}/{name}": value for name, value in state.items()}


def below(prefix: str, state: State) -> State:
    """Return the state that stands within another, see `within`."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): value for name, value in state.items() if name.startswith(start)
    }
