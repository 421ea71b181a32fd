"""Images of parallel slices, seen as volumes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from pipeline.storage.chunks import image_chunks

if TYPE_CHECKING:
    import zarr

StoredImages: TypeAlias = Union["zarr.Array[Any]", "StackedSlices"]


class StackedSlices:
    """Images ``[frame, 1, y, x]`` of slices as volumes ``[frame, slice, y, x]``, read as needed.

    The images of the first slice stand before those of the second, and so on.
    """

    ndim = 4

    def __init__(self, images: "zarr.Array[Any]", slices: int) -> None:
        self._images = images
        self.shape = stacked_shape(images.shape, slices)
        self.dtype = images.dtype
        self.chunks = image_chunks(self.shape, self.dtype.itemsize)

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        frames, slices, *plane = *selection, *[slice(None)] * (self.ndim - len(selection))
        start, stop, _ = frames.indices(self.shape[0])
        parts = []
        for which in range(*slices.indices(self.shape[1])):
            first = which * self.shape[0]
            own = slice(first + start, first + stop)
            parts.append(np.asarray(self._images[(own, slice(None), *plane)]))
        return np.concatenate(parts, axis=1)


def stacked_shape(shape: Sequence[int], slices: int) -> tuple[int, ...]:
    """Return the shape of volumes ``(frame, slice, y, x)`` of images ``(frame, 1, y, x)``."""
    return (shape[0] // slices, slices, *shape[2:]) if slices > 1 else tuple(shape)
