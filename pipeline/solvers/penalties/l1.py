"""Few voxels that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import NoiseRule


class L1(Penalty):
    """``weight * sum |x|``: few voxels that are not zero."""

    sparse = True

    @staticmethod
    def usual_weight(axes: int) -> NoiseRule:
        """Return what keeps hardly any noise: few voxels stand alone."""
        return "noise"

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        return self._sum(x.abs(), self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten every number, see `soft_threshold_`."""
        from pipeline.solvers.proximal import soft_threshold_

        return soft_threshold_(u, self._threshold(u, step, self.image_axes))


PENALTY = L1
