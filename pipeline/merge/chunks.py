"""Writing an array that is computed where it is read, chunk by chunk."""

import itertools
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
    from dask.base import compute
    from dask.delayed import delayed

    def copy(*part: slice) -> None:
        target[part] = source[part]

    starts = (range(0, *each) for each in zip(source.shape, target.chunks, strict=True))
    parts = (
        [slice(start, start + size) for start, size in zip(corner, target.chunks, strict=True)]
        for corner in itertools.product(*starts)
    )
    compute(
        *(delayed(copy, traverse=False)(*part) for part in parts),
        scheduler="threads",
        num_workers=threads,
    )
