"""Total generalised variation: regions of even slope with sharp borders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import NoiseRule, Weight


class TotalGeneralizedVariation(Penalty):
    """``weight * min_v sum_r |(D x - v)(r)|_2 + 2 |(E v)(r)|_F``, of second order [1]_ [2]_.

    ``D`` are finite differences, ``E v`` the symmetrised ones of ``v``: half the sum of the
    differences of ``v_i`` along axis ``j`` and of ``v_j`` along ``i``. What rises evenly costs
    nothing, so that slopes do not become stairs as by total variation. ``v`` is found with the
    image: the unknowns of a problem are ``(1 + axis, *image)``, the image first. No difference
    reaches beyond the border, so ``v_i`` has no use in the last voxel along axis ``i``.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one problem, less that of the unknowns.
    axes
        Those along which differences are taken, negative; default: all.

    References
    ----------
    .. [1] K. Bredies, K. Kunisch, T. Pock, "Total generalized variation", SIAM J. Imaging Sci. 3,
       492-526 (2010).
    .. [2] F. Knoll, K. Bredies, T. Pock, R. Stollberger, "Second order total generalized variation
       (TGV) for MRI", Magn. Reson. Med. 65, 480-491 (2011): the ratio of both weights.
    """

    identity = False
    directions = ("space", "series", "both")
    ratio = 2.0
    """Weight of the second differences over that of the first."""

    @staticmethod
    def usual_weight(axes: int) -> NoiseRule:
        """Return that of total variation, which noise pays for likewise."""
        return "noise/6" if axes > 2 else "noise/3"

    def __init__(self, weight: Weight, image_axes: int, axes: Sequence[int] | None = None) -> None:
        super().__init__(weight, image_axes, axes)
        self.image_axes += 1

    @staticmethod
    def components_along(axes: int) -> int:
        """Return the differences of the image, and those of ``v``, each pair of axes once."""
        return axes + axes * (axes + 1) // 2

    @staticmethod
    def unknowns_along(axes: int) -> int:
        """Return the image and ``v``."""
        return 1 + axes

    @classmethod
    def split_images(cls, axes: int) -> float:
        """Return ``v``, its equations and all differences, in place of what a split image takes."""
        return 5.0 * (1 + axes) + 5.0 * cls.components_along(axes) - 6.5

    @property
    def normal_diagonal(self) -> float:
        """2 an axis for the image; for ``v_i`` itself 1, 2 for its own axis, 1 for each other."""
        axes = len(self.axes)
        return axes * (axes + 4) / (axes + 1)

    @property
    def normal_bound(self) -> float:
        """Of the matrix ``((4 n, 2 sqrt n), (2 sqrt n, 1 + 4 n))`` of bounds, for ``n`` axes."""
        axes = len(self.axes)
        return (8 * axes + 1 + math.sqrt(16 * axes + 1)) / 2

    def _second(self) -> Iterator[tuple[int, int, int, float, int]]:
        """Yield what ``E v`` is made of: component, unknown, axis, factor, differences left out.

        Two entries of ``E v`` stand as one, larger by the root of two.
        """
        pairs = itertools.combinations_with_replacement(enumerate(self.axes, start=1), 2)
        for component, ((i, along_i), (j, along_j)) in enumerate(pairs, start=len(self.axes)):
            if i == j:
                yield component, i, along_i, 1.0, 2
            else:
                yield component, i, along_j, math.sqrt(0.5), 1
                yield component, j, along_i, math.sqrt(0.5), 1

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D x - v`` and ``E v``, ``(*problems, component, *image)``."""
        from pipeline.solvers.differences import add_differences

        where, axes = x.ndim - self.image_axes, len(self.axes)
        size = self.components_along(axes)
        result = x.new_zeros(*x.shape[:where], size, *x.shape[where + 1 :])
        result.narrow(where, 0, axes).sub_(x.narrow(where, 1, axes))
        for component, axis in enumerate(self.axes):
            add_differences(result.select(where, component), x.select(where, 0), axis)
        for component, unknown, axis, factor, less in self._second():
            along = result.select(where, component)
            add_differences(along, x.select(where, unknown), axis, factor, less)
        return result

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the image that is the negative divergence, and what is of ``v``."""
        from pipeline.solvers.differences import add_differences_adjoint

        where, axes = u.ndim - self.image_axes, len(self.axes)
        result = u.new_zeros(*u.shape[:where], 1 + axes, *u.shape[where + 1 :])
        result.narrow(where, 1, axes).sub_(u.narrow(where, 0, axes))
        for component, axis in enumerate(self.axes):
            add_differences_adjoint(result.select(where, 0), u.select(where, component), axis)
        for component, unknown, axis, factor, less in self._second():
            along = u.select(where, component)
            add_differences_adjoint(result.select(where, unknown), along, axis, factor, less)
        return result

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D^H D x``."""
        return self.transform_adjoint(self.transform(x))

    def _terms(self, u: torch.Tensor) -> Iterator[tuple[float, torch.Tensor]]:
        """Yield the relative weight and the components of each term."""
        where, axes = u.ndim - self.image_axes, len(self.axes)
        yield 1.0, u.narrow(where, 0, axes)
        yield self.ratio, u.narrow(where, axes, u.shape[where] - axes)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R`` of image and ``v`` for each problem, float64."""
        import torch

        axes = self.image_axes
        parts = [
            ratio * self._sum(torch.linalg.vector_norm(u, dim=-axes), axes - 1)
            for ratio, u in self._terms(self.transform(x))
        ]
        return torch.stack(parts).sum(0)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten both kinds of differences of every voxel."""
        from pipeline.solvers.proximal import group_soft_threshold_

        threshold = self._threshold(u, step, self.image_axes)
        for ratio, part in self._terms(u):
            group_soft_threshold_(part, ratio * threshold, -self.image_axes)
        return u


PENALTY = TotalGeneralizedVariation
