"""Zarr groups in one zip file each: what a job leaves for another, such as the images of a block.

Members carry the zip file's own CRC-32, which is checked when they are read. The table of contents
at the file's end has none, and a member whose name is damaged there would be taken for absent: its
SHA-256 is the comment of the zip file, and checked whenever one is opened.
"""

import hashlib
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.pieces import pieces
from pipeline.storage.chunks import image_chunks, image_codecs
from pipeline.storage.claims import note_input
from pipeline.storage.publish import published_file
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr


Table = tuple[NDArray[np.generic], Sequence[str]]
"""A small array, and the names of its axes."""


def first_axis(images: Any) -> str:
    """Return the first axis of images: ``frame``, or ``coefficient`` of a temporal basis."""
    names = getattr(getattr(images, "metadata", None), "dimension_names", None)
    return str(names[0]) if names else "frame"


@contextmanager
def published_archive(path: Path, attributes: Mapping[str, Any]) -> Iterator["zarr.Group"]:
    """Yield an empty Zarr group that becomes the zip file ``path`` when the block ends."""
    import zarr
    from zarr.storage import ZipStore

    with published_file(path) as temporary:
        with ZipStore(temporary, mode="w") as store:
            yield zarr.create_group(store, attributes=dict(attributes))
        with zipfile.ZipFile(temporary, "a") as file:
            file.comment = _contents(file).encode()


def add_array(
    group: "zarr.Group",
    name: str,
    values: NDArray[np.generic],
    *,
    chunks: Sequence[int],
    compressors: Sequence[Any],
    dimension_names: Sequence[str] | None = None,
) -> None:
    """Add an array, chunk after chunk: all at once would take as much memory again.

    It holds no NaN: that is what a missing chunk reads as.
    """
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(chunks),
        compressors=list(compressors),
        dimension_names=dimension_names,
        fill_value=np.nan,  # a missing chunk is met at once
    )
    for chunk in itertools.product(*map(pieces, values.shape, chunks)):
        array[chunk] = values[chunk]


@contextmanager
def open_archive(path: Path) -> Iterator["zarr.Group"]:
    """Open an archive for reading; damage of a member shows when it is read."""
    import zarr
    from zarr.storage import ZipStore

    try:
        archive_checksum(path)
        store = ZipStore(path, mode="r")
        group = zarr.open_group(store, mode="r")
        note_input(path, archive_checksum)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {remake(path)}") from None
    except DAMAGE as error:
        raise DataError(f"{path}: damaged ({error}); {remake(path)}") from None
    try:
        yield group
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); {remake(path)}") from None
    finally:
        store.close()


def archive_checksum(path: Path) -> str:
    """Return the checksum of an archive's table of contents, as written when it was made."""
    with zipfile.ZipFile(path) as file:
        found = _contents(file)
        if file.comment.decode("ascii", "replace") != found:
            raise zipfile.BadZipFile("its table of contents is not what was written")
    return found


def _contents(file: zipfile.ZipFile) -> str:
    entries = "".join(
        f"{entry.filename} {entry.file_size} {entry.CRC:08x}\n"
        for entry in sorted(file.infolist(), key=lambda entry: entry.filename)
    )
    return f"sha256:{hashlib.sha256(entries.encode()).hexdigest()}"


def write_block(
    path: Path,
    image: NDArray[np.complexfloating],
    attributes: dict[str, Any],
    *,
    along: str = "frame",
    tables: Mapping[str, Table] = MappingProxyType({}),
) -> None:
    """Write one block's images, complex ``[frame, z, y, x]``, as the array ``image``.

    They may be ``along`` another axis than frames; ``tables`` stand beside them.

    The attributes are ``block`` and ``first_image``, which merging checks against the plan, and
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
            dimension_names=[along, "z", "y", "x"],
        )
        add_tables(group, tables)


def add_tables(group: "zarr.Group", tables: Mapping[str, Table]) -> None:
    """Write tables that stand beside images, each with the names of its axes."""
    for name, (values, axes) in tables.items():
        add_array(
            group,
            name,
            values,
            chunks=values.shape,
            compressors=image_codecs(values.dtype),
            dimension_names=axes,
        )
