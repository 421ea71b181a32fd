"""Writing an array that is computed where it is read, chunk by chunk."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Readable(Protocol):
    """What can be read by contiguous parts."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        """Return the values in one slice per axis."""


_COPIES = 3
"""Of a chunk in work: as it was decoded, joined, and compressed."""


def storing_bytes(threads: int, chunk_bytes: int) -> int:
    """Return what `store_chunks` holds of chunks [byte]."""
    return threads * _COPIES * chunk_bytes


def store_chunks(source: Readable, target: Any, *, threads: int) -> None:
    """Copy ``source`` into a Zarr array of the same shape.

    Each chunk of the target is read and written by one task: no two threads meet in a chunk, and
    memory holds no more than one chunk a thread, with whatever reading one takes.
    """
    import dask.array as da

    meta = np.empty((0,) * source.ndim, source.dtype)
    lazy = da.from_array(source, chunks=target.chunks, name=False, meta=meta)
    da.store(lazy, target, lock=False, scheduler="threads", num_workers=threads)
