"""The manifest of a store: every file in it, with its size and a checksum.

A chunk ends with the CRC32C of the bytes before it, which Zarr checks whenever it reads the chunk.
The manifest repeats these four bytes, so that it costs no second reading, and yet tells a chunk
that was exchanged for a sound one. Metadata are small: their SHA-256 is checked whenever a store is
opened, together with the size of every file.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.storage.sealed import remake

if TYPE_CHECKING:
    import zarr

Manifest = Mapping[str, str]
"""Size [byte] and checksum of each file, by its path in the store: ``612 sha256:9f86...``."""

METADATA = "zarr.json"
_CRC_BYTES = 4
_DIGITS = 32


def make_manifest(store: Path, group: "zarr.Group") -> dict[str, str]:
    """Return the manifest of a finished store.

    Raises
    ------
    ValueError
        If an array's chunks end with no checksum: every array of a store has one.
    """
    _require_checksums(group)
    return {
        file.relative_to(store).as_posix(): describe_file(file)
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


def describe_file(file: Path) -> str:
    """Return the manifest's entry of one file."""
    if file.name == METADATA:
        content = file.read_bytes()
        return f"{len(content)} sha256:{hashlib.sha256(content).hexdigest()[:_DIGITS]}"
    size = file.stat().st_size
    with file.open("rb") as chunk:
        chunk.seek(max(0, size - _CRC_BYTES))
        return f"{size} crc32c:{chunk.read().hex()}"


def describe_whole(path: Path, name: str) -> dict[str, str]:
    """Return the entry of a file without a checksum of its own, or of all files in a folder.

    It is the SHA-256 of all bytes. ``name`` is what the file or folder will be called.
    """
    if path.is_file():
        return {name: _describe_whole(path)}
    return {
        f"{name}/{file.relative_to(path).as_posix()}": _describe_whole(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _describe_whole(file: Path) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:_DIGITS]
    return f"{file.stat().st_size} sha256:{digest}"


def check_whole(folder: Path, manifest: Manifest, marker: Path) -> int:
    """Compare files in a folder with what `describe_whole` told of them; return their bytes.

    `DataError` names the first that is not the same, and what makes ``marker`` again.
    """
    for name, entry in manifest.items():
        try:
            found = _describe_whole(folder / name)
        except OSError as error:
            raise DataError(
                f"{folder / name}: missing or not readable ({error.strerror}); {remake(marker)}"
            ) from None
        if found != entry:
            raise DataError(
                f"{folder / name}: damaged: {_words(found)}, expected {_words(entry)}; "
                f"{remake(marker)}"
            )
    return sum(int(entry.split()[0]) for entry in manifest.values())


def fingerprint(manifest: Manifest) -> str:
    """Return 32 hexadecimal digits that stand for the content of a whole store."""
    lines = "".join(f"{name} {entry}\n" for name, entry in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:_DIGITS]


def check_store(store: Path, manifest: Manifest, marker: Path, *, thorough: bool = False) -> None:
    """Compare a store with the manifest that its marker holds; `DataError` names the first fault.

    A thorough check also compares the chunks' checksums with the manifest, and looks for files
    that it does not name.
    """
    for name, entry in manifest.items():
        file = store / name
        written = entry if thorough or file.name == METADATA else entry.split()[0]
        try:
            found = describe_file(file) if written == entry else str(file.stat().st_size)
        except OSError as error:
            raise DataError(
                f"{file}: missing or not readable ({error.strerror}); {remake(marker)}"
            ) from None
        if found != written:
            raise DataError(
                f"{file}: damaged: {_words(found)}, expected {_words(written)}; {remake(marker)}"
            )
    if thorough:
        for file in store.rglob("*"):
            if file.is_file() and file.relative_to(store).as_posix() not in manifest:
                raise DataError(f"{file}: not in the manifest of {marker}; delete it")


def _words(entry: str) -> str:
    size, *checksum = entry.split()
    return " ".join([f"{size} bytes", *checksum])


def _require_checksums(group: "zarr.Group") -> None:
    from zarr.codecs import Crc32cCodec

    for name, member in group.members(max_depth=None):
        codecs: Any = getattr(member.metadata, "codecs", None)
        if codecs is not None and not isinstance(codecs[-1], Crc32cCodec):
            raise ValueError(f"array `{name}` has no checksum: its last codec is {codecs[-1]}")
