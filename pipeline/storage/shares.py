"""Shares of the normal equations on disk: the one file that each accumulate job leaves.

A Zarr group in a zip file with the arrays

======================  ==================  =============================================
array                   dtype               axes
======================  ==================  =============================================
b                       complex             image, and those of the unknown
energy, diagonal        float64             image
kernel/<name>           float32 or float64  image or 1, and the axes of the padded grid
======================  ==================  =============================================

and in its attributes the block, the shard and the first image.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.storage.archives import add_array, open_archive, published_archive
from pipeline.storage.chunks import image_chunks
from pipeline.storage.sealed import DAMAGE, remake

Array = NDArray[np.generic]
KERNEL = "kernel"


def share_path(folder: Path, block: str, shard: str) -> Path:
    """Return the file of a shard's share in the folder of shares."""
    return folder / f"{block}-{shard}.zarr.zip"


def write_share(path: Path, arrays: Mapping[str, Array], attributes: Mapping[str, Any]) -> None:
    """Write ``b``, ``energy``, ``diagonal`` and ``kernel/<name>``, whole or not at all.

    The attributes ``block`` and ``shard`` are checked when the share is read.
    """
    from zarr.codecs import Crc32cCodec

    with published_archive(path, attributes) as group:
        for name, values in arrays.items():
            # Sums of noise do not compress; a chunk belongs to one image, which is read alone.
            add_array(
                group,
                name,
                values,
                chunks=(1, *image_chunks(values.shape[1:], values.itemsize)),
                compressors=[Crc32cCodec()],
            )


class StoredShare:
    """A share on disk, read image by image."""

    def __init__(self, path: Path, group: Any) -> None:
        self.path = path
        self._group = group

    def kernels(self) -> list[str]:
        """Return the names of the kernels."""
        return sorted(self._group[KERNEL].array_keys()) if KERNEL in self._group else []

    def read(self, name: str, images: slice) -> Array:
        """Return some images' part of an array; all of it where the images share it."""
        try:
            stored = self._group[name]
            return np.asarray(stored[images] if stored.shape[0] > 1 else stored[:])
        except DAMAGE as error:
            raise DataError(
                f"{self.path}: `{name}` is damaged ({error}); {remake(self.path)}"
            ) from None


@contextmanager
def open_share(path: Path, *, block: str, shard: str) -> Iterator[StoredShare]:
    """Open a share for reading; `DataError` if it is missing, damaged or of another shard."""
    with open_archive(path) as group:
        found = {name: group.attrs.get(name) for name in ("block", "shard")}
        if found != {"block": block, "shard": shard}:
            raise DataError(
                f"{path}: holds {found}; expected block {block} shard {shard}; {remake(path)}"
            )
        yield StoredShare(path, group)
