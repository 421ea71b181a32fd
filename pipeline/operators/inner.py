"""Inner products that are accurate whatever the precision of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CHUNK_ON_CPU, _CHUNK_ON_DEVICE = 2**16, 2**20
"""Numbers that are converted to double precision at a time: on a CPU what stays in its cache, and
what the C library uses again rather than map anew, which takes five times as long."""


def chunk_size(device: torch.device) -> int:
    """Return how many real numbers are best worked on at a time."""
    return _CHUNK_ON_CPU if device.type == "cpu" else _CHUNK_ON_DEVICE


def inner_product(x: Tensor, y: Tensor, image_axes: int) -> Tensor:
    """Return the real part of ``<x, y>`` for each image, accumulated in float64.

    In complex64 accumulation alone moves the tenth iterate of conjugate gradients by a percent.

    `x` and `y` are complex and of one shape, of which the last `image_axes` make one image; the
    result is float64, of the shape of the leading axes.
    """
    import torch

    leading = x.shape[: x.ndim - image_axes]
    # Re(conj(x) y) is the real inner product of the parts, which converts without temporaries of
    # the size of an image.
    a, b = (
        torch.view_as_real(tensor.resolve_conj().contiguous()).reshape(*leading, -1)
        for tensor in (x, y)
    )
    total = torch.zeros(leading, dtype=torch.float64, device=x.device)
    step = max(1, chunk_size(x.device) // max(1, leading.numel()))
    for start in range(0, a.shape[-1], step):
        chunk = slice(start, start + step)
        total += (a[..., chunk].double() * b[..., chunk].double()).sum(-1)
    return total


def inner_product_bytes() -> int:
    """Return the bytes of the chunks in double precision and of their product."""
    return 3 * 8 * _CHUNK_ON_DEVICE
