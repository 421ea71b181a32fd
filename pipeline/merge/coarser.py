"""Images at lower resolution, computed as they are read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.merge.slices import StoredImages

# An axis is halved while it is longer, so thin volumes keep their slices.
_COARSEST = 64


def level_factors(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return by how much each level of a pyramid is coarser than images ``[frame, z, y, x]``.

    Factors per axis are powers of two; the first are all 1. An odd last voxel is left out.
    """
    factors = [(1,) * len(shape)]
    sizes = tuple(shape)
    while max(sizes[1:]) > _COARSEST:
        halved = (1, *(2 if size > _COARSEST else 1 for size in sizes[1:]))
        sizes = tuple(size // half for size, half in zip(sizes, halved, strict=True))
        factors.append(tuple(a * b for a, b in zip(factors[-1], halved, strict=True)))
    return factors


class Coarser:
    """The mean magnitude over boxes of ``[frame, z, y, x]`` voxels, computed as it is read."""

    dtype = np.dtype("float32")
    ndim = 4

    def __init__(self, array: StoredImages, factors: Sequence[int]) -> None:
        self.array = array
        self.factors = tuple(factors)
        self.shape = tuple(
            size // factor for size, factor in zip(array.shape, self.factors, strict=True)
        )

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[np.float32]:
        fine: list[slice] = []
        boxes: list[int] = []
        for part, size, factor in zip(selection, self.shape, self.factors, strict=True):
            start, stop, _ = part.indices(size)
            fine.append(slice(start * factor, stop * factor))
            boxes += [stop - start, factor]
        magnitude = np.abs(np.asarray(self.array[tuple(fine)])).astype(self.dtype, copy=False)
        mean: NDArray[np.float32] = magnitude.reshape(boxes).mean(axis=(1, 3, 5, 7))
        return mean
