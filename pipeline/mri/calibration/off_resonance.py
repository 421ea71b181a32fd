"""Off-resonance: the field map, and a map of R2*, with the time segments that stand for them.

What they are and how they are chosen: `pipeline.mri.calibration.segments`.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration.segments import (
    MOST_CYCLES,
    WORKSPACE_BYTES,
    Histogram,
    segments,
)
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import SAMPLES_AT_A_TIME
from pipeline.pieces import pieces
from pipeline.storage.calibration import CalibrationArrays, create_map, store_array
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE, image_chunks
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "off_resonance"

MAPS = ("field_map", "relaxation")


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``source`` or ``none``; see `pipeline.engine.chain.Step`."""
    acquired, wanted = job.acquired, job.settings.calibration.off_resonance
    arrays = acquired.arrays
    maps = [name for name in MAPS if name in arrays]
    if wanted == "source" and not (maps and acquired.timed):
        lacks = "times of its samples" if maps else "map of off-resonance or relaxation"
        raise DataError(
            f"{job.dataset}: calibration.off_resonance is source, but the source has no {lacks}; "
            "set it to none, or name `field_map` and `times` in the dataset's arrays (in place of "
            "`times`, `dwell_time`)"
        )
    if wanted == NONE or not maps or not acquired.timed:
        return NONE
    if acquired.slices > 1:
        raise DataError(
            f"{job.dataset}: `{maps[0]}` is one map, but there are {acquired.slices} slices; "
            "ingest each as a dataset of its own, or set calibration.off_resonance to none"
        )
    for name in maps:
        if arrays[name][0] > 1:
            raise DataError(
                f"{job.dataset}: `{name}` has {arrays[name][0]} frames; expected one map, which "
                "all frames share"
            )
    return "source"


def needs(job: Calibrating) -> list[Need]:
    """Return what counting the voxels of some planes needs, and what segments do."""
    volume = as_volume(job.acquired.shape)
    planes = _planes(volume) * math.prod(volume[1:])
    return [
        Need(
            {
                # Both maps as they are stored, in double precision, and their bins.
                "off-resonance: planes": 64 * planes,
                "off-resonance: chunks": CHUNKS_AT_ONCE * CHUNK_BYTES,
                "off-resonance: segments": WORKSPACE_BYTES,
            }
        ),
        Need({"off-resonance: times": 16 * max(SAMPLES_AT_A_TIME, job.acquired.samples)}),
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that needs less memory."""
    return ["calibration.off_resonance: none"] * any("off-resonance" in name for name in need.host)


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the maps and the tables of their segments, which samples and normal operator need."""
    allowed = job.settings.calibration.off_resonance_error
    with receipt.phase("off_resonance"):
        first, last = _extent(raw, job)
        limits = _write_maps(raw, group)
        cycles = max(map(abs, limits[0])) * (last - first)
        if cycles > MOST_CYCLES:
            raise DataError(
                f"{job.dataset}: a field map of {limits[0][0]:.4g} to {limits[0][1]:.4g} Hz turns "
                f"{cycles:.0f} times between the first sample and the last, {last - first:.4g} s "
                f"later; allowed are {MOST_CYCLES}. Check the units of both, Hz and s"
            )
        histogram = Histogram.of(
            (_planes_of(raw, planes) for planes in _slabs(raw)), limits, last - first
        )
        store_array(group, f"{NAME}/extent", np.array([first, last]), ("limit",))
        record: dict[str, Any] = {}
        for name, pairs in (("samples", False), ("normal", True)):
            found = segments(histogram, first, last, error=allowed, pairs=pairs)
            store_array(group, f"{NAME}/{name}/times", found.nodes, ("segment",))
            store_array(group, f"{NAME}/{name}/table", found.table, ("row", "segment"))
            record[name] = {"segments": len(found.nodes), "error": found.error}
    return {
        "off_resonance_segments": record,
        "field_map_hz": [float(limit) for limit in limits[0]],
        "sample_times_s": [first, last],
    }


def segment_counts(calibration: CalibrationArrays) -> tuple[int, int] | None:
    """Return how many segments samples and normal operator have; `None` for no off-resonance."""
    found = [calibration.array(f"{NAME}/{name}/times") for name in ("samples", "normal")]
    one, other = found
    return None if one is None or other is None else (len(one), len(other))


def _planes(volume: tuple[int, ...]) -> int:
    return image_chunks(volume, 4)[0]


def _slabs(raw: RawData) -> list[slice]:
    volume = as_volume(raw.shape)
    return pieces(volume[0], _planes(volume))


def _planes_of(raw: RawData, planes: slice) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return off-resonance and relaxation of some planes, zero where there is no map."""
    field, relaxation = raw.field_map(planes), raw.relaxation(planes)
    either: Any = relaxation if field is None else field
    zero = np.zeros_like(either)
    return zero if field is None else field, zero if relaxation is None else relaxation


def _write_maps(raw: RawData, group: "zarr.Group") -> list[tuple[float, float]]:
    """Copy the maps, and return the least and the largest value of both."""
    stored = {
        name: create_map(group, f"{NAME}/{name}", as_volume(raw.shape))
        for name in MAPS
        if name in raw.arrays
    }
    limits = [(math.inf, -math.inf)] * 2
    for planes in _slabs(raw):
        for index, (name, values) in enumerate(zip(MAPS, _planes_of(raw, planes), strict=True)):
            low, high = limits[index]
            limits[index] = min(low, float(values.min())), max(high, float(values.max()))
            if name in stored:
                stored[name][planes] = values[0]
    return limits


def _extent(raw: RawData, job: Calibrating) -> tuple[float, float]:
    """Return when the first and the last sample was taken [s]."""

    def parts() -> Iterator[NDArray[np.floating]]:
        frames, _, _ = job.acquired.arrays.get("times", (1, 0, 0))
        rows = pieces(raw.readouts, max(1, SAMPLES_AT_A_TIME // raw.samples))
        yield from (raw.times(frame, some) for frame in range(frames) for some in rows)

    found = [(float(times.min()), float(times.max())) for times in parts()]
    return min(low for low, _ in found), max(high for _, high in found)
