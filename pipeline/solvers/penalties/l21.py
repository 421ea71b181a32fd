"""Few voxels that are not zero, the same ones along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import Weight


class GroupSparsity(Penalty):
    """``weight * sum_r |x(:, r)|_2``, the l2,1 norm: few voxels, the same ones along an axis.

    The first of the image axes is the one along which numbers belong together, so images of several
    pairs, or of a series, are ``(image, *shape)`` and have ``1 + len(shape)`` axes.
    """

    sparse = True
    joins = True
    directions = ()

    def __init__(self, weight: Weight, image_axes: int, axes: Sequence[int] | None = None) -> None:
        super().__init__(weight, image_axes, axes)
        if image_axes < 2:
            raise ConfigError(
                f"GroupSparsity: found image_axes {image_axes}, but the first of them is the "
                "group's, so there must be 2 or more."
            )

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        import torch

        return self._sum(torch.linalg.vector_norm(x, dim=-self.image_axes), self.image_axes - 1)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the vectors along the group's axis, see `group_soft_threshold_`."""
        from pipeline.solvers.proximal import group_soft_threshold_

        threshold = self._threshold(u, step, self.image_axes)
        return group_soft_threshold_(u, threshold, -self.image_axes)


PENALTY = GroupSparsity
