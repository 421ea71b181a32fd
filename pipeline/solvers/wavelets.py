"""Daubechies' orthonormal wavelet transform with two vanishing moments, on periodic images.

References
----------
.. [1] I. Daubechies, "Orthonormal bases of compactly supported wavelets", Commun. Pure Appl. Math.
   41, 909-996 (1988).
.. [2] I. Daubechies, W. Sweldens, "Factoring wavelet transforms into lifting steps", J. Fourier
   Anal. Appl. 4, 247-269 (1998).
"""

import itertools
import math
from collections.abc import Sequence

import torch

_ROOT = math.sqrt(3)
_COARSE, _DETAIL = (_ROOT - 1) / math.sqrt(2), -(_ROOT + 1) / math.sqrt(2)
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
    """Return approximation and details of one level, in steps that lift one by the other [2]_."""
    even, odd = (x.movedim(axis, 0)[first::2].movedim(0, axis) for first in (0, 1))
    coarse = torch.add(even, odd, alpha=_ROOT)
    detail = torch.sub(odd, coarse, alpha=_ROOT / 4)
    detail = detail.sub_(coarse.roll(1, axis), alpha=(_ROOT - 2) / 4).roll(-1, axis)
    coarse.sub_(detail).mul_(_COARSE)
    return torch.cat([coarse, detail.mul_(_DETAIL)], dim=axis)


def _synthesise(u: torch.Tensor, axis: int) -> torch.Tensor:
    """Undo the steps of `_analyse`, last one first."""
    coarse, detail = u.chunk(2, dim=axis)
    detail = detail / _DETAIL
    coarse = (coarse / _COARSE).add_(detail)
    odd = detail.roll(1, axis).add_(coarse, alpha=_ROOT / 4)
    del detail
    odd.add_(coarse.roll(1, axis), alpha=(_ROOT - 2) / 4)
    even = coarse.sub_(odd, alpha=_ROOT)
    return torch.stack([even, odd], dim=axis).flatten(axis - 1, axis)
