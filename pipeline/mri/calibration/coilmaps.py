"""Coil maps from low-resolution coil images, and coil maps on other matrices.

References
----------
.. [1] D. O. Walsh, A. F. Gmitro, M. W. Marcellin, "Adaptive reconstruction of phased array MR
   imagery", Magn. Reson. Med. 43, 682-690 (2000).
.. [2] D. L. Parker, A. Payne, N. Todd, J. R. Hadley, "Phase reconstruction from multiple coil data
   using a virtual reference coil", Magn. Reson. Med. 72, 563-569 (2014).
.. [3] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans.
   Acoust. Speech Signal Process. 29, 1153-1160 (1981).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.geometry.grids import resampled_coordinates

_SLAB_BYTES = 64 * 2**20


def walsh_maps(images: Tensor, *, neighbourhood: int = 5) -> Tensor:
    """Return the coil maps that combine coil images adaptively [1]_.

    At each voxel, the covariance of the coils over a small neighbourhood has the sensitivities
    there as its dominant eigenvector, up to a factor. The factor is chosen so that the maps have
    unit norm and the phase of a virtual coil becomes zero everywhere: that combination of the coils
    which receives most signal from the whole object [2]_. So maps are as smooth as sensitivities
    are, and images keep the phase that the virtual coil would see.

    Parameters
    ----------
    images
        Complex ``(coil, z, y, x)``, of low resolution; its device is where the work is done.
    neighbourhood
        Width of the neighbourhood along each axis longer than one [voxel].

    Returns
    -------
    Tensor
        Like ``images``: root sum of squares 1 over the coils, 0 where there is no signal at all.

    Notes
    -----
    Takes some 200 MB for covariances, or what ``neighbourhood`` planes of them need.
    """
    coils, depth, *plane = images.shape
    images = images / images.abs().amax().clamp_min(torch.finfo(images.real.dtype).tiny)
    virtual = _dominant(torch.einsum("czyx,dzyx->cd", images, images.conj()))
    # An eigenvector has any phase, another one in each library: its largest entry becomes real.
    virtual = virtual * torch.exp(-1j * virtual[virtual.abs().argmax()].angle())
    reach = [neighbourhood // 2 if size > 1 else 0 for size in images.shape[1:]]
    plane_bytes = coils**2 * plane[0] * plane[1] * images.element_size()
    planes = max(1, _SLAB_BYTES // plane_bytes - 2 * reach[0])
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


def resampled_maps(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return coil maps on another matrix over the same field of view.

    Parameters
    ----------
    maps
        Complex ``(coil, *matrix)``.
    shape
        The other matrix.

    Returns
    -------
    Tensor
        Complex ``(coil, *shape)``, by cubic convolution [3]_; ``maps`` itself where the matrix is
        the same.
    """
    if tuple(shape) == tuple(maps.shape[1:]):
        return maps
    coordinates = [
        resampled_coordinates(before, after)
        for before, after in zip(maps.shape[1:], shape, strict=True)
    ]
    return interpolated(maps, coordinates)


def interpolated(maps: Tensor, coordinates: Sequence[NDArray[np.float64]]) -> Tensor:
    """Return maps at other places by cubic convolution [3]_, axis by axis.

    Parameters
    ----------
    maps
        Complex ``(coil, *matrix)``.
    coordinates
        For each axis of the matrix, fractional indices; beyond the edges, maps go on as they are
        there.

    Returns
    -------
    Tensor
        Complex ``(coil, *(number of coordinates per axis))``.
    """
    for axis, wanted in enumerate(coordinates, start=1):
        weights = torch.from_numpy(cubic_convolution(wanted, maps.shape[axis])).to(maps)
        maps = torch.tensordot(maps, weights, dims=([axis], [1])).movedim(-1, axis)
    return maps


def cubic_convolution(coordinates: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the matrix that interpolates ``size`` uniform values at ``coordinates`` [3]_.

    Returns
    -------
    ndarray
        float64 ``(len(coordinates), size)``; each row sums to 1.
    """
    below = np.floor(coordinates).astype(np.intp)
    matrix = np.zeros((len(coordinates), size))
    for neighbour in (-1, 0, 1, 2):
        distance = np.abs(coordinates - (below + neighbour))
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        index = np.clip(below + neighbour, 0, size - 1)
        np.add.at(matrix, (np.arange(len(coordinates)), index), weight)
    return matrix


def unit_norm(maps: Tensor) -> Tensor:
    """Return maps ``(coil, ...)`` divided by their root sum of squares; 0 where that is 0."""
    norm: Tensor = torch.linalg.vector_norm(maps, dim=0)
    return maps / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def _dominant(covariance: Tensor) -> Tensor:
    """Return the unit eigenvector of the largest eigenvalue, zero for a covariance of zero."""
    values, vectors = torch.linalg.eigh(covariance)
    vector: Tensor = vectors[..., -1] * (values[..., -1:] > 0)
    return vector


def _sum_over_neighbours(array: Tensor, axis: int, reach: int) -> Tensor:
    """Return sums over ``2 * reach + 1`` neighbours along an axis; beyond the edges is nothing."""
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
