"""Several penalties at once, as one for ADMM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch


class Several(Penalty):
    """``sum_i R_i(x)``, as ``f(D x)`` with the transforms of all stacked on an axis of components.

    Each penalty has its weight and acts along its own axes.
    """

    identity = False

    def __init__(self, penalties: Sequence[Penalty]) -> None:
        super().__init__(0.0, penalties[0].image_axes)
        self.penalties = tuple(penalties)
        self.components = sum(each.components for each in penalties)

    @property
    def transform_axes(self) -> int:
        """One more than an image has: the component's comes first."""
        return self.image_axes + 1

    def _parts(self, u: torch.Tensor) -> list[torch.Tensor]:
        """Return views of the components of each penalty, in the shape that it knows."""
        sizes = [each.components for each in self.penalties]
        parts = u.split_with_sizes(sizes, dim=-self.transform_axes)
        return [
            part if each.transform_axes > self.image_axes else part.squeeze(-self.transform_axes)
            for each, part in zip(self.penalties, parts, strict=True)
        ]

    @property
    def normal_diagonal(self) -> int:
        """The mean diagonal of ``D^H D``."""
        return sum(each.normal_diagonal for each in self.penalties)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D x``, ``(*problems, component, *image)``."""
        shape = (*x.shape[: x.ndim - self.image_axes], self.components)
        result = x.new_empty(*shape, *x.shape[x.ndim - self.image_axes :])
        for each, part in zip(self.penalties, self._parts(result), strict=True):
            part.copy_(each.transform(x))
        return result

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``D^H u``."""
        one = u.select(-self.transform_axes, 0)
        total = one.new_zeros(one.shape)
        for each, part in zip(self.penalties, self._parts(u), strict=True):
            total += each.transform_adjoint(part)
        return total

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D^H D x``."""
        total = x.new_zeros(x.shape)
        for each in self.penalties:
            total += each.transform_normal(x)
        return total

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        import torch

        return torch.stack([each.value(x) for each in self.penalties]).sum(0)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shrink the components of each penalty by its own rule."""
        for each, part in zip(self.penalties, self._parts(u), strict=True):
            part.copy_(each.shrink_(part.contiguous(), step))
        return u


def several_images(split: Sequence[float], components: Sequence[int]) -> float:
    """Return the images that `admm` holds besides those of one penalty without transform.

    ``split`` are those that each holds by itself, ``components`` the images of its ``D x``.
    """
    return max(split, default=0.0) + 5.0 * sum(components) - 2.5
