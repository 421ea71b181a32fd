"""The arrays of a store as a table: names, axes, types, units, and how they are cut into chunks.

Each kind of data has its table (`pipeline.mri.arrays`, `pipeline.rf.arrays`). What is written, what
is read, what a source's files may hold, and the documentation come from it.
"""

import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.storage.chunks import CHUNK_BYTES, image_chunks, image_codecs

if TYPE_CHECKING:
    import zarr

_EACH_TILE = 4 * 2**20
"""To begin a tile takes as long as to read so many bytes."""
_WORTH = 0.06
"""Of the work that a tile twice as large must save, times ln 2: less is not worth the memory."""


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
    compressed: bool = True
    """Whether chunks are compressed; measurements do not compress. All have a checksum."""
    even: bool = True
    """Whether an axis is cut into chunks of about equal sizes, or into full ones and a rest."""

    def axes_of(self, named: Container[str]) -> tuple[str, ...]:
        """Return the axes without those that may be left out and are not ``named``."""
        sure = len(self.axes) - self.lacks
        return self.axes[:sure] + tuple(axis for axis in self.axes[sure:] if axis in named)

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

    def _named(self, shape: Sequence[int]) -> list[tuple[str, int]]:
        return list(zip(self.axes, shape, strict=False))


def tile_extent(
    shape: Sequence[int],
    chunks: Sequence[int],
    source: Sequence[int],
    itemsize: int,
    fits: Callable[[Sequence[int]], bool],
) -> tuple[int, ...]:
    """Return the extent of tiles of whole chunks that decode the source's chunks least often.

    A chunk of the source is decoded for each tile that has a part of it. From a single chunk on,
    the tile grows along the axis where that saves most work for the memory it takes.

    Parameters
    ----------
    shape
        Of the array.
    chunks, source
        Extents of the chunks that are written, and of those that are read.
    itemsize
        Of a value that is read [byte].
    fits
        Tells whether there is memory for a tile of an extent. The smallest is returned even if not.
    """

    def work(extent: Sequence[int]) -> int:
        tiles, decoded = 1, 1
        for size, edge, chunk in zip(shape, extent, source, strict=True):
            along = -(-size // edge)
            cut = along - 1 - (size - 1) // math.lcm(edge, chunk)  # tiles that end inside a chunk
            tiles, decoded = tiles * along, decoded * (-(-size // chunk) + cut)
        return decoded * math.prod(source) * itemsize + tiles * _EACH_TILE

    sizes = [_extents(*along) for along in zip(shape, chunks, source, strict=True)]
    extent = tuple(map(min, chunks, shape))
    while True:
        now, best, most = work(extent), extent, _WORTH
        for axis in reversed(range(len(shape))):
            for size in sizes[axis]:
                if size <= extent[axis]:
                    continue
                grown = (*extent[:axis], size, *extent[axis + 1 :])
                if not fits(grown):
                    break
                saved = (math.log(now) - math.log(work(grown))) / math.log(size / extent[axis])
                if saved > most:
                    best, most = grown, saved
        if best == extent:
            return extent
        extent = best


def _extents(size: int, chunk: int, source: int) -> list[int]:
    """Return extents along an axis that are whole chunks, and near whole chunks of the source."""
    found, doubled = {size}, chunk
    while doubled < size:
        found.add(doubled)
        doubled *= 2
    doubled = source
    while doubled < size:
        found |= {-(-doubled // chunk) * chunk, math.lcm(doubled, chunk)}
        doubled *= 2
    return sorted(extent for extent in found if extent <= size)


def tiles(shape: Sequence[int], extent: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield selections of at most this extent that cover an array once."""
    counts = [-(-size // edge) for size, edge in zip(shape, extent, strict=True)]
    for position in np.ndindex(*counts):
        yield tuple(
            slice(index * edge, min((index + 1) * edge, size))
            for index, edge, size in zip(position, extent, shape, strict=True)
        )


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
