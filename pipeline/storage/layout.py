"""The arrays of a store as a table: names, axes, types, units, and how they are cut into chunks.

Each kind of data has its table (`pipeline.mri.arrays`, `pipeline.rf.arrays`). What is written, what
is read, what a source's files may hold, and the documentation come from it.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.storage.chunks import CHUNK_BYTES, image_chunks, image_codecs

if TYPE_CHECKING:
    import zarr

TILE_BYTES = 64 * 2**20
"""Size of the tiles that are copied, as they are stored."""


@dataclass(frozen=True)
class ArrayField:
    """What one array of a store is."""

    axes: tuple[str, ...]
    """Names of its axes. Arrays agree about the length of an axis; ``frame`` may also be 1, where
    all frames share the values."""
    dtype: type[np.generic]
    meaning: str
    unit: str = ""
    optional: bool = True
    measured: bool = False
    """Whether it is the measurement, which tells the lengths of its axes. One frame has one."""
    lacks: int = 0
    """How many of the last axes may be left out."""
    own: tuple[str, ...] = ()
    """Axes whose length is this array's own."""
    apart: tuple[str, ...] = ()
    """Axes of which a chunk holds a single element."""
    together: str = ""
    """Axis along which chunks are copied together, because sources hold or compute them together.
    """
    compressed: bool = True
    """Whether chunks are compressed; measurements do not compress. All have a checksum."""
    even: bool = True
    """Whether an axis is cut into chunks of about equal sizes, or into full ones and a rest."""

    def chunks(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return chunks of at most 8 MiB for an array of this shape."""
        itemsize = np.dtype(self.dtype).itemsize
        cut = [1 if axis in self.apart else size for axis, size in self._named(shape)]
        if self.even:
            return image_chunks(cut, itemsize)
        left, chunks = CHUNK_BYTES // itemsize, []
        for size in reversed(cut):
            chunks.append(min(size, max(1, left)))
            left //= chunks[-1]
        return tuple(reversed(chunks))

    def tiles(self, shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Yield selections that cover an array, each of whole chunks and of 64 MiB at most."""
        edges = list(self.chunks(shape))
        at_once = max(1, TILE_BYTES // (math.prod(edges) * np.dtype(self.dtype).itemsize))
        for number, (axis, size) in enumerate(self._named(shape)):
            if axis == self.together:
                edges[number] = min(size, edges[number] * at_once)
        counts = [math.ceil(size / edge) for size, edge in zip(shape, edges, strict=True)]
        for position in np.ndindex(*counts):
            yield tuple(
                slice(index * edge, min((index + 1) * edge, size))
                for index, edge, size in zip(position, edges, shape, strict=True)
            )

    def _named(self, shape: Sequence[int]) -> list[tuple[str, int]]:
        return list(zip(self.axes, shape, strict=False))


@dataclass(frozen=True)
class ArrayTable:
    """The arrays of a kind of data, by their paths in the store.

    ``<p>`` in a path stands for a number: ``pair/<p>/tx`` for ``pair/0/tx`` ...
    """

    fields: Mapping[str, ArrayField]

    def __getitem__(self, path: str) -> ArrayField:
        return self.fields[self.pattern(path)]

    def __contains__(self, path: str) -> bool:
        return self.pattern(path) in self.fields

    @staticmethod
    def pattern(path: str) -> str:
        """Return ``pair/<p>/tx`` for ``pair/0/tx``."""
        return re.sub(r"/\d+/", "/<p>/", path)

    def create(self, group: "zarr.Group", path: str, shape: Sequence[int]) -> "zarr.Array[Any]":
        """Create an empty array; chunks that are never written read as NaN."""
        from zarr.codecs import Crc32cCodec

        field = self[path]
        dtype = np.dtype(field.dtype)
        return group.create_array(
            path,
            shape=tuple(shape),
            chunks=field.chunks(shape),
            dtype=dtype,
            compressors=image_codecs(dtype) if field.compressed else [Crc32cCodec()],
            dimension_names=field.axes[: len(shape)],
            fill_value=dtype.type(np.nan),
        )
