"""Coil maps on other matrices.

References
----------
.. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans.
   Acoust. Speech Signal Process. 29, 1153-1160 (1981).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.geometry.axes import resampled_coordinates


def resampled_maps(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Return coil maps on another matrix over the same field of view, by cubic convolution [1]_.

    ``maps`` are complex ``(coil, *matrix)``; they themselves are returned where the matrix is the
    same.
    """
    if tuple(shape) == tuple(maps.shape[1:]):
        return maps
    coordinates = [
        resampled_coordinates(before, after)
        for before, after in zip(maps.shape[1:], shape, strict=True)
    ]
    return interpolated(maps, coordinates)


def interpolated(maps: Tensor, coordinates: Sequence[NDArray[np.float64]]) -> Tensor:
    """Return maps at other places by cubic convolution [1]_, axis by axis.

    For each axis of ``maps`` ``(coil, *matrix)``, ``coordinates`` are fractional indices; beyond
    the edges, maps go on as they are there.
    """
    for axis, wanted in enumerate(coordinates, start=1):
        weights = torch.from_numpy(cubic_convolution(wanted, maps.shape[axis])).to(maps)
        maps = torch.tensordot(maps, weights, dims=([axis], [1])).movedim(-1, axis)
    return maps


def cubic_convolution(coordinates: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the matrix that interpolates ``size`` uniform values at ``coordinates`` [1]_.

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
