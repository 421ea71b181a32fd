"""Sizes and codecs of stored chunks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

CHUNK_BYTES = 8 * 2**20
"""Size of stored chunks; a reader holds one beside the array that it fills."""
CHUNKS_AT_ONCE = 10
"""Chunks that Zarr reads or writes at a time, unless it is configured otherwise."""


def image_chunks(
    shape: Sequence[int], itemsize: int, *, target_bytes: int = CHUNK_BYTES
) -> tuple[int, ...]:
    """Return the chunks of a stored image: whole trailing axes first, of about equal sizes.

    An axis that needs ``n`` chunks is cut into ``n`` nearly equal ones rather than into full ones
    and a small rest. No chunk exceeds ``target_bytes``, unless a single value of ``itemsize`` bytes
    does.
    """
    left = max(1, target_bytes // itemsize)
    chunks: list[int] = []
    for size in reversed(shape):
        length = math.ceil(size / math.ceil(size / left))
        chunks.append(length)
        left = left // length if length == size else 1
    return tuple(reversed(chunks))


def image_codecs(dtype: np.dtype[Any]) -> list[Any]:
    """Return the compressors of stored images.

    Bit shuffling by the size of the real numbers, not of the complex ones, is what makes images
    compress; the checksum catches damage on disk.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    itemsize = np.dtype(dtype).itemsize // (2 if np.dtype(dtype).kind == "c" else 1)
    return [
        BloscCodec(typesize=itemsize, cname="lz4", clevel=5, shuffle="bitshuffle"),
        Crc32cCodec(),
    ]
