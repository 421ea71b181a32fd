"""Binning: what each readout counts in each state of motion, by a table or a navigator [1]_.

Coil maps and density weights are those of all readouts; bins only weigh them.

References
----------
.. [1] J. Y. Cheng, T. Zhang, N. Ruangwattanapaisarn, M. T. Alley, M. Uecker, J. M. Pauly,
   M. Lustig, S. S. Vasanawala, "Free-breathing pediatric MRI with nonrigid motion correction and
   acceleration", J. Magn. Reson. Imaging 42, 407-420 (2015).
"""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.binning import BinningSettings
from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.compression import mixed_bytes
from pipeline.mri.calibration.navigator import FEATURES_AT_ONCE, find_navigator, most_windows
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import SAMPLES_AT_A_TIME
from pipeline.storage.calibration import CalibrationArrays, store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "binning"

_MOST_BINS = 256
_SCIPY_BYTES = 36 * 2**20
"""Of its filters and eigenvectors, once they are loaded."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``table``, what the navigator is, or ``none``; see `pipeline.engine.chain.Step`."""
    settings = job.settings.calibration.binning
    if settings is None:
        return NONE
    if raw is not None and raw.slices > 1:
        raise DataError(
            f"{job.dataset}: calibration.binning is for one slice, and there are {raw.slices}; "
            "ingest each slice as a dataset of its own"
        )
    if settings.table is not None:
        if raw is not None:  # at fault before anything is computed
            table_weights(settings.table, (raw.frames, raw.readouts), job.dataset)
        return "table"
    if raw is not None:
        _repetition_time(settings, raw, job.dataset)
    return settings.navigator


def _repetition_time(settings: BinningSettings, raw: RawData, who: str) -> float:
    if settings.repetition_time is not None:
        return float(settings.repetition_time)
    if raw.frame_duration is None:
        raise DataError(
            f"{who}: calibration.binning finds breathing by its frequency, and the source does not "
            "tell when readouts were taken; set calibration.binning.repetition_time [s]"
        )
    return float(raw.frame_duration / raw.readouts)


