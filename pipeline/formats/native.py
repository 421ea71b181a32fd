"""The project's own layout, as left by another run or written by another program."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.acquisition import Acquisition, Selection, describe_files, existing_source
from pipeline.storage.publish import store_beside
from pipeline.storage.raw import AXES

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


@contextmanager
def open_native(settings: IngestSettings, dataset: str) -> Iterator[Acquisition]:
    """Open `raw.zarr`; see `pipeline.formats.acquisition.open_acquisition`.

    The source is the store (a folder, or a zip file of one) or the JSON marker beside it.
    """
    import zarr
    from zarr.storage import ZipStore

    source = existing_source(settings, dataset)
    if source.suffix == ".json":
        source = store_beside(source)
    with ExitStack() as stack:
        try:
            # Only version 3: version 2 could ask for a codec that unpickles.
            if zipfile.is_zipfile(source):
                store = ZipStore(source, mode="r")
                group = zarr.open_group(store, mode="r", zarr_format=3)
                stack.callback(store.close)
            else:
                group = zarr.open_group(source, mode="r", zarr_format=3)
            attributes: dict[str, Any] = dict(group.attrs)
            arrays = {
                name: ZarrArray(stored, f"{source}/{name}")
                for name, stored in group.arrays()
                if name in AXES
            }
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{dataset}: {source} is not readable as a Zarr (version 3) group: {error!r}"
            ) from None
        if attributes.get("kind") != "mri":
            raise DataError(
                f"{dataset}: {source} has the attribute kind = {attributes.get('kind')!r}; "
                "expected 'mri'"
            )
        try:
            shape = tuple(int(size) for size in attributes["shape"])
            voxel_size = tuple(float(size) for size in attributes["voxel_size"])
            affine = (
                np.asarray(attributes["affine"], np.float64) if "affine" in attributes else None
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{dataset}: {source} lacks a usable attribute ({error!r}); expected shape and "
                "voxel_size with one value per image axis"
            ) from None
        _check_agreement(settings, dataset, source, shape)
        yield Acquisition(
            shape=shape,
            voxel_size=settings.details.voxel_size or voxel_size,
            arrays=arrays,
            provenance={
                "format": "native",
                "files": [] if source.is_dir() else describe_files([source]),
                "source": attributes.get("source"),
                "provenance": attributes.get("provenance"),
            },
            affine=None if settings.details.voxel_size else affine,
        )


def _check_agreement(
    settings: IngestSettings, dataset: str, source: Path, shape: tuple[int, ...]
) -> None:
    wanted = settings.details.shape
    if wanted is not None and wanted != shape:
        raise DataError(
            f"{dataset}: {source} has the image matrix {shape}, but `sources.{dataset}.shape` is "
            f"{wanted}; leave it out, and give a reconstruction the `shape` that you want"
        )
