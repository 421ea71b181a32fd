"""What `ingest` writes of an acquisition, whatever its kind: checked, and copied tile by tile."""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.checks import Check, Found, Labels, place
from pipeline.formats.lazy import LazyArray, Selection, part_bytes
from pipeline.progress import Advance, track
from pipeline.storage.chunks import CHUNKS_AT_ONCE
from pipeline.storage.layout import ArrayTable, tile_extent, tiles
from pipeline.storage.publish import published_store
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr


_PART_BYTES = 8 * 2**20
"""Of a tile that is converted, checked and written at a time, as it is stored."""
_WRITTEN = 3
"""Copies of chunks while they are written: put together, packed, and with their checksum."""

Extent = tuple[int, ...]

Sizes = Mapping[str, tuple[int, str]]
"""Axes whose length something else than an array tells: the length, and who tells it."""


@dataclass(frozen=True)
class Content:
    """What a store of one acquisition is to hold."""

    table: ArrayTable
    attributes: Mapping[str, Any]
    arrays: Mapping[str, LazyArray]
    sizes: Sizes
    checks: Mapping[str, Callable[[tuple[int, ...]], Check]] = field(default_factory=dict)
    """By path: what the kind of data looks for in an array of a shape."""
    labels: Labels = field(default_factory=dict)
    finish: Callable[["zarr.Group", Mapping[str, Found], Receipt], None] = field(
        default=lambda group, found, record: None
    )
    """Adds to the store what is known once the arrays are in it, and looks at what was found."""

    def place(self, axes: Iterable[str], index: Iterable[int]) -> str:
        """Return the words for a place in an array."""
        return place(zip(axes, index, strict=False), self.labels)


def planned_tiles(
    content: Content, raw: Path, dataset: str, fits: Callable[[Mapping[str, int]], bool]
) -> dict[str, Extent]:
    """Check what a source says of its arrays; return the tiles in which each is to be copied.

    Tiles follow the chunks of the source. ``fits`` tells whether there is memory for what is held
    at the same time [byte], by what it is for.

    Raises
    ------
    DataError
        If arrays are missing, empty or contradictory, or the disk cannot hold them.
    """
    require_arrays(content.arrays, content.table, content.sizes, dataset)
    order = list(content.table.fields)
    paths = sorted(content.arrays, key=lambda path: order.index(content.table.pattern(path)))
    _require_room(content, {path: content.arrays[path].shape for path in paths}, raw, dataset)
    extents = {}
    for path in paths:
        array = content.arrays[path]

        def possible(extent: Sequence[int], path: str = path) -> bool:
            return all(map(fits, _phases(content, path, extent)))

        extents[path] = tile_extent(
            array.shape,
            content.table[path].chunks(array.shape),
            array.chunks,
            array.dtype.itemsize,
            possible,
        )
    return extents


def copying_needs(content: Content, extents: Mapping[str, Extent]) -> list[dict[str, int]]:
    """Return what is held at the same time in each phase of copying arrays [byte]."""
    return [phase for path, extent in extents.items() for phase in _phases(content, path, extent)]


def _phases(content: Content, path: str, extent: Sequence[int]) -> list[dict[str, int]]:
    array, expected = content.arrays[path], content.table[path]
    itemsize = np.dtype(expected.dtype).itemsize
    part = min(math.prod(extent) * itemsize, _PART_BYTES)
    # Packed chunks of a part wait for each other; others are written as they are.
    at_once = CHUNKS_AT_ONCE * math.prod(expected.chunks(array.shape)) * itemsize
    writing = _WRITTEN * (part if expected.compressed else min(part, at_once))
    changed = array.dtype != expected.dtype or (path in content.checks and not expected.measured)
    return [
        {f"{path}: a tile as it is read": array.reading_bytes(extent)},
        {
            f"{path}: a tile": min(array.reading_bytes(extent), part_bytes(array, extent)),
            f"{path}: a part of it, checked and written": changed * part + max(part, writing),
        },
    ]


