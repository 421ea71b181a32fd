"""The images of all blocks as one array on disk, in the order of the plan."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.engine.table import PlanRow
from pipeline.errors import DataError
from pipeline.merge.chunks import store_chunks
from pipeline.storage.archives import Table, add_tables, first_axis, open_archive
from pipeline.storage.chunks import image_chunks, image_codecs
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

IMAGE_AXES = ("frame", "z", "y", "x")


class BlockSeries:
    """Blocks joined along the frame axis, read where and when they are asked for.

    No file stays open between reads, so that thousands of blocks can be joined.
    `paths` and `rows` of the plan are in the order of the images, `shape` is that of all together.
    `along` names its first axis, `tables` stand beside the images.
    """

    ndim = len(IMAGE_AXES)

    def __init__(
        self,
        paths: Sequence[Path],
        rows: Sequence[PlanRow],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        along: str = IMAGE_AXES[0],
        tables: Mapping[str, Table] = MappingProxyType({}),
    ) -> None:
        self.paths = tuple(paths)
        self.rows = tuple(rows)
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.along, self.tables = along, tables

    @classmethod
    def open(cls, paths: Sequence[Path], plan: Mapping[str, PlanRow]) -> Self:
        """Join block files, in any order, after checking them against the plan's rows by name.

        Raises
        ------
        DataError
            If the plan leaves out or repeats an image, or the files are not exactly the plan's
            blocks with the plan's images, all of one matrix and type.
        """
        import zarr

        _check_plan(plan)
        found: dict[str, tuple[Path, tuple[int, ...], np.dtype[np.complexfloating]]] = {}
        along, tables = IMAGE_AXES[0], {}
        for path in paths:
            with open_archive(path) as group:
                name = str(group.attrs.get("block"))
                image = group.get("image")
                if not isinstance(image, zarr.Array) or (image.ndim, image.dtype.kind) != (4, "c"):
                    raise DataError(
                        f"{path}: holds no complex array `image` with the axes "
                        f"{', '.join(IMAGE_AXES)}; run `reconstruct` again"
                    )
                if name not in plan:
                    raise DataError(
                        f"{path}: says it is block {name}, which the plan lacks; it was made for "
                        "another plan: delete it"
                    )
                if name in found:
                    raise DataError(f"{path}: block {name} is also in {found[name][0]}; give one")
                _check_block(path, plan[name], group.attrs.get("first_image"), image.shape)
                found[name] = (path, image.shape, image.dtype)
                # A series is a single block.
                along, tables = first_axis(image), _tables(group)
        missing = [name for name in plan if name not in found]
        if missing:
            raise DataError(
                f"{len(missing)} of the plan's {len(plan)} blocks are missing, the first is block "
                f"{missing[0]}; run `reconstruct` for them"
            )
        rows = sorted(plan.values(), key=lambda row: row.first_image)
        first_path, first_shape, dtype = found[rows[0].block]
        for path, shape, other in found.values():
            if shape[1:] != first_shape[1:] or other != dtype:
                raise DataError(
                    f"{path}: images of {shape[1:]} (z, y, x), {other}, but {first_path} has "
                    f"{first_shape[1:]}, {dtype}; run `reconstruct` again for the older of the two"
                )
        frames = sum(row.images for row in rows)
        shape, paths = (frames, *first_shape[1:]), [found[row.block][0] for row in rows]
        return cls(paths, rows, shape, dtype, along=along, tables=tables)

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[np.complexfloating]:
        """Read a contiguous part; NaN or infinity in it raises `DataError` naming the block."""
        frames, *rest = selection
        start, stop, _ = frames.indices(self.shape[0])
        lengths = [
            len(range(*part.indices(size))) for part, size in zip(rest, self.shape[1:], strict=True)
        ]
        out = np.empty((stop - start, *lengths), self.dtype)
        for path, row, part in self._overlapping(start, stop):
            inside = slice(part.start - row.first_image, part.stop - row.first_image)
            values = _read(path, (inside, *rest))
            finite = np.isfinite(values).all(axis=(1, 2, 3))
            if not finite.all():
                raise DataError(
                    f"{path}: NaN or infinity in image {part.start + int(np.argmin(finite))} of "
                    f"block {row.block}; run `reconstruct` again, and look at its receipt"
                )
            out[part.start - start : part.stop - start] = values
        return out

    def _overlapping(self, start: int, stop: int) -> Iterator[tuple[Path, PlanRow, range]]:
        """Yield the blocks with images in ``[start, stop)``, and which of these they have."""
        for path, row in zip(self.paths, self.rows, strict=True):
            part = range(max(start, row.first_image), min(stop, row.first_image + row.images))
            if part:
                yield path, row, part


def store_images(series: BlockSeries, group: "zarr.Group", *, threads: int) -> "zarr.Array[Any]":
    """Write a series as the complex array ``image`` of a store, with the tables beside it."""
    add_tables(group, series.tables)
    target = group.create_array(
        "image",
        shape=series.shape,
        dtype=series.dtype,
        chunks=image_chunks(series.shape, series.dtype.itemsize),
        dimension_names=(series.along, *IMAGE_AXES[1:]),
        compressors=image_codecs(series.dtype),
    )
    store_chunks(series, target, threads=threads)
    return target


def _tables(group: "zarr.Group") -> dict[str, Table]:
    """Read what a block holds beside its images."""
    arrays = ((name, array) for name, array in group.arrays() if name != "image")
    return {name: (np.asarray(array[...]), _axes(array)) for name, array in arrays}


def _axes(array: "zarr.Array[Any]") -> tuple[str, ...]:
    """Return the names of the axes of an array."""
    return tuple(map(str, getattr(array.metadata, "dimension_names", None) or IMAGE_AXES))


def _check_plan(plan: Mapping[str, PlanRow]) -> None:
    """Raise `DataError` unless each image belongs to exactly one of the plan's blocks."""
    following = 0
    previous = "the start"
    for row in sorted(plan.values(), key=lambda row: row.first_image):
        if row.first_image != following or row.images < 1:
            fault = "repeats images of" if row.first_image < following else "leaves a gap after"
            raise DataError(
                f"plan: block {row.block} has images {row.first_image} to "
                f"{row.first_image + row.images - 1}; it {fault} {previous}, where image "
                f"{following} is next; run `plan` again"
            )
        following = row.first_image + row.images
        previous = f"block {row.block}"


def _check_block(path: Path, row: PlanRow, first_image: object, shape: Sequence[int]) -> None:
    """Raise `DataError` unless a block has the images that the plan gives it."""
    if first_image != row.first_image or shape[0] != row.images:
        raise DataError(
            f"{path}: has {shape[0]} images from image {first_image} on; the plan gives block "
            f"{row.block} {row.images} from {row.first_image} on; delete it and run `reconstruct` "
            "again"
        )


def _read(path: Path, selection: tuple[slice, ...]) -> NDArray[np.complexfloating]:
    """Read a part of one block's images; damage on disk raises `DataError` naming the file."""
    with open_archive(path) as group:
        image: Any = group["image"]
        try:
            return np.asarray(image[selection])
        except DAMAGE as error:
            raise DataError(f"{path}: damaged ({error}); {remake(path)}") from None
