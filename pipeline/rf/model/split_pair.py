"""The measurement of a pair whose arrays are in parts, each with an operator of its own."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from pipeline.operators.base import LinearOperator


class PairPart(NamedTuple):
    """Some measurements of a pair."""

    rows: tuple[Tensor, Tensor]
    """Indices ``m1`` and ``m2`` among those of the pair, ``(m1, 1)`` and ``(m2,)``."""
    weights: Tensor
    """What the operator is multiplied by, complex ``(freq, 1, 1)``."""
    operator: LinearOperator
    """Maps ``(..., *shape)`` to ``(..., freq, m1, m2)``, and 1 more axis of three."""


class SplitPair(LinearOperator):
    """What all parts of a pair measure of one image.

    Maps ``(..., *shape)`` to ``(..., *measured)``, ``(freq, m1, m2)`` and 1 more axis of three.
    """

    def __init__(self, parts: Sequence[PairPart], measured: Sequence[int]) -> None:
        first = parts[0].operator
        super().__init__(first.domain, measured, dtype=first.dtype, device=first.device)
        self.parts = tuple(parts)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.domain)]
        measured = x.new_empty(*batch, *self.codomain[:3])
        for rows, weights, operator in self.parts:
            found = operator(x)
            measured[..., *rows] = found.view(*batch, *operator.codomain[:3]) * weights
        return measured.view(*batch, *self.codomain)

    def _adjoint(self, y: Tensor) -> Tensor:
        batch = y.shape[: y.ndim - len(self.codomain)]
        flat = y.reshape(*batch, *self.codomain[:3])
        image = y.new_zeros(*batch, *self.domain)
        for rows, weights, operator in self.parts:
            own = flat[..., *rows] * weights.conj()
            image += operator.adjoint(own.view(*batch, *operator.codomain))
        return image