def store_content(
    content: Content,
    extents: Mapping[str, Extent],
    raw: Path,
    dataset: str,
    record: Receipt,
) -> None:
    """Publish an acquisition as the store of the marker ``raw``, copied tile by tile.

    Raises
    ------
    DataError
        If values are not what they must be.
    """
    shapes = {path: content.arrays[path].shape for path in extents}
    steps = sum(
        math.prod(-(-size // edge) for size, edge in zip(shapes[path], extent, strict=True))
        for path, extent in extents.items()
    )
    with published_store(raw) as group, track(f"{dataset}: ingest", steps) as advance:
        group.attrs.update(content.attributes)
        found = {
            path: _copy(
                content, path, extent, group, dataset=dataset, record=record, advance=advance
            )
            for path, extent in extents.items()
        }
        content.finish(group, found, record)
    record.record(
        found={path: each for path, each in found.items() if each},
        shape=content.attributes["shape"],
        arrays={path: list(shape) for path, shape in shapes.items() if "/" not in path},
    )


def _require_room(
    content: Content, shapes: Mapping[str, tuple[int, ...]], raw: Path, dataset: str
) -> None:
    """Refuse arrays that the disk cannot hold: a file may declare what nobody has measured."""
    items = {path: np.dtype(content.table[path].dtype).itemsize for path in shapes}
    sizes = {path: math.prod(shape) * items[path] for path, shape in shapes.items()}
    largest = max(sizes, key=lambda path: sizes[path])
    disk = shutil.disk_usage(next(folder for folder in raw.absolute().parents if folder.is_dir()))
    if disk.total and sizes[largest] > disk.free:
        raise DataError(
            f"{dataset}: {largest} of shape {shapes[largest]} takes {sizes[largest] / 1e6:.0f} MB, "
            f"and {raw.parent} has {disk.free / 1e6:.0f} MB free; is its shape right?"
        )


def require_arrays(
    arrays: Mapping[str, LazyArray], table: ArrayTable, sizes: Sizes, dataset: str
) -> None:
    """Raise `DataError` if an array is missing, empty, of another rank or type, or contradicts."""
    for name, expected in table.fields.items():
        if not expected.optional and name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise DataError(f"{dataset}: the source has no {name}; it has {held}")
    for path, array in arrays.items():
        expected = table[path]
        axes = ", ".join(expected.axes)
        if not 0 <= len(expected.axes) - len(array.shape) <= expected.lacks:
            raise DataError(
                f"{dataset}: {path} has {len(array.shape)} axes, shape {array.shape}; expected "
                f"{len(expected.axes)} ({axes})"
            )
        if 0 in array.shape:
            raise DataError(f"{dataset}: {path} is empty: shape {array.shape} ({axes})")
        if array.dtype.kind not in "fciub":
            raise DataError(f"{dataset}: {path} holds {array.dtype}; expected numbers")
        if array.dtype.kind == "c" and np.dtype(expected.dtype).kind != "c":
            raise DataError(f"{dataset}: {path} holds complex numbers; expected real ones")
    require_agreement(arrays, table, sizes, dataset)


def require_agreement(
    arrays: Mapping[str, LazyArray],
    table: ArrayTable,
    sizes: Sizes,
    dataset: str,
    *,
    shared: tuple[str, ...] = ("frame",),
) -> None:
    """Raise `DataError` if two arrays disagree about the length of an axis.

    Arrays in a group may have axes of a length of the group's own. ``shared`` axes may be 1 in all
    arrays but the measurement.
    """
    known = {("", axis): told for axis, told in sizes.items()}
    for path in sorted(arrays, key=lambda path: not table[path].measured):
        field_, shape = table[path], tuple(arrays[path].shape)
        group = path.rpartition("/")[0]
        whole = (*shape, *(1,) * (len(field_.axes) - len(shape)))
        for axis, size in zip(field_.axes, whole, strict=True):
            if axis in field_.own or (size == 1 and axis in shared and not field_.measured):
                continue
            told = known.get((group, axis), known.get(("", axis)))
            if told is None:
                known[group, axis] = size, f"{path}, of shape {shape}, has {size}"
            elif size != told[0]:
                raise DataError(
                    f"{dataset}: {path}, of shape {shape} ({', '.join(field_.axes)}), has {size} "
                    f"along `{axis}`, but {told[1]}; check files and settings of both"
                )


def _copy(
    content: Content,
    path: str,
    extent: Extent,
    group: "zarr.Group",
    *,
    dataset: str,
    record: Receipt,
    advance: Advance,
) -> Found:
    """Copy one array into a store under construction; return what was found in it."""
    array, expected = content.arrays[path], content.table[path]
    check = content.checks[path](array.shape) if path in content.checks else Check()
    stored = content.table.create(group, path, array.shape)
    for tile in tiles(array.shape, extent):
        with record.phase("read"):
            read = array[tile]
            record.count_bytes("read", read.nbytes)
        for inside in tiles(read.shape, _part_extent(read.shape, stored)):
            part = tuple(
                slice(at.start + within.start, at.start + within.stop)
                for at, within in zip(tile, inside, strict=True)
            )
            with np.errstate(over="ignore"):  # an overflow is infinite, and found below
                values = read[inside].astype(expected.dtype, copy=False)
            with record.phase("check"):
                require_finite(content, path, values, part, dataset)
                values = check.passed(values, part)
            with record.phase("write"):
                stored[part] = values
                record.count_bytes("write", values.nbytes)
        del read, values  # before the next tile is read
        advance(note=path)
    return check.finish(record)


def _part_extent(shape: Sequence[int], stored: "zarr.Array[Any]") -> Extent:
    """Return the extent of parts of a tile that are whole chunks of the store."""
    chunks, itemsize = stored.chunks, stored.dtype.itemsize
    most = max(_PART_BYTES, math.prod(chunks) * itemsize)
    return tile_extent(
        shape, chunks, chunks, itemsize, lambda extent: math.prod(extent) * itemsize <= most
    )


def require_finite(
    content: Content, path: str, values: NDArray[Any], tile: Selection, dataset: str
) -> None:
    """Raise `DataError` if a value in a tile is NaN or infinite; it names the place."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # the sum of finite values may still be infinite
            return
    finite = np.isfinite(values)
    if finite.all():
        return
    precision = "double" if np.dtype(content.table[path].dtype).itemsize > 8 else "single"
    kind = "NaN" if np.isnan(values).any() else f"infinity (in {precision} precision)"
    first = np.unravel_index(np.argmin(finite), values.shape)
    index = [part.start + int(at) for part, at in zip(tile, first, strict=True)]
    raise DataError(
        f"{dataset}: {path} has {kind} at {content.place(content.table[path].axes, index)}, and "
        f"{np.count_nonzero(~finite)} in the {values.size} values around; replace them or leave "
        "out what was not measured"
    )
