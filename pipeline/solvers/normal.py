"""The normal equations: all that a solver sees of the measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.operators.inner import inner_product

Gram = Callable[[torch.Tensor], torch.Tensor]


class SingleKernel(Protocol):
    """A convolution with one kernel for each image, as preconditioners need it."""

    spectrum: torch.Tensor
    """Real, ``([image,] *padded)``; see `pipeline.operators.toeplitz.toeplitz_spectrum`."""
    shape: tuple[int, ...]
    """Image axes."""


class CountedGram:
    """``G`` that counts how often it was applied, to however many problems together."""

    def __init__(self, gram: Gram) -> None:
        self._gram = gram
        self.evaluations = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply ``G``."""
        self.evaluations += 1
        return self._gram(x)


@dataclass(frozen=True)
class ScaledGram:
    """``factor G``."""

    gram: Gram
    factor: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return self.gram(x).mul_(self.factor)


@dataclass(frozen=True)
class NormalEquations:
    """``G x = b`` with ``G = sum_i A_i^H W_i A_i`` and ``b = sum_i A_i^H W_i y_i``."""

    b: torch.Tensor
    """Complex right-hand side, the shape of the images."""
    gram: Gram
    """``x -> G x``, Hermitian and positive semidefinite. It must not modify ``x``."""
    energy: float | torch.Tensor = 0.0
    """``sum_i y_i^H W_i y_i``: what the cost function is at zero, doubled. A number, or one for
    each independent problem."""

    def cost(self, image: torch.Tensor, image_axes: int | None = None) -> torch.Tensor:
        """Evaluate ``1/2 sum_i || W_i^(1/2) (A_i x - y_i) ||^2``, in float64.

        One number for each problem, whose image the last `image_axes` make; all axes if `None`.
        """
        axes = image.ndim if image_axes is None else image_axes
        quadratic = inner_product(image, self.gram(image), axes)
        return 0.5 * quadratic - inner_product(self.b, image, axes) + 0.5 * self.energy

    def with_unknowns(self, count: int, image_axes: int) -> NormalEquations:
        """Return the equations of images that are each the first of `count` unknowns.

        ``(*problems, *image)`` becomes ``(*problems, unknown, *image)``; nothing was measured of
        the others.
        """
        axis = self.b.ndim - image_axes

        def gram(x: torch.Tensor) -> torch.Tensor:
            image = x.select(axis, 0).contiguous()
            return first_of_unknowns(self.gram(image), count, image_axes)

        return NormalEquations(first_of_unknowns(self.b, count, image_axes), gram, self.energy)


def first_of_unknowns(image: torch.Tensor, count: int, image_axes: int) -> torch.Tensor:
    """Return ``(*problems, unknown, *image)`` with zeros in place of all but the first."""
    axis = image.ndim - image_axes
    result = image.new_zeros(*image.shape[:axis], count, *image.shape[axis:])
    result.select(axis, 0).copy_(image)
    return result
