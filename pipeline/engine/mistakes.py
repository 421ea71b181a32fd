"""Usual mistakes in a measurement of any kind: what was found, what to do, and what undoes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Samples = TypeVar("Samples")

NAMED = 2
"""Mistakes that are told of those that explain the data alike."""


@dataclass(frozen=True)
class Mistake(Generic[Samples]):
    """What may be wrong, and what the data would be without it."""

    name: str
    """Of the key under which a receipt says how well the data fit without it."""
    finding: str
    advice: str
    undone: Callable[[Samples], Samples]


def told(mistakes: Sequence[Mistake[Samples]]) -> str:
    """Return the mistakes that explain the data, and what to do, as the end of a warning."""
    return "; or ".join(f"it looks as if {each.finding}: {each.advice}" for each in mistakes)
