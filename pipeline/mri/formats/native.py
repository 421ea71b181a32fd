"""The project's own layout, as left by another run or written by another program."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.lazy import describe_files
from pipeline.formats.zarr_arrays import ZarrArray, opened_zarr, understood, zarr_source
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition, voxel_size

_GEOMETRY = ("shape", "voxel_size", "affine")


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open `raw.zarr`.

    The source is the store (a folder, or a zip file of one) or the JSON marker beside it.
    """
    source = zarr_source(settings, dataset)
    with ExitStack() as stack:
        with understood(f"{dataset}: {source}"):
            group = stack.enter_context(opened_zarr(source))
            attributes: dict[str, Any] = dict(group.attrs)
            arrays = {
                name: ZarrArray(
                    stored, f"{dataset}: {source}/{name}", complete=not ARRAYS[name].optional
                )
                for name, stored in group.arrays()
                if name in ARRAYS
            }
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
        yield MriAcquisition(
            shape=shape,
            voxel_size=stored_voxel_size,
            arrays=arrays,
            provenance={
                "format": "native",
                "files": [] if source.is_dir() else describe_files([source]),
                "source": attributes.get("source"),
                "provenance": attributes.get("provenance"),
            },
            dwell_time=attributes.get("dwell_time"),
            noise_dwell_time=attributes.get("noise_dwell_time"),
            first_sample_time=attributes.get("first_sample_time"),
            affine=affine,
            oriented=bool(attributes.get("oriented", False)),
            slices=_slices(attributes, arrays, f"{dataset}: {source}"),
            header=str(attributes["header"]) if attributes.get("header") else None,
            frame_duration=_frame_duration(attributes, f"{dataset}: {source}"),
        )


def _frame_duration(attributes: Mapping[str, Any], who: str) -> float | None:
    found = attributes.get("frame_duration")
    if found is None or (isinstance(found, int | float) and 0 < found < math.inf):
        return found
    raise DataError(
        f"{who} has the attribute frame_duration = {found!r}; expected seconds, or null"
    )


def _slices(attributes: Mapping[str, Any], arrays: Mapping[str, ZarrArray], who: str) -> int:
    found = attributes.get("slices", 1)
    frames = arrays["kspace"].shape[0] if "kspace" in arrays else 1
    if isinstance(found, int) and found >= 1 and frames % found == 0:
        return found
    raise DataError(
        f"{who} has the attribute slices = {found!r}; expected a number that divides its {frames} "
        "frames"
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
    except KeyError as error:
        raise DataError(f"{who} lacks a usable attribute: there is no {error}") from None
    except (TypeError, ValueError, OverflowError):
        found = ", ".join(f"{name} = {attributes.get(name)!r}" for name in _GEOMETRY)
        raise DataError(
            f"{who} lacks a usable attribute: {found}; expected lists of numbers"
        ) from None
    if len(shape) not in (2, 3) or min(shape) < 2 or len(size) != len(shape):
        raise DataError(
            f"{who} has the attributes shape = {shape} and voxel_size = {size}; expected one "
            "value per image axis, for 2 or 3 axes of 2 voxels or more"
        )
    return shape, size, affine
