"""Arrays of Zarr stores, read lazily."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError, KronufftError
from pipeline.formats.lazy import Selection, existing_source
from pipeline.storage.publish import store_beside

if TYPE_CHECKING:
    import zarr


class ZarrArray:
    """A `LazyArray` in a Zarr store; ``path`` names it in messages.

    With ``complete``, chunks that are not there are an error: they read as the fill value, so that
    a coil would be lost unnoticed.

    Raises
    ------
    DataError
        If its chunks are impossible or missing.
    """

    def __init__(self, stored: "zarr.Array[Any]", path: str, *, complete: bool = False) -> None:
        self._stored = stored
        self._path = path
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype
        if 0 in stored.chunks:
            raise DataError(f"{path}: its chunks have the shape {stored.chunks}; write it again")
        # Looked for when values are read: the shape that a store declares may be absurd.
        self._may_lack = complete and stored.shards is None

    def _require_chunks(self) -> None:
        chunks = self._stored.nchunks
        missing = chunks - self._stored.nchunks_initialized
        if missing > 0:
            raise DataError(
                f"{self._path}: {missing} of its {chunks} chunks are missing; write them, as zeros "
                "(`write_empty_chunks`) if zeros are meant"
            )
        self._may_lack = False

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        if self._may_lack:
            self._require_chunks()
        try:
            return np.asarray(self._stored[selection])
        except Exception as error:  # on damaged chunks each codec raises what it likes
            raise DataError(f"{self._path}: {selection} is not readable ({error})") from None
        except MemoryError as error:
            raise DataError(f"{self._path}: it is too large to be read ({error})") from None


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
        raise DataError(f"{who} is not readable as a Zarr (version 3) group: {error}") from None


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
