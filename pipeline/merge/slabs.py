"""Stored images in C order, a row of their chunks at a time."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.images import Images
from pipeline.merge.slices import StoredImages
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE


def image_slabs(
    image: StoredImages, frames: range | None = None
) -> Iterator[NDArray[np.complexfloating]]:
    """Yield contiguous parts of images ``[frame, z, y, x]``, or of some frames, in C order.

    The chunks of stored images cut an axis only where the axes before have chunks of one.
    """
    wanted = frames or range(image.shape[0])
    starts = (
        range(wanted.start, wanted.stop, image.chunks[0]),
        range(0, image.shape[1], image.chunks[1]),
    )
    for frame, plane in itertools.product(*starts):
        where = (
            slice(frame, min(frame + image.chunks[0], wanted.stop)),
            slice(plane, plane + image.chunks[1]),
        )
        yield np.asarray(image[where])


def slab_bytes(images: Images, halves: int) -> int:
    """Return the peak memory of writing slabs [byte].

    That is so many halves of a slab, whose magnitude is one, and the chunks that it is read from.
    """
    slab = images.chunk[0] * images.chunk[1] * math.prod(images.shape[2:]) * images.itemsize
    return slab * halves // 2 + min(slab, CHUNKS_AT_ONCE * CHUNK_BYTES)
