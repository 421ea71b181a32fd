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
from collections.abc import Iterator

import torch

from pipeline.operators.inner import chunk_size
from pipeline.solvers.problems import quotient

Threshold = float | torch.Tensor


def soft_threshold(x: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Shorten every number by the threshold and keep its phase: for ``threshold |z|_1`` [1]_.

    Differentiable in both arguments; where the result is zero, so are the gradients.
    """
    return x * _remaining(x.abs(), threshold)


def soft_threshold_(x: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Do `soft_threshold` in place: half an image is all the memory it takes."""
    return _times_(x, _remaining_(x.abs(), threshold))


def group_soft_threshold_(x: torch.Tensor, threshold: Threshold, axis: int) -> torch.Tensor:
    """Shorten vectors along an axis in place: for ``threshold sum |z|_2`` [1]_.

    The threshold broadcasts against `x` with `axis`, along which numbers belong together (the pairs
    of a voxel, say), of size one.
    """
    return _times_(x, _remaining_(torch.linalg.vector_norm(x, dim=axis, keepdim=True), threshold))


def _times_(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Multiply by real numbers in place; torch would make complex ones of them first."""
    parts = torch.view_as_real(x) if x.is_complex() else x.unsqueeze(-1)
    parts.mul_(factors.unsqueeze(-1))
    return x


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
    dual: torch.Tensor | None = None,
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
        Change of the image in one iteration, relative to the image, at which all is done; 0 does
        all iterations.
    dual
        Where to begin, overwritten with where it ended: real, ``(axis, part, *problems, *image)``
        with the real and the imaginary part apart; `None` for zero. Who denoises nearly the same
        image again begins near the end.
    """
    lead, shape = x.shape[: x.ndim - image_axes], x.shape[x.ndim - image_axes :]
    problems = math.prod(lead)
    # Parts apart, all that follows is arithmetic on long rows of real numbers.
    parts = torch.view_as_real(x.resolve_conj()).movedim(-1, 0).reshape(2, problems, *shape)
    if dual is None:
        dual = torch.zeros((image_axes, 2, *lead, *shape), dtype=parts.dtype, device=x.device)
    now = dual.view(image_axes, *parts.shape)
    ahead, image = now.clone(), torch.empty(parts.shape, dtype=parts.dtype, device=x.device)
    weight = torch.as_tensor(threshold, dtype=torch.float64, device=x.device).expand(lead)
    scale = weight.reshape(problems, *(1,) * image_axes)
    # In units of the threshold; without one the image is x whatever the dual is.
    inverse, scale = quotient(1, scale).to(parts.dtype), scale.to(parts.dtype)
    pieces = list(_pieces(problems, shape, x.device))
    momentum = 1.0
    for _ in range(iterations):
        moved, size = torch.zeros((2, problems), dtype=torch.float64, device=x.device)
        for some, rows in pieces:
            part = image[:, some, rows]
            old = part.clone() if change > 0 else None
            torch.mul(parts[:, some, rows], inverse[some], out=part)
            _add_divergence(part, ahead[:, :, some], rows)
            if old is not None:
                moved[some] += _squares(old.sub_(part))
                size[some] += _squares(part)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        # dual + (t - 1) / t' (newer - dual), written so that the old dual is overwritten.
        factor, momentum = (momentum - 1) / following, following
        for some, rows in pieces:
            newer = ahead[:, :, some, rows]
            _add_differences(newer, image[:, some], rows, 1 / (4 * image_axes))
            newer.mul_(_within_one(newer))
            now[:, :, some, rows].mul_(-factor).add_(newer, alpha=1 + factor)
        now, ahead = ahead, now
        if change > 0 and bool((moved <= change**2 * size).all()):
            break
    if now.data_ptr() != dual.data_ptr():
        dual.view(now.shape).copy_(now)
    del ahead, now
    for some, rows in pieces:
        part = image[:, some, rows].zero_()
        _add_divergence(part, dual.view(image_axes, *parts.shape)[:, :, some], rows)
        part.mul_(scale[some]).add_(parts[:, some, rows])
    return torch.complex(*image).reshape(x.shape)


def _pieces(
    problems: int, shape: torch.Size, device: torch.device
) -> Iterator[tuple[slice, slice]]:
    """Cut into problems and rows of the first image axis that together stay in a cache."""
    size, row = chunk_size(device), math.prod(shape[1:])
    rows = min(shape[0], max(1, size // max(1, row)))
    together = max(1, size // max(1, row * shape[0]))
    for first in range(0, problems, together):
        for start in range(0, shape[0], rows):
            yield slice(first, first + together), slice(start, min(start + rows, shape[0]))


def _add_divergence(part: torch.Tensor, dual: torch.Tensor, rows: slice) -> None:
    """Add some rows of the divergence, ``-D^H dual``: ``(part, problem, row, ...)``."""
    below = max(rows.start, 1)
    part[:, :, below - rows.start :].sub_(dual[0, :, :, below - 1 : rows.stop - 1])
    part.add_(dual[0, :, :, rows])
    for axis, along in enumerate(dual[1:, :, :, rows], start=3):
        size = along.shape[axis] - 1
        part.add_(along).narrow(axis, 1, size).sub_(along.narrow(axis, 0, size))


def _add_differences(dual: torch.Tensor, image: torch.Tensor, rows: slice, factor: float) -> None:
    """Add some rows of ``factor D image``: ``(axis, part, problem, row, ...)``."""
    stop = min(rows.stop, image.shape[2] - 1)
    first = dual[0, :, :, : stop - rows.start]
    first.add_(image[:, :, rows.start + 1 : stop + 1], alpha=factor)
    first.sub_(image[:, :, rows.start : stop], alpha=factor)
    part = image[:, :, rows]
    for axis, along in enumerate(dual[1:], start=3):
        size = along.shape[axis] - 1
        inner = along.narrow(axis, 0, size).add_(part.narrow(axis, 1, size), alpha=factor)
        inner.sub_(part.narrow(axis, 0, size), alpha=factor)


def _within_one(vectors: torch.Tensor) -> torch.Tensor:
    """Return what shortens vectors along the first two axes to one where they are longer."""
    first, *others = vectors.flatten(0, 1)
    # `vector_norm` over axes that are far apart takes ten times as long.
    squares: torch.Tensor = first.square()
    for other in others:
        squares.addcmul_(other, other)
    return squares.clamp_(min=1).rsqrt_()


def _squares(part: torch.Tensor) -> torch.Tensor:
    """Return the sum of squares for each problem, float64: ``(part, problem, row, ...)``."""
    real, imaginary = (each.square().flatten(1).sum(1, dtype=torch.float64) for each in part)
    both: torch.Tensor = real + imaginary
    return both
