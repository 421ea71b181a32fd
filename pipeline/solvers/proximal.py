"""Proximal operators: ``argmin_z  R(z) + 1/2 |z - x|^2`` for penalties ``R`` on complex images.

Thresholds are numbers or real tensors that broadcast against the images, in their units.

References
----------
.. [1] N. Parikh, S. Boyd, "Proximal algorithms", Found. Trends Optim. 1, 127-239 (2014).
.. [2] A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained total variation image
   denoising and deblurring problems", IEEE Trans. Image Process. 18, 2419-2434 (2009).
.. [3] A. Chambolle, "An algorithm for total variation minimization and applications", J. Math.
   Imaging Vis. 20, 89-97 (2004).
"""

import math

import torch

from pipeline.solvers.differences import differences, differences_adjoint
from pipeline.solvers.problems import for_images, norm, quotient

Threshold = float | torch.Tensor


def soft_threshold(x: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Shorten every number by the threshold and keep its phase: for ``threshold |z|_1`` [1]_.

    Differentiable in both arguments; where the result is zero, so are the gradients.
    """
    return x * _remaining(x.abs(), threshold)


def soft_threshold_(x: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Do `soft_threshold` in place: half an image is all the memory it takes."""
    return x.mul_(_remaining_(x.abs(), threshold))


def group_soft_threshold_(x: torch.Tensor, threshold: Threshold, axis: int) -> torch.Tensor:
    """Shorten vectors along an axis in place: for ``threshold sum |z|_2`` [1]_.

    The threshold broadcasts against `x` with `axis`, along which numbers belong together (the pairs
    of a voxel, say), of size one.
    """
    return x.mul_(_remaining_(torch.linalg.vector_norm(x, dim=axis, keepdim=True), threshold))


def _remaining(magnitude: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Return the part of the magnitude that is left; its gradient is finite everywhere."""
    excess = torch.relu(magnitude - threshold)
    return excess / torch.where(magnitude > 0, magnitude, 1.0)


def _remaining_(magnitude: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Overwrite magnitudes with what is left of them: ``max(0, 1 - threshold / magnitude)``."""
    magnitude.reciprocal_().mul_(threshold).neg_().add_(1).clamp_(min=0)
    return magnitude.nan_to_num_(nan=0.0)  # infinity times a threshold of zero


def total_variation_proximal(
    x: torch.Tensor,
    threshold: Threshold,
    image_axes: int,
    *,
    iterations: int = 100,
    change: float = 1e-5,
) -> torch.Tensor:
    """Denoise by isotropic total variation: for ``threshold sum_r |(D z)(r)|_2``.

    The dual problem, over one vector no longer than one for each voxel [3]_, is solved by fast
    projected gradients [2]_.

    Parameters
    ----------
    x
        Complex images ``(*problems, *image)``, 1D to 3D.
    threshold
        In the units of `x`; one number or one for each problem.
    change
        Change of the image in one iteration, relative to the image, at which all is done.
    """
    problems = x.shape[: x.ndim - image_axes]
    weight = torch.as_tensor(threshold, dtype=torch.float64, device=x.device).expand(problems)
    scaled = for_images(weight, x, image_axes)
    # No threshold, no step: the dual stays zero and the image is x.
    step = for_images(quotient(1, 4 * image_axes * weight), x, image_axes + 1)
    axis = x.ndim - image_axes
    dual = x.new_zeros(*problems, image_axes, *x.shape[axis:])
    ahead = dual
    image, momentum = x, 1.0
    for _ in range(iterations):
        primal = x - scaled * differences_adjoint(ahead, image_axes)
        candidate = differences(primal, image_axes).mul_(step).add_(ahead)
        length = torch.linalg.vector_norm(candidate, dim=axis, keepdim=True)
        candidate.div_(length.clamp_(min=1))
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        # dual + (t - 1) / t' (candidate - dual), written so that the old dual is overwritten.
        factor = (momentum - 1) / following
        ahead = dual.mul_(-factor).add_(candidate, alpha=1 + factor)
        dual, momentum = candidate, following
        newer = x - scaled * differences_adjoint(dual, image_axes)
        moved = norm(newer - image, image_axes) <= change * norm(newer, image_axes)
        image = newer
        if bool(moved.all()):
            break
    return image
