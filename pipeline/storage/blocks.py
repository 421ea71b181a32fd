"""Block images: the one file that each reconstruct job leaves.

A Zarr group in a zip file with the array ``image``, complex, ``[frame, z, y, x]``, and in its
attributes the block's name and its first image.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.storage.archives import add_array, published_archive
from pipeline.storage.chunks import CHUNK_BYTES

if TYPE_CHECKING:
    pass


def write_block(path: Path, image: NDArray[np.complexfloating], attributes: dict[str, Any]) -> None:
    """Write one block's images, whole or not at all.

    Parameters
    ----------
    path
        The zip file.
    image
        complex ``[frame, z, y, x]``.
    attributes
        JSON values: ``block`` and ``first_image``, which merging checks against the plan, and
        whatever tells where the images came from.
    """
    if image.ndim != 4:
        raise ValueError(f"a block image has the axes frame, z, y, x; found shape {image.shape}")
    with published_archive(path, attributes) as group:
        add_array(
            group,
            "image",
            image,
            chunks=image_chunks(image.shape, image.dtype.itemsize),
            compressors=image_codecs(image.dtype),
            dimension_names=["frame", "z", "y", "x"],
        )


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
