"""Penalties ``R(x) = weight * sum |...|`` as the solvers need them.

Each is a convex function of a linear transform, ``R(x) = f(D x)``. Proximal gradient methods call
`Penalty.proximal` on images; ADMM splits the transform off and calls `Penalty.shrink_` on it.
Settings ask the classes what they allow, so neither this module nor `pipeline.solvers.penalties`
loads torch before a penalty is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import torch

    Weight = float | torch.Tensor

NoiseRule = Literal["noise", "noise/3", "noise/6"]
"""`pipeline.solvers.regularization.noise_weight`, which noise alone seldom exceeds, or a part."""


class Penalty(ABC):
    """A convex penalty with a weight.

    Parameters
    ----------
    weight
        In the units of ``b``; one number, or one for each problem.
    image_axes
        Number of trailing axes that make one problem: those of an image, and before them that of a
        series or of pairs where these are solved for together.
    axes
        Those of them along which it acts, negative; default: all.

    Attributes
    ----------
    components
        How many images ``D x`` is as large as.
    unknowns
        How many images are found together: the image, and what the penalty is the minimum over.
        Where there is more than one, their axis is the first of a problem and of `image_axes`, and
        ``R`` below is a function of all.
    restless
        Whether `proximal` is another one at each call, so that images never settle.
    identity
        Whether ``D`` is the identity.
    sparse
        Whether it makes voxels exactly zero, so that least squares on the others undo its dimming.
    joins
        Whether it couples images, along the axis that is then the first of the problem: those of a
        series, or of antenna pairs.
    directions
        Along what of a series it may act: ``space``, ``series`` or ``both``; of none where there is
        no choice.
    """

    identity: ClassVar[bool] = True
    restless: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    directions: ClassVar[tuple[str, ...]] = ("space",)

    def __init__(self, weight: Weight, image_axes: int, axes: Sequence[int] | None = None) -> None:
        import torch

        self.weight = torch.as_tensor(weight, dtype=torch.float64)
        self.image_axes = image_axes
        self.axes = tuple(range(-image_axes, 0)) if axes is None else tuple(axes)
        self.components = self.components_along(len(self.axes))
        self.unknowns = self.unknowns_along(len(self.axes))
        if not bool((self.weight >= 0).all()):
            raise ConfigError(
                f"{type(self).__name__}: found weight {weight}; it may not be negative."
            )

    @staticmethod
    def usual_weight(axes: int) -> NoiseRule | None:
        """Return the rule for a weight that gives good images by default, along so many axes.

        It needs the noise. `None` where no such rule is for this penalty.
        """
        return None

    @staticmethod
    def components_along(axes: int) -> int:
        """Return how many images ``D x`` is as large as, along so many axes."""
        return 1

    @staticmethod
    def unknowns_along(axes: int) -> int:
        """Return how many images are found together, along so many axes."""
        return 1

    @staticmethod
    def proximal_images(axes: int) -> float:
        """Return the images that `proximal` holds besides its argument, along so many axes."""
        return 0.0

    @staticmethod
    def shrink_images() -> float:
        """Return the images that `transform` or `shrink_` hold besides argument and result."""
        return 0.5

    @staticmethod
    def kept_images(axes: int) -> float:
        """Return the images that `proximal` keeps from call to call."""
        return 0.0

    @staticmethod
    def split_images(axes: int) -> float:
        """Return the images that `admm` holds besides those of a penalty without transform."""
        return 0.0

    @property
    def normal_diagonal(self) -> float:
        """The mean diagonal of ``D^H D``."""
        return 1.0

    @property
    def normal_bound(self) -> float:
        """No smaller than the largest eigenvalue of ``D^H D``."""
        return 1.0

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

    def proximal(
        self, x: torch.Tensor, step: torch.Tensor, kept: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return ``argmin_z  step * R(z) + 1/2 |z - x|^2``; it may overwrite ``x``.

        Parameters
        ----------
        kept
            What the penalty keeps for the next call of the same solve; empty before the first. A
            solver that can be resumed keeps it with its state.
        """
        return self.shrink_(x, step)

    def _threshold(self, like: torch.Tensor, step: torch.Tensor, axes: int) -> torch.Tensor:
        from pipeline.solvers.problems import for_images

        return for_images(self.weight.to(step.device) * step, like, axes)

    def _sum(self, values: torch.Tensor, axes: int) -> torch.Tensor:
        """Return the weighted sum of real values over one image."""
        import torch

        total = values.sum(dim=tuple(range(-axes, 0)), dtype=torch.float64)
        return self.weight.to(total.device) * total
