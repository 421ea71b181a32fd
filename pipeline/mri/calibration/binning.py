"""Binning: what each readout counts in each state of motion, by a table or a navigator [1]_.

Coil maps and density weights are those of all readouts; bins only weigh them.

References
----------
.. [1] J. Y. Cheng, T. Zhang, N. Ruangwattanapaisarn, M. T. Alley, M. Uecker, J. M. Pauly,
   M. Lustig, S. S. Vasanawala, "Free-breathing pediatric MRI with nonrigid motion correction and
   acceleration", J. Magn. Reson. Imaging 42, 407-420 (2015).
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.binning import MOST_BINS, BinningSettings
from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.compression import mixed_bytes
from pipeline.mri.calibration.navigator import (
    FEATURES_AT_ONCE,
    Navigator,
    find_navigators,
    most_windows,
)
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import SAMPLES_AT_A_TIME
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import CalibrationArrays, create_samples, store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "binning"

_SCIPY_BYTES = 36 * 2**20
"""Of its filters and eigenvectors, once they are loaded."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``table``, what the navigator is, or ``none``; see `pipeline.engine.chain.Step`."""
    settings = job.settings.calibration.binning
    if settings is None:
        return NONE
    if job.acquired.slices > 1:
        raise DataError(
            f"{job.dataset}: calibration.binning is for one slice, and there are "
            f"{job.acquired.slices}; "
            "ingest each slice as a dataset of its own"
        )
    if settings.table is not None:
        if raw is not None:  # at fault before anything is computed
            table_bins(settings.table, (raw.frames, raw.readouts), job.dataset)
        return "table"
    _repetition_time(settings, job.acquired, job.dataset)
    return settings.navigator


def _repetition_time(settings: BinningSettings, acquired: Acquired, who: str) -> float:
    if settings.repetition_time is not None:
        return float(settings.repetition_time)
    if acquired.frame_duration is None:
        raise DataError(
            f"{who}: calibration.binning finds breathing by its frequency, and the source does not "
            "tell when readouts were taken; set calibration.binning.repetition_time [s]"
        )
    return float(acquired.frame_duration / acquired.readouts)


