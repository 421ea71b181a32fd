"""Daubechies' orthonormal wavelet transform with two vanishing moments, on periodic images.

References
----------
.. [1] I. Daubechies, "Orthonormal bases of compactly supported wavelets", Commun. Pure Appl. Math.
   41, 909-996 (1988).
"""

import itertools
import math
from collections.abc import Sequence

import torch

_ROOT = math.sqrt(3)
_SCALING = [value / (4 * math.sqrt(2)) for value in (1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT)]
_WAVELET = [_SCALING[3], -_SCALING[2], _SCALING[1], -_SCALING[0]]
_LEVELS = 4
_SMALLEST = 8
"""Axes are halved while they are even and at least as long."""


def coarse_boxes(shape: Sequence[int], levels: int = _LEVELS) -> list[tuple[int, ...]]:
    """Return the shapes of the image and of its coarse approximation after each level.

    Odd or short axes are left as they are.
    """
    boxes = [tuple(int(size) for size in shape)]
    for _ in range(levels):
        halved = tuple(
            size // 2 if size % 2 == 0 and size >= _SMALLEST else size for size in boxes[-1]
        )
        if halved == boxes[-1]:
            break
        boxes.append(halved)
    return boxes


def wavelets(x: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Return the wavelet coefficients of images ``(*problems, *image)``, in the same shape.

    The coarse approximation stands in the first corner, see `coarse_boxes`. Orthonormal: the norm
    stays, and `wavelets_adjoint` is the inverse.
    """
    result = x.clone()
    boxes = coarse_boxes(x.shape[x.ndim - image_axes :])
    for box, halved in itertools.pairwise(boxes):
        part = _corner(result, box)
        for axis in _split_axes(box, halved):
            part.copy_(_analyse(part, axis))
    return result


def wavelets_adjoint(u: torch.Tensor, image_axes: int) -> torch.Tensor:
    """Return the images that have these coefficients."""
    result = u.clone()
    boxes = coarse_boxes(u.shape[u.ndim - image_axes :])
    for box, halved in reversed(list(itertools.pairwise(boxes))):
        part = _corner(result, box)
        for axis in reversed(_split_axes(box, halved)):
            part.copy_(_synthesise(part, axis))
    return result


def _corner(x: torch.Tensor, box: Sequence[int]) -> torch.Tensor:
    for axis, size in enumerate(box, start=x.ndim - len(box)):
        x = x.narrow(axis, 0, size)
    return x


def _split_axes(box: Sequence[int], halved: Sequence[int]) -> list[int]:
    return [axis - len(box) for axis in range(len(box)) if box[axis] != halved[axis]]


def _analyse(x: torch.Tensor, axis: int) -> torch.Tensor:
    length = x.shape[axis]
    even, odd = (
        x.index_select(axis, torch.arange(first, length, 2, device=x.device)) for first in (0, 1)
    )
    following = even.roll(-1, axis), odd.roll(-1, axis)
    parts = [
        taps[0] * even + taps[1] * odd + taps[2] * following[0] + taps[3] * following[1]
        for taps in (_SCALING, _WAVELET)
    ]
    return torch.cat(parts, dim=axis)


def _synthesise(u: torch.Tensor, axis: int) -> torch.Tensor:
    coarse, detail = u.chunk(2, dim=axis)
    even, odd = (
        _SCALING[first] * coarse
        + _WAVELET[first] * detail
        + (_SCALING[first + 2] * coarse + _WAVELET[first + 2] * detail).roll(1, axis)
        for first in (0, 1)
    )
    return torch.stack([even, odd], dim=axis).flatten(axis - 1, axis)
