"""Penalties ``R(x) = weight * sum |...|`` as the solvers need them.

Each is a convex function of a linear transform, ``R(x) = f(D x)``. Proximal gradient methods call
`Penalty.proximal` on images; ADMM splits the transform off and calls `Penalty.shrink_` on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from pipeline.errors import ConfigError
from pipeline.solvers.differences import differences, differences_adjoint, differences_normal
from pipeline.solvers.problems import for_images
from pipeline.solvers.proximal import (
    group_soft_threshold_,
    soft_threshold_,
    total_variation_proximal,
)
from pipeline.solvers.wavelets import coarse_boxes, wavelets, wavelets_adjoint

Weight = float | torch.Tensor


class Penalty(ABC):
    """A convex penalty with a weight.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one image.

    Attributes
    ----------
    components
        How many images ``D x`` is as large as.
    identity
        Whether ``D`` is the identity.
    """

    components: int = 1
    identity: bool = True

    def __init__(self, weight: Weight, image_axes: int) -> None:
        self.weight = torch.as_tensor(weight, dtype=torch.float64)
        self.image_axes = image_axes
        if not bool((self.weight >= 0).all()):
            raise ConfigError(
                f"{type(self).__name__}: found weight {weight}; it may not be negative."
            )

    @property
    def transform_axes(self) -> int:
        """Number of trailing axes of ``D x`` that belong to one image."""
        return self.image_axes

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D x``; ``x`` itself where ``D`` is the identity."""
        return x

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``D^H u``; ``u`` itself where ``D`` is the identity."""
        return u

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``D^H D x``; ``x`` itself where ``D`` is the identity."""
        return x

    @abstractmethod
    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""

    @abstractmethod
    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Overwrite ``u`` with ``argmin_z  step * f(z) + 1/2 |z - u|^2``.

        Parameters
        ----------
        u
            Of the shape of ``D x``.
        step
            float64, one number for each problem.
        """

    def proximal(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return ``argmin_z  step * R(z) + 1/2 |z - x|^2``; it may overwrite ``x``."""
        return self.shrink_(x, step)

    def _threshold(self, like: torch.Tensor, step: torch.Tensor, axes: int) -> torch.Tensor:
        return for_images(self.weight.to(step.device) * step, like, axes)

    def _sum(self, values: torch.Tensor, axes: int) -> torch.Tensor:
        """Return the weighted sum of real values over one image."""
        total = values.sum(dim=tuple(range(-axes, 0)), dtype=torch.float64)
        return self.weight.to(total.device) * total


class L1(Penalty):
    """``weight * sum |x|``: few voxels that are not zero."""

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        return self._sum(x.abs(), self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten every number, see `soft_threshold`."""
        return soft_threshold_(u, self._threshold(u, step, self.image_axes))


class GroupSparsity(Penalty):
    """``weight * sum_r |x(:, r)|_2``, the l2,1 norm: few voxels, the same ones along an axis.

    The first of the image axes is the one along which numbers belong together, so an image of
    several pairs is ``(pair, *shape)`` and has ``1 + len(shape)`` axes.
    """

    def __init__(self, weight: Weight, image_axes: int) -> None:
        super().__init__(weight, image_axes)
        if image_axes < 2:
            raise ConfigError(
                f"GroupSparsity: found image_axes {image_axes}, but the first of them is the "
                "group's, so there must be 2 or more."
            )

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        return self._sum(torch.linalg.vector_norm(x, dim=-self.image_axes), self.image_axes - 1)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the vectors along the group's axis, see `group_soft_threshold`."""
        threshold = self._threshold(u, step, self.image_axes)
        return group_soft_threshold_(u, threshold, -self.image_axes)


class WaveletSparsity(Penalty):
    """``weight * sum |details of W x|``, ``W`` an orthonormal wavelet transform.

    The coarse approximation, of a sixteenth of the voxels an axis, is left as it is.
    """

    identity = False

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """Return wavelet coefficients, in the shape of the image."""
        return wavelets(x, self.image_axes)

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the image of coefficients."""
        return wavelets_adjoint(u, self.image_axes)

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy: the transform is orthonormal."""
        return x.clone()

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        magnitudes = self.transform(x).abs()
        self._coarse(magnitudes).zero_()
        return self._sum(magnitudes, self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the details."""
        coarse = self._coarse(u).clone()
        soft_threshold_(u, self._threshold(u, step, self.image_axes))
        self._coarse(u).copy_(coarse)
        return u

    def proximal(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the details of the image."""
        return self.transform_adjoint(self.shrink_(self.transform(x), step))

    def _coarse(self, u: torch.Tensor) -> torch.Tensor:
        box = coarse_boxes(u.shape[u.ndim - self.image_axes :])[-1]
        for axis, size in enumerate(box, start=-self.image_axes):
            u = u.narrow(axis, 0, size)
        return u


class TotalVariation(Penalty):
    """``weight * sum_r |(D x)(r)|_2``, ``D`` finite differences: isotropic total variation [1]_.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one image, all of them spatial.
    iterations, change
        Of the inner iteration of `proximal`, see `total_variation_proximal`. ADMM has none.

    References
    ----------
    .. [1] L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal
       algorithms", Physica D 60, 259-268 (1992).
    """

    identity = False

    def __init__(
        self, weight: Weight, image_axes: int, *, iterations: int = 100, change: float = 1e-5
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
        return differences(x, self.image_axes)

    def transform_adjoint(self, u: torch.Tensor) -> torch.Tensor:
        """Return the negative divergence."""
        return differences_adjoint(u, self.image_axes)

    def transform_normal(self, x: torch.Tensor) -> torch.Tensor:
        """Return the negative Laplacian."""
        return differences_normal(x, self.image_axes)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``R(x)`` for each problem, float64."""
        lengths = torch.linalg.vector_norm(self.transform(x), dim=-self.transform_axes)
        return self._sum(lengths, self.image_axes)

    def shrink_(self, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Shorten the gradient of every voxel."""
        threshold = self._threshold(u, step, self.transform_axes)
        return group_soft_threshold_(u, threshold, -self.transform_axes)

    def proximal(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Denoise by an inner iteration, see `total_variation_proximal`."""
        return total_variation_proximal(
            x,
            self.weight.to(step.device) * step,
            self.image_axes,
            iterations=self.iterations,
            change=self.change,
        )
