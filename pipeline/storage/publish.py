"""Publish files and stores by rename, so that nobody ever reads half a result.

A file is written under a unique temporary name in its own folder and renamed when complete. A
Zarr store is a folder: it is renamed likewise, and a small JSON **marker** beside it, which is what
Snakemake tracks, is written last. The marker holds the fingerprint that is also in the store's own
attributes: a marker and a store that were not published together are told apart by it.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError

if TYPE_CHECKING:
    import zarr

FINGERPRINT = "fingerprint"


def _temporary_beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")


@contextmanager
def published_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` if the block ends without an exception.

    Parameters
    ----------
    path
        Where the finished file is to be. Missing folders are made.
    """
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` as indented JSON, whole or not at all."""
    with published_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing or broken file raises `DataError` naming it."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage that makes it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); run its stage again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


@contextmanager
def published_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes the folder ``path`` when the block ends.

    Parameters
    ----------
    path
        Where the finished folder is to be; one that is there already is replaced. The block makes
        the folder at the temporary path.
    """
    temporary = _temporary_beside(path)
    replaced = _temporary_beside(path)
    try:
        yield temporary
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    finally:
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def store_beside(marker: Path) -> Path:
    """Return the store that ``marker`` stands for: ``raw.json`` marks ``raw.zarr``."""
    return marker.with_suffix(".zarr")


@contextmanager
def published_store(marker: Path) -> Iterator["zarr.Group"]:
    """Yield an empty Zarr group that becomes the store beside ``marker`` when the block ends.

    The marker is written after the rename with the fingerprint, and the shape and dtype of each
    array. If the block raises, store and marker stay as they were.

    Parameters
    ----------
    marker
        Path of the JSON marker, for example ``results/brain/raw.json``.
    """
    import zarr

    store = store_beside(marker)
    with published_folder(store) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        yield group
        fingerprint = uuid.uuid4().hex
        group.attrs[FINGERPRINT] = fingerprint
        content = {
            "store": store.name,
            FINGERPRINT: fingerprint,
            "bytes": sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file()),
            "arrays": {
                name: {"shape": list(array.shape), "dtype": str(array.dtype)}
                for name, array in sorted(group.arrays())
            },
        }
        marker.unlink(missing_ok=True)
    write_json(marker, content)


def open_published(marker: Path) -> "zarr.Group":
    """Open the store beside ``marker`` for reading, after checking that the two belong together.

    Raises
    ------
    DataError
        If the marker or the store is missing, or their fingerprints differ.
    """
    import zarr

    expected = read_json(marker)
    store = store_beside(marker)
    try:
        group = zarr.open_group(store, mode="r")
    except FileNotFoundError:
        raise DataError(
            f"{store}: missing, although {marker} stands for it; delete the marker "
            "and run the stage that makes it"
        ) from None
    found = group.attrs.get(FINGERPRINT)
    if found != expected.get(FINGERPRINT):
        raise DataError(
            f"{store}: its fingerprint {found} is not {expected.get(FINGERPRINT)}, the one in "
            f"{marker}; delete the marker and run the stage that makes it"
        )
    return group
