"""Coil maps from low-resolution coil images, by the dominant vector of local covariances.

Torch is imported when they are made: their memory is predicted where it need not be.

References
----------
.. [1] D. O. Walsh, A. F. Gmitro, M. W. Marcellin, "Adaptive reconstruction of phased array MR
   imagery", Magn. Reson. Med. 43, 682-690 (2000).
.. [2] D. L. Parker, A. Payne, N. Todd, J. R. Hadley, "Phase reconstruction from multiple coil data
   using a virtual reference coil", Magn. Reson. Med. 72, 563-569 (2014).
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.geometry.axes import as_volume

if TYPE_CHECKING:
    from torch import Tensor

_COVARIANCE_BYTES = 64 * 2**20
"""Covariances of coils that are made together, where not a neighbourhood alone is more."""
_NEIGHBOURHOOD = 5
"""Width along each axis longer than one [voxel]."""


def walsh_maps(images: "Tensor") -> "Tensor":
    """Return the coil maps that combine coil images adaptively [1]_.

    At each voxel, the covariance of the coils over a small neighbourhood has the sensitivities
    there as its dominant eigenvector, up to a factor. The factor is chosen so that the maps have
    unit norm and the phase of a virtual coil becomes zero everywhere: that combination of the coils
    which receives most signal from the whole object [2]_. So maps are as smooth as sensitivities
    are, and images keep the phase that the virtual coil would see.

    ``images`` are complex ``(coil, z, y, x)``, of low resolution; so are the maps. Their root sum
    of squares is 1 over the coils, 0 where there is no signal at all.
    """
    import torch

    coils, depth, *plane = images.shape
    images = images / images.abs().amax().clamp_min(torch.finfo(images.real.dtype).tiny)
    virtual = _dominant(torch.einsum("czyx,dzyx->cd", images, images.conj()))
    # An eigenvector has any phase, another one in each library: its largest entry becomes real.
    virtual = virtual * torch.exp(-1j * virtual[virtual.abs().argmax()].angle())
    reach = [_NEIGHBOURHOOD // 2 if size > 1 else 0 for size in images.shape[1:]]
    plane_bytes = coils**2 * plane[0] * plane[1] * images.element_size()
    planes = max(1, _COVARIANCE_BYTES // plane_bytes - 2 * reach[0])
    maps = torch.empty_like(images)
    for start in range(0, depth, planes):
        stop = min(start + planes, depth)
        first, last = max(0, start - reach[0]), min(depth, stop + reach[0])
        part = images[:, first:last]
        covariance = torch.einsum("czyx,dzyx->zyxcd", part, part.conj())
        for axis, distance in enumerate(reach):
            covariance = _sum_over_neighbours(covariance, axis, distance)
        vector = _dominant(covariance[start - first : stop - first])
        along = torch.einsum("zyxc,c->zyx", vector, virtual.conj())
        vector = vector * torch.exp(-1j * along.angle())[..., None]
        maps[:, start:stop] = vector.movedim(-1, 0)
    return maps


def covariance_bytes(grid: Sequence[int], coils: int) -> int:
    """Return the bytes that `walsh_maps` holds of covariances on a grid; measured."""
    depth, *plane = as_volume(grid)
    plane_bytes = 8 * coils**2 * math.prod(plane)
    around = 2 * (_NEIGHBOURHOOD // 2)
    reach = around if depth > 1 else 0
    parts = min(depth, max(1, _COVARIANCE_BYTES // plane_bytes - reach) + reach)
    # The covariances, zeros for an edge, both joined with an edge on either side, and the sum; and
    # the vectors of the part before.
    edge = max(around / size for size in (parts, *plane) if size > 1)
    return int((3 + 1.5 * edge + 1 / coils) * parts * plane_bytes)


def _dominant(covariance: "Tensor") -> "Tensor":
    """Return the unit eigenvector of the largest eigenvalue, zero for a covariance of zero."""
    import torch

    values, vectors = torch.linalg.eigh(covariance)
    vector: Tensor = vectors[..., -1] * (values[..., -1:] > 0)
    return vector


def _sum_over_neighbours(array: "Tensor", axis: int, reach: int) -> "Tensor":
    """Return sums over ``2 * reach + 1`` neighbours along an axis; beyond the edges is nothing."""
    import torch

    if reach == 0:
        return array
    padding = list(array.shape)
    padding[axis] = reach
    edge = array.new_zeros(padding)
    padded = torch.cat([edge, array, edge], dim=axis)
    size = array.shape[axis]
    total = padded.narrow(axis, 0, size).clone()
    for shift in range(1, 2 * reach + 1):
        total += padded.narrow(axis, shift, size)
    return total
