"""`ingest`: bring an acquisition of any format into `raw.zarr`, and turn bad data away."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.lazy import LazyArray
from pipeline.geometry.axes import as_volume
from pipeline.mri.formats.sources import Acquisition, open_acquisition
from pipeline.mri.formats.units import likely_units, to_rad_per_voxel
from pipeline.mri.raw import (
    AXES,
    REAL_ARRAYS,
    RawData,
    array_dtype,
    create_array,
    tiles,
    write_attributes,
)
from pipeline.mri.readouts import sampling_pattern
from pipeline.mri.trajectories import wrapped
from pipeline.progress import Advance, track
from pipeline.rf.ingest import ingest_rf
from pipeline.storage.chunks import centred_affine
from pipeline.storage.claims import note_input, source_checksum
from pipeline.storage.publish import published_store
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

_REQUIRED = ("trajectory", "kspace")
_EDGE = np.pi * (1 + 1e-5)  # single precision and units of few digits round pi upwards
_SUSPICIOUSLY_SMALL = 0.5 * (1 + 1e-3)  # what a trajectory in cycles/voxel reaches


def ingest(*, settings: IngestSettings, dataset: str, raw: Path, receipt: Path) -> None:
    """Check an acquisition and copy it, piece by piece, into the project's own layout.

    Memory does not grow with the acquisition.

    Parameters
    ----------
    settings
        Format, source, and what the source does not say itself.
    dataset
        Name of the dataset.
    raw
        Marker of the store to publish, ``raw.json``.
    receipt
        Where the receipt goes.

    Raises
    ------
    ConfigError
        If settings are missing or do not fit the source.
    DataError
        If the source is missing, unreadable, empty, contradictory, not finite, or in other units.
    """
    with Receipt(receipt, "ingest", settings=settings, dataset=dataset) as record:
        for file in settings.files():
            note_input(file, source_checksum)
        if settings.kind == "rf":
            ingest_rf(settings, dataset, raw, record)
        else:
            _ingest_mri(settings, dataset, raw, record)


def _ingest_mri(settings: IngestSettings, dataset: str, raw: Path, record: Receipt) -> None:
    """Check an acquisition and copy it chunk by chunk."""
    with open_acquisition(settings, dataset) as acquisition:
        _check_arrays(acquisition, dataset)
        _check_agreement(acquisition, dataset)
        affine = acquisition.affine
        if affine is None:
            affine = centred_affine(acquisition.shape, acquisition.voxel_size)
        # The trajectory is small and tells most mistakes, so it goes first.
        names = [*_REQUIRED, *(name for name in AXES if name not in _REQUIRED)]
        arrays = {name: acquisition.arrays[name] for name in names if name in acquisition.arrays}
        steps = sum(len(list(tiles(name, array.shape))) for name, array in arrays.items())
        with published_store(raw) as group, track(f"{dataset}: ingest", steps) as advance:
            write_attributes(
                group,
                shape=acquisition.shape,
                voxel_size=acquisition.voxel_size,
                affine=affine,
                source=settings.source,
                provenance=acquisition.provenance,
            )
            for name, array in arrays.items():
                largest = _copy(name, array, group, dataset=dataset, record=record, advance=advance)
                if name == "trajectory":
                    _check_units(largest, acquisition, settings, dataset)
                elif name == "kspace" and not largest.any():
                    raise DataError(f"{dataset}: kspace is zero throughout; nothing was measured")
            # What `calibrate` needs depends on it, and is to be known without opening the store.
            group.attrs["pattern"] = sampling_pattern(RawData(group, raw).readouts_of(0))
        record.record(
            format=settings.format,
            shape=list(acquisition.shape),
            arrays={name: list(array.shape) for name, array in arrays.items()},
        )


def _check_arrays(acquisition: Acquisition, dataset: str) -> None:
    """Raise `DataError` if an array is missing, empty, or of the wrong rank or type."""
    arrays = acquisition.arrays
    for name in _REQUIRED:
        if name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise DataError(f"{dataset}: the source has no {name}; it has {held}")
    for name, array in arrays.items():
        axes = ", ".join(AXES[name])
        if len(array.shape) != len(AXES[name]):
            raise DataError(
                f"{dataset}: {name} has {len(array.shape)} axes, shape {array.shape}; expected "
                f"{len(AXES[name])} ({axes})"
            )
        if 0 in array.shape:
            raise DataError(f"{dataset}: {name} is empty: shape {array.shape} ({axes})")
        if array.dtype.kind not in "fciub":
            raise DataError(f"{dataset}: {name} holds {array.dtype}; expected numbers")
        if name in REAL_ARRAYS and array.dtype.kind == "c":
            raise DataError(f"{dataset}: {name} holds complex numbers; expected real ones")


def _check_agreement(acquisition: Acquisition, dataset: str) -> None:
    """Raise `DataError` if the sizes of two arrays disagree."""
    arrays = acquisition.arrays
    volume = as_volume(acquisition.shape)
    expected = {
        **dict(zip(AXES["kspace"], arrays["kspace"].shape, strict=True)),
        **dict(zip(("z", "y", "x"), volume, strict=True)),
        "axis": len(acquisition.shape),
    }
    for name, array in arrays.items():
        for axis, size in zip(AXES[name], array.shape, strict=True):
            if size == expected[axis] or (axis == "frame" and size == 1):
                continue
            if name == "noise" and axis == "sample":  # as long as the scanner listened
                continue
            if axis in ("z", "y", "x", "axis"):
                other = f"the image matrix is {acquisition.shape}"
            else:
                other = f"kspace, of shape {arrays['kspace'].shape}, has {expected[axis]}"
            raise DataError(
                f"{dataset}: {name}, of shape {array.shape} ({', '.join(AXES[name])}), has {size} "
                f"along `{axis}`, but {other}; check files and settings of both"
            )


def _copy(
    name: str,
    array: LazyArray,
    group: "zarr.Group",
    *,
    dataset: str,
    record: Receipt,
    advance: Advance,
) -> NDArray[np.float64]:
    """Copy one array and return the largest magnitude along each element of its last axis."""
    stored = create_array(group, name, array.shape)
    largest = np.zeros(array.shape[-1])
    for tile in tiles(name, array.shape):
        with record.phase("read"):
            values = array.read(tile)
            record.count_bytes("read", values.nbytes)
            with np.errstate(over="ignore"):  # an overflow is infinite, and found below
                values = values.astype(array_dtype(name), copy=False)
        _check_values(name, values, tile, dataset)
        magnitude = np.abs(values).max(axis=tuple(range(values.ndim - 1)))
        largest[tile[-1]] = np.maximum(largest[tile[-1]], magnitude)
        if name == "trajectory":
            values = wrapped(values)
        with record.phase("write"):
            stored[tile] = values
            record.count_bytes("write", values.nbytes)
        advance(note=name)
    return largest


def _check_values(name: str, values: NDArray[Any], tile: tuple[slice, ...], dataset: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        kind = "NaN" if np.isnan(values).any() else "infinity (in single precision)"
        first = np.unravel_index(np.argmin(finite), values.shape)
        where = ", ".join(
            f"{axis} {part.start + index}"
            for axis, part, index in zip(AXES[name], tile, first, strict=True)
        )
        raise DataError(
            f"{dataset}: {name} has {kind} at {where}, and {np.count_nonzero(~finite)} in the "
            f"{values.size} values around; replace them or leave out what was not measured"
        )
    if name == "weights" and values.min() < 0:
        raise DataError(f"{dataset}: weights reach {values.min():g}; expected none below 0")


def _check_units(
    extent: NDArray[np.float64], acquisition: Acquisition, settings: IngestSettings, dataset: str
) -> None:
    """Raise `DataError` if a trajectory leaves its range or seems to be in other units.

    Parameters
    ----------
    extent
        Largest magnitude of each component [rad/voxel].
    acquisition, settings, dataset
        What it belongs to.
    """
    if not extent.any():
        raise DataError(f"{dataset}: trajectory is zero throughout; expected k in rad/voxel")
    shape, voxel_size, units = acquisition.shape, acquisition.voxel_size, acquisition.units
    stored = extent / to_rad_per_voxel(units, shape, voxel_size)
    likely = likely_units(stored, shape, voxel_size)
    if extent.max() > _EDGE:
        fault = "outside [-pi, pi)"
    elif extent.max() <= _SUSPICIOUSLY_SMALL and likely not in (None, units):
        fault = f"only {extent.max() / np.pi:.0%} of [-pi, pi)"
    else:
        return
    axes = ("z", "y", "x")[-len(shape) :]
    reached = ", ".join(f"{axis} {size:.6g}" for axis, size in zip(axes, stored, strict=True))
    message = (
        f"{dataset}: trajectory reaches |k| of {reached}; in {units}, with the image matrix "
        f"{shape}, that is {extent.max():.6g} rad/voxel, {fault}. "
    )
    if likely == "degrees":
        advice = "It looks like degrees per voxel: set its `scale` to pi / 180"
    elif likely is not None and settings.format == "arrays":
        advice = (
            f"It looks like {likely}: set `sources.{dataset}.arrays.trajectory.units: {likely}`"
        )
    elif likely is not None:
        advice = f"It looks like {likely}: convert it to {units}"
    else:
        advice = "It looks like none of the units known here"
    if extent.max() > _EDGE and units == "cycles_per_fov":
        holding = tuple(int(size) for size in np.ceil(2 * stored * (1 - 1e-6)))
        advice += f"; or set `sources.{dataset}.shape`: a matrix of {holding} would hold it"
    raise DataError(message + advice)
