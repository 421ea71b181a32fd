"""Finite differences between neighbouring voxels, and the exact adjoint."""

from collections.abc import Sequence

import torch


def differences(x: torch.Tensor, image_axes: int, axes: Sequence[int]) -> torch.Tensor:
    """Return forward differences along some axes; the last one of an axis is zero.

    Parameters
    ----------
    x
        Images of shape ``(*problems, *image)``.
    image_axes
        Number of trailing axes that make one image.
    axes
        Negative, of ``x``.

    Returns
    -------
    Tensor
        ``(*problems, axis, *image)`` with one component for each of the axes, in the units of `x`
        (per voxel, not per metre). Their operator norm is less than ``2 sqrt(len(axes))``.
    """
    position = x.ndim - image_axes
    result = x.new_zeros(*x.shape[:position], len(axes), *x.shape[position:])
    for component, axis in enumerate(axes):
        size = x.shape[axis] - 1
        along = result.select(position, component).narrow(axis, 0, size)
        along.copy_(x.narrow(axis, 1, size)).sub_(x.narrow(axis, 0, size))
    return result


def differences_adjoint(u: torch.Tensor, image_axes: int, axes: Sequence[int]) -> torch.Tensor:
    """Apply the conjugate transpose of `differences`: the negative divergence.

    ``(*problems, axis, *image)`` becomes ``(*problems, *image)``.
    """
    position = u.ndim - image_axes - 1
    result = u.new_zeros(*u.shape[:position], *u.shape[position + 1 :])
    for component, axis in enumerate(axes):
        add_differences_adjoint(result, u.select(position, component), axis)
    return result


def differences_normal(x: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Apply `differences` and its adjoint, the negative Laplacian, without a gradient in memory."""
    result = torch.zeros_like(x)
    for axis in axes:
        size = x.shape[axis] - 1
        before, after = x.narrow(axis, 0, size), x.narrow(axis, 1, size)
        result.narrow(axis, 1, size).add_(after).sub_(before)
        result.narrow(axis, 0, size).add_(before).sub_(after)
    return result


def add_differences(
    result: torch.Tensor, x: torch.Tensor, axis: int, factor: float = 1.0, less: int = 1
) -> None:
    """Add `factor` times the forward differences along an axis, but for the last ones of it."""
    size = max(0, x.shape[axis] - less)
    inner = result.narrow(axis, 0, size)
    inner.add_(x.narrow(axis, min(1, size), size), alpha=factor)
    inner.sub_(x.narrow(axis, 0, size), alpha=factor)


def add_differences_adjoint(
    result: torch.Tensor, u: torch.Tensor, axis: int, factor: float = 1.0, less: int = 1
) -> None:
    """Add the conjugate transpose of `add_differences`."""
    size = max(0, u.shape[axis] - less)
    inner = u.narrow(axis, 0, size)
    result.narrow(axis, 0, size).sub_(inner, alpha=factor)
    result.narrow(axis, min(1, size), size).add_(inner, alpha=factor)