def needs(job: Calibrating) -> list[Need]:
    """Return what the navigator needs, and the weights of all bins."""
    acquired, settings = job.acquired, job.settings.calibration.binning
    assert settings is not None
    readouts = acquired.frames * acquired.readouts
    if settings.table is not None:
        # A number of text takes two bytes or more there, and as Python's complex one 40.
        size = Path(settings.table).stat().st_size
        factor = 4 if settings.table.endswith(".npy") else 24
        return [Need({"binning: table": factor * size, "binning: weights": 128 * readouts})]
    slab = min(acquired.readouts, max(1, SAMPLES_AT_A_TIME // acquired.samples)) * acquired.samples
    windows = most_windows(readouts, settings.repetition_time, settings.band[1])
    samples = 1
    if settings.navigator == "projections":
        samples = acquired.samples
    features = acquired.coils * samples
    mixed = mixed_bytes(job, slab)
    coils = acquired.coils if mixed else 1
    return [
        Need(
            {
                "binning: trajectory": 16 * len(acquired.shape) * slab + 8 * slab,
                "binning: samples": 16 * coils * slab + mixed,
                "binning: means": 8 * windows * features,
            }
        ),
        Need(
            {
                "binning: means": 8 * windows * features,
                "binning: SciPy": _SCIPY_BYTES,
                "binning: features": 40 * windows * min(2 * features, FEATURES_AT_ONCE),
                "binning: covariance": 24 * windows**2,
            }
        ),
        Need({"binning: weights": (8 * settings.bins + 32) * readouts}),
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the settings that need less memory, where binning needs most."""
    if not any(name.startswith("binning") for name in need.host):
        return []
    return ["calibration.binning: null", "calibration.binning.table, with bins that are known"]


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write what each readout counts in each bin, and the navigator."""
    settings = job.settings.calibration.binning
    assert settings is not None
    with receipt.phase("binning"):
        if settings.table is not None:
            weights = table_weights(settings.table, (raw.frames, raw.readouts), job.dataset)
            found: dict[str, Any] = {}
        else:
            data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
            repetition = _repetition_time(settings, raw, job.dataset)
            navigator = find_navigator(data, settings, repetition, job.dataset)
            axes = ("frame", "readout")
            store_array(group, "navigator/signal", navigator.signal.astype(np.float32), axes)
            axes = ("quantity", "frequency")
            store_array(group, "navigator/spectrum", navigator.spectrum, axes)
            weights = soft_bins(navigator.signal, settings.bins, settings.overlap)
            found = {
                "navigator_hz": round(navigator.frequency, 4),
                "navigator_explains": round(navigator.explained, 4),
                "navigator_readouts": navigator.readouts,
                "repetition_time": repetition,
            }
        store_array(
            group,
            "bins",
            weights.reshape(-1, raw.frames, raw.readouts),
            ("bin", "frame", "readout"),
        )
        found["bins"] = list(weights.shape[:-2])
        found["readouts_of_bins"] = [
            round(float(each.sum(dtype=np.float64)), 1)
            for each in weights.reshape(-1, raw.frames * raw.readouts)
        ]
    receipt.record(**found)
    return found


def soft_bins(signal: NDArray[np.floating], bins: int, overlap: float) -> NDArray[np.float32]:
    """Return what readouts count in bins with equally many of them, ``(bin, *signal.shape)``.

    Beyond a bin it falls in a straight line, to nothing after ``overlap`` bins.
    """
    ranks = np.empty(signal.size)
    ranks[np.argsort(signal, axis=None, kind="stable")] = np.arange(signal.size) + 0.5
    places = (ranks * (bins / signal.size)).reshape(signal.shape)
    number = np.arange(bins).reshape(-1, *(1,) * signal.ndim)
    if overlap == 0:
        return np.asarray(np.floor(places) == number, np.float32)
    beyond = np.maximum(np.maximum(number - places, places - (number + 1)), 0)
    return np.asarray(np.maximum(1 - beyond / overlap, 0), np.float32)


def table_weights(file: str, shape: tuple[int, int], who: str) -> NDArray[np.float32]:
    """Return what readouts count in bins by a table, ``(bin, [bin,] frame, readout)``.

    Raises
    ------
    DataError
        If the table is none, or not of as many readouts, or a bin is empty.
    """
    from pipeline.formats.array_files import open_file

    readouts = shape[0] * shape[1]
    name = f"{who}: calibration.binning.table"
    with ExitStack() as stack:
        array = open_file(Path(file), stack, name).array(None, name)
        sizes = tuple(array.shape)
        if sizes[:1] != (readouts,) or len(sizes) > 3 or 0 in sizes:
            raise DataError(
                f"{name}: {file} has the shape {sizes}; expected a row for each of the "
                f"{readouts} readouts ({shape[0]} frames of {shape[1]}), with the numbers of its "
                "bins, or what it counts in each"
            )
        table = np.asarray(array[(slice(None),) * len(sizes)])
    table = table.reshape(readouts, -1) if table.ndim < 3 else table
    if np.iscomplexobj(table) or not np.isfinite(table).all():
        raise DataError(f"{name}: {file} has values that are complex or not finite")
    if table.ndim == 2 and table.shape[1] <= 2:
        weights = _numbered(table, f"{name}: {file}")
    else:
        if table.min() < 0:
            raise DataError(f"{name}: {file} has weights below 0")
        weights = np.ascontiguousarray(np.moveaxis(table, 0, -1), np.float32)
    for index in np.ndindex(weights.shape[:-1]):
        if not weights[index].any():
            raise DataError(
                f"{name}: {file} has no readout in bin {', '.join(map(str, index))}; number bins "
                "from 0 on without gaps, or take fewer"
            )
    return weights.reshape(*weights.shape[:-1], *shape)


def _numbered(table: NDArray[Any], who: str) -> NDArray[np.float32]:
    """Return weights ``(bin, [bin,] readout)`` of numbers ``[readout, axis]``."""
    numbers = table.astype(np.intp)
    if (numbers != table).any() or numbers.max() >= _MOST_BINS:
        raise DataError(f"{who} has bins that are not whole numbers below {_MOST_BINS}")
    counts = numbers.max(axis=0) + 1
    if counts.min() < 1:
        raise DataError(f"{who} has no bin: all its numbers are below 0")
    if counts.prod() > _MOST_BINS:
        raise DataError(f"{who} has {counts.prod()} bins; expected {_MOST_BINS} at most")
    weights = np.zeros((*counts, len(table)), np.float32)
    rows = np.flatnonzero((numbers >= 0).all(axis=1))
    weights[(*numbers[rows].T, rows)] = 1
    return weights
