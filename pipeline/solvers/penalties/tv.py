"""Total variation: flat regions with sharp borders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.solvers.penalty import Penalty

if TYPE_CHECKING:
    import torch

    from pipeline.solvers.penalty import Weight


class TotalVariation(Penalty):
    """``weight * sum_r |(D x)(r)|_2``, ``D`` finite differences: isotropic total variation [1]_.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one image, all of them spatial.
    iterations, change
        Of the inner iteration of `proximal`, see `total_variation_proximal`, which goes on from
        where the call before it ended: as the outer iteration settles, so does the inner one, and
        few are needed. ADMM has none.

    References
    ----------
    .. [1] L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal
       algorithms", Physica D 60, 259-268 (1992).
    """

    identity = False
    usual_weight = "noise/3"

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return an image and two dual vectors, of the inner iteration."""
        return 1.0 + 2.0 * axes

    @staticmethod
    def split_images(axes: int) -> float:
        """Return the gradient and its divergence, in place of what a split image takes."""
        return 5.0 * axes - 2.5

    @staticmethod
    def normal_diagonal(axes: int) -> int:
        """Return 2 an axis: the squared norm of a difference."""
        return 2 * axes

    def __init__(
        self, weight: Weight, image_axes: int, *, iterations: int = 5, change: float = 0.0
    ) -> None:
        super().__init__(weight, image_axes)
        self.components = image_axes
        self.iterations = iterations
        self.change = change

    @property
    def transform_axes(self) -> int:
        """One more than an image has: the component's comes first."""
        return self.image_axes + 1

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return forward differences, ``(*problems, axis, *image)``."""
        from pipeline.solvers.differences import differences

        return differences(x, self.image_axes)

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the negative divergence."""
        from pipeline.solvers.differences import differences_adjoint

        return differences_adjoint(u, self.image_axes)

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return the negative Laplacian."""
        from pipeline.solvers.differences import differences_normal

        return differences_normal(x, self.image_axes)

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

        if "dual" not in kept:
            parts = (self.image_axes, 2, *x.shape)
            kept["dual"] = torch.zeros(parts, dtype=x.real.dtype, device=x.device)
        return total_variation_proximal(
            x,
            self.weight.to(step.device) * step,
            self.image_axes,
            iterations=self.iterations,
            change=self.change,
            dual=kept["dual"],
        )


PENALTY = TotalVariation
