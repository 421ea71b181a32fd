"""Publish files and stores by rename, so that nobody ever reads half a result.

A file is written beside its place under the name of the run that writes it, and renamed when
complete, unless a later run of the same job has begun (see `pipeline.storage.claims`). A Zarr store
is a folder: it is renamed likewise, and a small JSON **marker** beside it, which is what Snakemake
tracks, is written last. The marker holds the manifest of the store, and a fingerprint of its
content that is also in the store's own attributes: a marker and a store that were not published
together are told apart by it.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.storage.claims import discard, held_claim, note_input, unfinished_folder
from pipeline.storage.manifest import (
    METADATA,
    check_store,
    describe_file,
    fingerprint,
    make_manifest,
)
from pipeline.storage.sealed import opened_json, opened_text, remake, sealed_json, sealed_text

if TYPE_CHECKING:
    import zarr

FINGERPRINT = "fingerprint"
TOLD = (
    *("kind", "shape", "axes", "frames", "pattern", "slices", "dwell_time", "frame_duration"),
    *("rows", "pairs", "coherent", "antenna"),
)
"""Attributes that the marker repeats, so that sizes are known without opening the store."""


def _unfinished(path: Path) -> Path:
    """Return where to write what is to become ``path``, in a folder of its own that exists."""
    claim = held_claim()
    if claim is not None:
        claim.clear(path)
        claim.check(path)
        return claim.unfinished(path)
    folder = unfinished_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / uuid.uuid4().hex[:12]


def _check_claim(path: Path) -> None:
    claim = held_claim()
    if claim is not None:
        claim.check(path)


@contextmanager
def published_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` if the block ends without an exception.

    Raises
    ------
    SupersededError
        If a later run of the same job has begun, or what this one has read has changed.
    """
    temporary = _unfinished(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        _check_claim(path)
        temporary.replace(path)
    except FileNotFoundError:
        _check_claim(path)
        raise
    finally:
        discard(temporary)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` as indented JSON with its checksum, whole or not at all."""
    text = sealed_json(content)
    with published_file(path) as temporary:
        temporary.write_text(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote; a missing or damaged file raises `DataError` naming it."""
    return opened_json(_read_text(path), path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` and a last line with its checksum, whole or not at all."""
    with published_file(path) as temporary:
        temporary.write_text(sealed_text(text))


def read_text(path: Path) -> str:
    """Read what `write_text` wrote; a missing or damaged file raises `DataError` naming it."""
    text = opened_text(_read_text(path), path)
    note_input(path)
    return text


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {remake(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable ({error}); {remake(path)}") from None


@contextmanager
def published_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes the folder ``path`` when the block, which makes it, ends.

    A folder that is there already is replaced. Raises as `published_file` does.
    """
    temporary = _unfinished(path)
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    try:
        yield temporary
        _check_claim(path)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except FileNotFoundError:
        _check_claim(path)
        raise
    finally:
        for leftover in (temporary, replaced):
            discard(leftover)


def store_beside(marker: Path) -> Path:
    """Return the store that ``marker`` stands for: ``raw.json`` marks ``raw.zarr``."""
    return marker.with_suffix(".zarr")


@contextmanager
def published_store(marker: Path) -> Iterator["zarr.Group"]:
    """Yield an empty Zarr group that becomes the store beside ``marker`` when the block ends.

    The marker is written after the rename with the fingerprint, the manifest, the shape and dtype
    of each array, and those attributes that are in `TOLD`. If the block raises, store and marker
    stay as they were. Equal contents give equal fingerprints. Raises as `published_file` does.
    """
    import zarr

    store = store_beside(marker)
    # What is to become the marker is begun first: where it cannot be written, nothing is.
    with published_file(marker) as described, published_folder(store) as temporary:
        described.touch()
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        yield group
        manifest = make_manifest(temporary, group)
        group.attrs[FINGERPRINT] = fingerprint(manifest)
        manifest[METADATA] = describe_file(temporary / METADATA)
        content = {
            "store": store.name,
            FINGERPRINT: group.attrs[FINGERPRINT],
            "bytes": sum(int(entry.split()[0]) for entry in manifest.values()),
            "arrays": {
                name: {"shape": list(array.shape), "dtype": str(array.dtype)}
                for name, array in sorted(group.arrays())
            },
            "attributes": {name: group.attrs[name] for name in TOLD if name in group.attrs},
            "files": manifest,
        }
        _check_claim(marker)
        described.write_text(sealed_json(content))
        marker.unlink(missing_ok=True)


def open_published(marker: Path) -> "zarr.Group":
    """Open the store beside ``marker`` for reading; `DataError` unless the two belong together.

    Metadata and the sizes of all files are checked here, chunks when they are read.
    """
    import zarr

    expected = read_json(marker)
    store = store_beside(marker)
    if not (isinstance(expected.get("files"), dict) and FINGERPRINT in expected):
        raise DataError(f"{marker}: marks no store; {remake(marker)}")
    if not store.is_dir():
        raise DataError(f"{store}: missing, although {marker} stands for it; {remake(marker)}")
    group_file = store / METADATA
    try:
        found = zarr.open_group(store, mode="r").attrs.get(FINGERPRINT)
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found is not None and found != expected[FINGERPRINT]:
        raise DataError(
            f"{group_file}: its fingerprint {found} is not {expected[FINGERPRINT]}, the one in "
            f"{marker}; {remake(marker)}"
        )
    check_store(store, expected["files"], marker)
    note_input(marker, lambda path: str(read_json(path)[FINGERPRINT]))
    return zarr.open_group(store, mode="r")
