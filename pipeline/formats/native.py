"""The project's own layout, as left by another run or written by another program."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.acquisition import (
    Acquisition,
    Selection,
    describe_files,
    existing_source,
    voxel_size,
)
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


@contextmanager
def open_native(settings: IngestSettings, dataset: str) -> Iterator[Acquisition]:
    """Open `raw.zarr`; see `pipeline.formats.acquisition.open_acquisition`.

    The source is the store (a folder, or a zip file of one) or the JSON marker beside it.
    """
    source = zarr_source(settings, dataset)
    with ExitStack() as stack:
        try:
            group = stack.enter_context(opened_zarr(source))
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
        shape, stored_voxel_size, affine = _geometry(attributes, f"{dataset}: {source}")
        wanted = settings.details.shape
        if wanted is not None and wanted != shape:
            raise DataError(
                f"{dataset}: {source} has the image matrix {shape}, but "
                f"`sources.{dataset}.shape` is {wanted}; leave it out, and give a reconstruction "
                "the `shape` that you want"
            )
        if settings.details.voxel_size is not None:
            stored_voxel_size, affine = voxel_size(settings, dataset, len(shape)), None
        yield Acquisition(
            shape=shape,
            voxel_size=stored_voxel_size,
            arrays=arrays,
            provenance={
                "format": "native",
                "files": [] if source.is_dir() else describe_files([source]),
                "source": attributes.get("source"),
                "provenance": attributes.get("provenance"),
            },
            affine=affine,
        )


def _geometry(
    attributes: Mapping[str, Any], who: str
) -> tuple[tuple[int, ...], tuple[float, ...], NDArray[np.float64] | None]:
    """Return image matrix, voxel size [m] and affine, where there is one, of a store."""
    try:
        shape = tuple(int(size) for size in attributes["shape"])
        size = tuple(float(length) for length in attributes["voxel_size"])
        stored = attributes.get("affine")
        affine = None if stored is None else np.asarray(stored, np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{who} lacks a usable attribute: {error!r}") from None
    if len(shape) not in (2, 3) or min(shape) < 1 or len(size) != len(shape) or min(size) <= 0:
        raise DataError(
            f"{who} has the attributes shape = {shape} and voxel_size = {size}; expected one "
            "positive value per image axis, for 2 or 3 axes"
        )
    return shape, size, affine
