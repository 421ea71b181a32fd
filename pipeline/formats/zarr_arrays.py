"""Arrays of Zarr stores, read lazily."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.lazy import Selection, existing_source
from pipeline.storage.publish import store_beside

if TYPE_CHECKING:
    import zarr


class ZarrArray:
    """A `LazyArray` in a Zarr store."""

    def __init__(self, stored: "zarr.Array[Any]", path: str) -> None:
        self._stored = stored
        self._path = path
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype

    def read(self, selection: Selection) -> NDArray[Any]:
        """Return the values in ``selection``."""
        try:
            return np.asarray(self._stored[selection])
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"{self._path}: {selection} is not readable ({error})") from None


def zarr_source(settings: IngestSettings, dataset: str) -> Path:
    """Return the store that a dataset's source is, or that stands beside the marker it is."""
    source = existing_source(settings, dataset)
    return store_beside(source) if source.suffix == ".json" else source


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
