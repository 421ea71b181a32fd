"""Total variation: flat regions with sharp borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import NoiseRule, Weight


class TotalVariation(Penalty):
    """``weight * sum_r |(D x)(r)|_2``, ``D`` finite differences: isotropic total variation [1]_.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one problem.
    axes
        Those along which differences are taken, negative; default: all. Along the series alone it
        is the temporal total variation of [2]_.
    iterations, change
        Of the inner iteration of `proximal`, see `total_variation_proximal`, which goes on from
        where the call before it ended: as the outer iteration settles, so does the inner one, and
        few are needed. ADMM has none.

    References
    ----------
    .. [1] L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal
       algorithms", Physica D 60, 259-268 (1992).
    .. [2] L. Feng, R. Grimm, K. T. Block, H. Chandarana, S. Kim, J. Xu, L. Axel, D. K. Sodickson,
       R. Otazo, "Golden-angle radial sparse parallel MRI: combination of compressed sensing,
       parallel imaging, and golden-angle radial sampling for fast and flexible dynamic volumetric
       MRI", Magn. Reson. Med. 72, 707-717 (2014).
    """

    identity = False
    directions = ("space", "series", "both")

    @staticmethod
    def usual_weight(axes: int) -> NoiseRule:
        """Return a part of what noise alone seldom exceeds.

        Along more axes more differences share the noise of a voxel, so that less removes it.
        """
        return "noise/6" if axes > 2 else "noise/3"

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return an image and two dual vectors, of the inner iteration, and lines put in order."""
        return 3.0 + 2.0 * axes

    @staticmethod
    def kept_images(axes: int) -> float:
        """Return a dual vector."""
        return float(axes)

    @staticmethod
    def split_images(axes: int) -> float:
        """Return the gradient and its divergence, in place of what a split image takes."""
        return 5.0 * axes - 2.5

    @staticmethod
    def components_along(axes: int) -> int:
        """Return one difference an axis."""
        return axes

    @property
    def normal_diagonal(self) -> float:
        """2 an axis: the squared norm of a difference."""
        return 2.0 * len(self.axes)

    @property
    def normal_bound(self) -> float:
        """4 an axis: of voxels that alternate."""
        return 4.0 * len(self.axes)

    def __init__(
        self,
        weight: Weight,
        image_axes: int,
        axes: Sequence[int] | None = None,
        *,
        iterations: int = 5,
        change: float = 0.0,
    ) -> None:
        super().__init__(weight, image_axes, axes)
        self.iterations = iterations
        self.change = change

    @property
    def transform_axes(self) -> int:
        """One more than an image has: the component's comes first."""
        return self.image_axes + 1

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return forward differences, ``(*problems, axis, *image)``."""
        from pipeline.solvers.differences import differences

        return differences(x, self.image_axes, self.axes)

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the negative divergence."""
        from pipeline.solvers.differences import differences_adjoint

        return differences_adjoint(u, self.image_axes, self.axes)

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return the negative Laplacian."""
        from pipeline.solvers.differences import differences_normal

        return differences_normal(x, self.axes)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        import torch

        lengths = torch.linalg.vector_norm(self.transform(x), dim=-self.transform_axes)
        return self._sum(lengths, self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the gradient of every voxel."""
        from pipeline.solvers.proximal import group_soft_threshold_

        threshold = self._threshold(u, step, self.transform_axes)
        return group_soft_threshold_(u, threshold, -self.transform_axes)

    def proximal(
        self, x: torch.Tensor, step: torch.Tensor, kept: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Denoise by an inner iteration, see `total_variation_proximal`; keeps its dual."""
        import torch

        from pipeline.solvers.proximal import total_variation_proximal

        # Each line or plane along the other axes is denoised by itself.
        others = [axis for axis in range(-self.image_axes, 0) if axis not in self.axes]
        ends = list(range(-len(self.axes), 0))
        apart = x.movedim(self.axes, ends).contiguous() if others else x
        if "dual" not in kept:
            parts = (len(self.axes), 2, *apart.shape)
            kept["dual"] = torch.zeros(parts, dtype=x.real.dtype, device=x.device)
        threshold = (self.weight.to(step.device) * step).expand(x.shape[: x.ndim - self.image_axes])
        threshold = threshold[(..., *(None,) * len(others))]
        found = total_variation_proximal(
            apart,
            threshold.expand(apart.shape[: apart.ndim - len(ends)]),
            len(self.axes),
            iterations=self.iterations,
            change=self.change,
            dual=kept["dual"],
        )
        return found.movedim(ends, self.axes).contiguous() if others else found


PENALTY = TotalVariation
