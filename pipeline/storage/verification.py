"""Read every byte that a run has left, and compare it with its checksum."""

import gzip
import itertools
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.storage.archives import open_archive
from pipeline.storage.manifest import check_store, check_whole
from pipeline.storage.provenance import PROVENANCE
from pipeline.storage.publish import open_published, read_json, read_text, store_beside
from pipeline.storage.research_object import RO_CRATE
from pipeline.storage.sealed import DAMAGE, remake

if TYPE_CHECKING:
    import zarr

_PIECE = 2**24
_FOREIGN = (RO_CRATE,)
"""JSON of other standards, which have no place for a checksum of ours."""
_FOREIGN_FOLDERS = ("bart", "bids", "dicom")
"""Beside an image: of files whose checksums are in the receipt of `merge`."""


def verifiable(where: Path) -> list[Path]:
    """Return what can be verified: one file or store, or all in a folder of results.

    A marker stands for its store. Unfinished files of running jobs are left out.
    """
    found = list(_found(where))
    if not found:
        raise DataError(f"{where}: nothing to verify; give a folder of results, or a file in one")
    return found


def _found(where: Path) -> Iterator[Path]:
    if where.is_file() and _has_checksum(where):
        yield where
    elif where.is_dir() and where.suffix == ".zarr":
        yield where if where.name.endswith(".ome.zarr") else where.with_suffix(".json")
    elif where.is_dir():
        for entry in sorted(where.iterdir()):
            marked = entry.suffix == ".zarr" and entry.with_suffix(".json").is_file()
            foreign = entry.name in _FOREIGN_FOLDERS and (where / "image.json").is_file()
            if not (entry.name.startswith(".") or marked or foreign):
                yield from _found(entry)
        yield from (path for path in _needed(where) if not path.exists())


def _needed(folder: Path) -> Iterator[Path]:
    """Yield the files that an image stands among, where it is one's folder."""
    marker = folder / "image.json"
    if not marker.is_file():
        if (folder / "plan.tsv").is_file() and (folder / PROVENANCE).is_file():
            yield marker  # which was there when the provenance was written
        return
    try:
        plan: Any = open_published(marker).attrs.get("plan", ())
        blocks = [str(row["block"]) for row in plan]
        crate = json.loads((folder / RO_CRATE).read_text())["@graph"]
        parts = [part["@id"].rstrip("/") for entity in crate for part in entity.get("hasPart", ())]
    except (DataError, *DAMAGE):
        return  # told where it is read, or no folder of the workflow's
    yield from (folder / part for part in parts)
    if (folder / "receipts").is_dir():
        jobs = ("plan", *(f"reconstruct-{block}" for block in blocks), "merge")
        yield from (folder / "receipts" / f"{job}.json" for job in jobs)
    if (folder / "blocks").is_dir():  # which `snakemake clean` takes away
        yield from (folder / "blocks" / f"{block}.zarr.zip" for block in blocks)


def _has_checksum(file: Path) -> bool:
    name = file.name
    return name == "plan.tsv" or (
        name not in _FOREIGN and name.endswith((".json", ".zarr.zip", ".npz", ".nii.gz"))
    )


def verify(path: Path) -> int:
    """Read all of one file or store of `verifiable`; return how many bytes were read.

    `DataError` names the file that is damaged, and the command that makes it again.
    """
    try:
        return _verify(path)
    except DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: damaged ({error}); {remake(path)}") from None


def _verify(path: Path) -> int:
    import zarr

    if path.is_dir():
        return _read_arrays(zarr.open_group(path, mode="r"), path)
    match path.suffix:
        case ".json":
            content = read_json(path)
            if "files" in content:
                check_store(store_beside(path), content["files"], path, thorough=True)
                return _read_arrays(open_published(path), path)
            if content.get("stage") == "merge":
                # Formats that hold no checksums: those are in the receipt.
                image = path.parents[1] / "image.json"
                check_whole(image.parent, content.get("outputs", {}), image)
        case ".tsv":
            read_text(path)
        case ".gz":
            with gzip.open(path) as file:
                if not file.read(_PIECE):
                    raise EOFError("it is empty")
                while file.read(_PIECE):
                    pass
        case _:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"its member {damaged}")
            if path.suffix == ".zip":
                with open_archive(path) as group:
                    _read_arrays(group, path)
    return path.stat().st_size


def _read_arrays(group: "zarr.Group", path: Path) -> int:
    """Read each chunk, whose checksum Zarr verifies; return the bytes of the arrays."""
    import zarr

    count = 0
    for name, array in group.members(max_depth=None):
        if not isinstance(array, zarr.Array):
            continue
        edges = [range(0, size, edge) for size, edge in zip(array.shape, array.chunks, strict=True)]
        for corner in itertools.product(*edges):
            where = tuple(
                slice(start, start + edge) for start, edge in zip(corner, array.chunks, strict=True)
            )
            try:
                array[where]
            except DAMAGE as error:
                raise DataError(
                    f"{path}: `{name}` is damaged at {corner} ({error}); {remake(path)}"
                ) from None
        count += array.nbytes
    return count
