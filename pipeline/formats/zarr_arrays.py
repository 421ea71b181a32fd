"""Arrays of Zarr stores, read lazily."""

import itertools
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError, KronufftError, words_of
from pipeline.formats.lazy import Selection, existing_source, part_bytes
from pipeline.storage.publish import store_beside

if TYPE_CHECKING:
    import zarr


_AT_ONCE_BYTES = 32 * 2**20
"""Of chunks that are read at the same time."""
_COPIES = {"crc32c": 1, "blosc": 2, "zstd": 2}
"""Of a chunk while it is read, by its codec: packed and unpacked. Others take one more."""
_LARGER = 1.25
"""A chunk's file is no larger than this, by what it holds: packing is to make it smaller."""


class ZarrArray:
    """A `LazyArray` in a Zarr store; ``path`` names it in messages.

    With ``complete``, chunks that are not there are an error: they read as the fill value, so that
    a coil would be lost unnoticed.

    Raises
    ------
    DataError
        If its chunks are impossible; where it is read, if they are missing, damaged, or larger than
        what they hold.
    """

    def __init__(self, stored: "zarr.Array[Any]", path: str, *, complete: bool = False) -> None:
        import zarr

        self._stored = stored
        self._path = path
        self._complete = complete
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype
        self.chunks: tuple[int, ...] = stored.chunks
        self._files: tuple[int, ...] = stored.shards or stored.chunks
        if 0 in (*self.chunks, *self._files):
            raise DataError(f"{path}: its chunks have the shape {stored.chunks}; write it again")
        at_once = _AT_ONCE_BYTES // max(1, part_bytes(self, self.chunks))
        self._at_once = max(1, min(at_once, zarr.config.get("async.concurrency")))
        copies = [
            _COPIES.get(type(each).__name__.removesuffix("Codec").lower(), 3)
            for each in stored.compressors
        ]
        self._folder, self._zipped = _files_of(stored.store)
        self._copies = max(copies, default=1) + len(stored.filters)

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is read, with the chunks that are unpacked [byte]."""
        touched = [-(-size // chunk) for size, chunk in zip(extent, self.chunks, strict=True)]
        chunks = math.prod(touched)
        chunk = part_bytes(self, self.chunks)
        unpacking = min(chunks, self._at_once) * self._copies * chunk
        # What is wanted of a shard is in memory before any of it is unpacked.
        packed = chunks * chunk if self._stored.shards is not None else 0
        needed: int = part_bytes(self, extent) + packed + unpacking
        return needed

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        import zarr

        self._require_chunks(selection)
        try:
            with zarr.config.set({"async.concurrency": self._at_once}):
                return np.asarray(self._stored[selection])
        except Exception as error:  # on damaged chunks each codec raises what it likes
            raise DataError(
                f"{self._path}: {selection} is not readable ({words_of(error)})"
            ) from None
        except MemoryError as error:
            raise DataError(f"{self._path}: it is too large to be read ({error})") from None

    def _require_chunks(self, selection: Selection) -> None:
        """Refuse a part of which a chunk is missing, or a file larger than its chunk."""
        bounds = [part.indices(size) for part, size in zip(selection, self.shape, strict=True)]
        places = [
            range(start // chunk, -(-stop // chunk))
            for (start, stop, _), chunk in zip(bounds, self._files, strict=True)
        ]
        most = _LARGER * part_bytes(self, self._files) + 2**20
        for place in itertools.product(*places):
            key = f"{self._stored.path}/{self._stored.metadata.encode_chunk_key(place)}"
            size = self._file_bytes(key)
            if size is None and self._complete:
                raise DataError(
                    f"{self._path}: its chunk {place} is missing; write it, as zeros "
                    "(`write_empty_chunks`) if zeros are meant"
                )
            if size is not None and size > most:
                raise DataError(
                    f"{self._path}: the file of its chunk {place} has {size / 1e6:.1f} MB; the "
                    f"chunk holds {part_bytes(self, self._files) / 1e6:.1f} MB; write it again"
                )

    def _file_bytes(self, key: str) -> int | None:
        """Return the size of a file in the store [byte]; None if it is not there."""
        if self._zipped is not None:
            return self._zipped.get(key)
        try:
            found = (self._folder / key).stat()
        except FileNotFoundError:
            return None
        if not S_ISREG(found.st_mode):  # zarr takes a folder for a chunk of zeros
            raise DataError(f"{self._path}: {key} is no file, as a chunk is; copy the store again")
        return found.st_size


def _files_of(store: Any) -> tuple[Path, Mapping[str, int] | None]:
    """Return the folder of a store, or the zip file and the sizes of the files in it [byte]."""
    from zarr.storage import ZipStore

    if not isinstance(store, ZipStore):
        return Path(store.root), None
    with zipfile.ZipFile(store.path) as archive:
        return store.path, {file.filename: file.file_size for file in archive.infolist()}


def zarr_source(settings: IngestSettings, dataset: str) -> Path:
    """Return the store that a dataset's source is, or that stands beside the marker it is."""
    source = existing_source(settings, dataset)
    return store_beside(source) if source.suffix == ".json" else source


@contextmanager
def understood(who: str) -> Iterator[None]:
    """Name the store in whatever its damaged or foreign content makes zarr or a reader raise."""
    try:
        yield
    except KronufftError:
        raise
    except KeyError as error:
        raise DataError(f"{who} has no {error}; it is no store of this layout") from None
    except Exception as error:  # each part of zarr raises what it likes
        raise DataError(
            f"{who} is not readable as a Zarr (version 3) group: {words_of(error)}"
        ) from None


@contextmanager
def opened_zarr(source: Path) -> Iterator["zarr.Group"]:
    """Open a store, a folder or a zip file of one, for reading; raises what zarr does.

    Only version 3: version 2 could ask for a codec that unpickles.
    """
    import zarr
    from zarr.storage import ZipStore

    with ExitStack() as stack:
        store: ZipStore | Path = source
        if zipfile.is_zipfile(source):
            store = ZipStore(source, mode="r")
            stack.callback(store.close)
        yield zarr.open_group(store, mode="r", zarr_format=3)