def needs(job: Calibrating) -> list[Need]:
    """Return what the navigator needs, and the weights of a bin."""
    acquired, settings = job.acquired, job.settings.calibration.binning
    assert settings is not None
    readouts = acquired.frames * acquired.readouts
    if settings.table is not None:
        # A number of text takes two bytes or more there, and as Python's complex one 40.
        size = Path(settings.table).stat().st_size
        factor = 4 if settings.table.endswith(".npy") else 24
        return [Need({"binning: table": factor * size, "binning: weights": 16 * readouts})]
    slab = min(acquired.readouts, max(1, SAMPLES_AT_A_TIME // acquired.samples)) * acquired.samples
    windows = most_windows(readouts, settings.repetition_time, settings.highest[1])
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
        Need({"binning: weights": (72 if settings.heart is None else 112) * readouts}),
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
            sorted_into = table_bins(settings.table, (raw.frames, raw.readouts), job.dataset)
            found: dict[str, Any] = {}
        else:
            data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
            repetition = _repetition_time(settings, job.acquired, job.dataset)
            navigator, *heart = find_navigators(data, settings, repetition, job.dataset)
            _store(group, "navigator", navigator)
            sorted_into = soft_bins(navigator.signal, settings.bins, settings.overlap)
            found = {
                "navigator_hz": round(navigator.frequency, 4),
                "navigator_explains": round(navigator.explained, 4),
                "navigator_readouts": navigator.readouts,
                "repetition_time": repetition,
            }
            for beat in heart:
                assert settings.heart is not None
                _store(group, "navigator/heart", beat)
                by_heart = soft_bins(beat.signal, settings.heart.bins, settings.heart.overlap)
                sorted_into = sorted_into.times(by_heart)
                found |= {
                    "heart_hz": round(beat.frequency, 4),
                    "heart_explains": round(beat.explained, 4),
                }
        bins = sorted_into.bins
        stored = create_samples(
            group,
            "bins",
            (math.prod(bins), raw.frames, raw.readouts),
            ("bin", "frame", "readout"),
        )
        counts = []
        for number, index in enumerate(np.ndindex(bins)):
            weights = sorted_into.weights(index)
            if not weights.any():
                raise DataError(
                    f"{job.dataset}: calibration.binning finds no readout in bin "
                    f"{', '.join(map(str, index))} of {' x '.join(map(str, bins))}; take fewer"
                )
            stored[number] = weights
            counts.append(round(float(weights.sum(dtype=np.float64)), 1))
        found |= {"bins": list(bins), "readouts_of_bins": counts}
    receipt.record(**found)
    return found


def _store(group: "zarr.Group", name: str, navigator: Navigator) -> None:
    signal = navigator.signal.astype(np.float32)
    store_array(group, f"{name}/signal", signal, ("frame", "readout"))
    store_array(group, f"{name}/spectrum", navigator.spectrum, ("quantity", "frequency"))


@dataclass(frozen=True)
class SortedReadouts:
    """What readouts count in bins, one bin at a time: together they may be as large as the data."""

    bins: tuple[int, ...]
    """Along each axis of them."""
    weights: Callable[[tuple[int, ...]], NDArray[np.float32]]
    """Of a bin by its numbers, ``[frame, readout]``."""

    def times(self, other: "SortedReadouts") -> "SortedReadouts":
        """Return the bins of both, whose axes follow; a readout counts the product of both."""
        axes = len(self.bins)

        def weights(index: tuple[int, ...]) -> NDArray[np.float32]:
            found = self.weights(index[:axes])
            found *= other.weights(index[axes:])
            return found

        return SortedReadouts(self.bins + other.bins, weights)


def soft_bins(signal: NDArray[np.floating], bins: int, overlap: float) -> SortedReadouts:
    """Return bins with equally many readouts of a signal ``[frame, readout]``.

    Beyond a bin what a readout counts falls in a straight line, to nothing after ``overlap`` bins.
    """
    ranks = np.empty(signal.size)
    ranks[np.argsort(signal, axis=None, kind="stable")] = np.arange(signal.size) + 0.5
    places = (ranks * (bins / signal.size)).reshape(signal.shape)

    def weights(index: tuple[int, ...]) -> NDArray[np.float32]:
        (number,) = index
        if overlap == 0:
            return np.asarray(np.floor(places) == number, np.float32)
        beyond = np.maximum(np.maximum(number - places, places - (number + 1)), 0)
        return np.asarray(np.maximum(1 - beyond / overlap, 0), np.float32)

    return SortedReadouts((bins,), weights)


def table_bins(file: str, shape: tuple[int, int], who: str) -> SortedReadouts:
    """Return the bins of a table, of so many frames and readouts.

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
    numbered = table.ndim == 2 and table.shape[1] <= 2
    bins = _numbers_of_bins(table, f"{name}: {file}") if numbered else table.shape[1:]
    if not numbered and table.min() < 0:
        raise DataError(f"{name}: {file} has weights below 0")

    def weights(index: tuple[int, ...]) -> NDArray[np.float32]:
        counted = (table == index).all(axis=1) if numbered else np.moveaxis(table, 0, -1)[index]
        return np.asarray(counted.reshape(shape), np.float32)

    for index in np.ndindex(bins):
        if not weights(index).any():
            raise DataError(
                f"{name}: {file} has no readout in bin {', '.join(map(str, index))}; number bins "
                "from 0 on without gaps, or take fewer"
            )
    return SortedReadouts(bins, weights)


def _numbers_of_bins(table: NDArray[Any], who: str) -> tuple[int, ...]:
    """Return how many bins there are along each axis of numbers ``[readout, axis]``."""
    if (table != np.floor(table)).any() or table.max() >= MOST_BINS:
        raise DataError(f"{who} has bins that are not whole numbers below {MOST_BINS}")
    bins = tuple(int(largest) + 1 for largest in table.max(axis=0))
    if min(bins) < 1:
        raise DataError(f"{who} has no bin: all its numbers are below 0")
    if math.prod(bins) > MOST_BINS:
        raise DataError(f"{who} has {math.prod(bins)} bins; expected {MOST_BINS} at most")
    return bins
