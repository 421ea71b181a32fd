"""Several penalties at once, as one for solvers that split transforms off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch


class Several(Penalty):
    """``sum_i R_i(x)``, as ``f(D x)`` with the transforms of all stacked on an axis of components.

    Each penalty has its weight, acts along its own axes, and keeps its own unknowns besides the
    image; these follow each other.
    """

    identity = False

    def __init__(self, penalties: Sequence[Penalty]) -> None:
        self._axes = min(each.image_axes - (each.unknowns > 1) for each in penalties)
        super().__init__(0.0, self._axes)
        self.penalties = tuple(penalties)
        self.components = sum(each.components for each in penalties)
        self.unknowns = 1 + sum(each.unknowns - 1 for each in penalties)
        self.image_axes += self.unknowns > 1

    @property
    def transform_axes(self) -> int:
        """One more than an image has: the component's comes first."""
        return self._axes + 1

    def _parts(self, u: torch.Tensor) -> list[torch.Tensor]:
        """Return views of the components of each penalty, in the shape that it knows."""
        sizes = [each.components for each in self.penalties]
        parts = u.split_with_sizes(sizes, dim=-self.transform_axes)
        return [
            part if each.transform_axes > self._axes else part.squeeze(-self.transform_axes)
            for each, part in zip(self.penalties, parts, strict=True)
        ]

    def _unknowns(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the unknowns of each penalty, in the shape that it knows."""
        import torch

        first, axis = 1, -self.image_axes
        for each in self.penalties:
            own = each.unknowns - 1
            if self.unknowns == 1:
                yield x
            elif not own:
                yield x.select(axis, 0)
            elif first == 1:
                yield x.narrow(axis, 0, 1 + own)
            else:
                yield torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, first, own)], axis)
            first += own

    def _sum_of(self, parts: Iterable[torch.Tensor], zero: torch.Tensor) -> torch.Tensor:
        """Return the sum over penalties of what `_unknowns` takes apart; overwrites ``zero``."""
        first, axis = 1, -self.image_axes
        for each, part in zip(self.penalties, parts, strict=True):
            own = each.unknowns - 1
            if self.unknowns == 1:
                zero += part
            elif not own:
                zero.select(axis, 0).add_(part)
            else:
                zero.select(axis, 0).add_(part.select(axis, 0))
                zero.narrow(axis, first, own).add_(part.narrow(axis, 1, own))
            first += own
        return zero

    @property
    def normal_diagonal(self) -> float:
        """The mean diagonal of ``D^H D``."""
        return sum(each.normal_diagonal * each.unknowns for each in self.penalties) / self.unknowns

    @property
    def normal_bound(self) -> float:
        """The sum of those of all."""
        return sum(each.normal_bound for each in self.penalties)

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D x``, ``(*problems, component, *image)``."""
        lead = x.shape[: x.ndim - self.image_axes]
        result = x.new_empty(*lead, self.components, *x.shape[x.ndim - self._axes :])
        unknowns = self._unknowns(x)
        for each, one, part in zip(self.penalties, unknowns, self._parts(result), strict=True):
            part.copy_(each.transform(one))
        return result

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``D^H u``."""
        lead, image = u.shape[: u.ndim - self.transform_axes], u.shape[u.ndim - self._axes :]
        own = (self.unknowns,) if self.unknowns > 1 else ()
        pairs = zip(self.penalties, self._parts(u), strict=True)
        return self._sum_of(
            (each.transform_adjoint(part) for each, part in pairs), u.new_zeros(*lead, *own, *image)
        )

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D^H D x``."""
        pairs = zip(self.penalties, self._unknowns(x), strict=True)
        return self._sum_of(
            (each.transform_normal(one) for each, one in pairs), x.new_zeros(x.shape)
        )

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        import torch

        pairs = zip(self.penalties, self._unknowns(x), strict=True)
        return torch.stack([each.value(one) for each, one in pairs]).sum(0)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shrink the components of each penalty by its own rule."""
        for each, part in zip(self.penalties, self._parts(u), strict=True):
            part.copy_(each.shrink_(part.contiguous(), step))
        return u


def several_images(kinds: Sequence[type[Penalty]], along: Sequence[int]) -> float:
    """Return the images that `admm` holds besides those of one penalty without transform.

    ``along`` are the axes that each acts along.
    """
    pairs = list(zip(kinds, along, strict=True))
    components = sum(kind.components_along(axes) for kind, axes in pairs)
    unknowns = 1 + sum(kind.unknowns_along(axes) - 1 for kind, axes in pairs)
    own = 1.6 * unknowns if unknowns > 1 else 0.0  # their equations, and some put together
    return 5.0 * components + 4.0 * unknowns + own - 4.0
