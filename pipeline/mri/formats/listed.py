"""From a file that lists readouts one by one to an acquisition."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.config.trajectories import GeneratedKind, TrajectorySettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.formats.lazy import InMemory, LazyArray
from pipeline.geometry.axes import centred_affine
from pipeline.geometry.orientation import patient_affine
from pipeline.mri.formats.acquisition import MriAcquisition, voxel_size
from pipeline.mri.formats.encoded_readouts import cartesian_readouts, non_cartesian_readouts
from pipeline.mri.formats.encoding_space import EncodingSpace
from pipeline.mri.formats.listed_source import ListedSource
from pipeline.mri.formats.parallel_slices import parallel_slices
from pipeline.mri.formats.readout_arrays import Readouts
from pipeline.mri.formats.readout_table import missing_ends, noise_rows, sorted_readouts


def listed_acquisition(
    source: ListedSource,
    settings: IngestSettings,
    dataset: str,
    budget: Budget,
    provenance: Mapping[str, Any],
) -> MriAcquisition:
    """Return the acquisition of the readouts that the settings choose.

    Raises
    ------
    ConfigError
        If the settings ask for what the file does not have, or do not say where readouts lie of
        which the file does not.
    DataError
        If the file contradicts itself.
    """
    chosen = settings.details.trajectory or TrajectorySettings()
    readouts_wanted = settings.details.readouts
    number = source.default_encoding
    if readouts_wanted is not None and readouts_wanted.encoding is not None:
        number = readouts_wanted.encoding
    if number >= len(source.encodings):
        raise ConfigError(
            f"{dataset}: the header has {len(source.encodings)} encodings; set "
            f"`sources.{dataset}.readouts.encoding` below that"
        )
    space = source.encodings[number]
    kind = _kind(chosen, source, space, dataset)
    by_line = kind in ("cartesian", "stack-of-stars")
    readouts = sorted_readouts(source.table, settings, dataset, encoding=number, by_line=by_line)
    slices = parallel_slices(
        readouts.rows,
        source.table.counters["slice"][readouts.rows[:, 0]],
        source.place,
        dataset,
    )
    readouts = replace(readouts, rows=slices.rows)
    if kind == "cartesian":
        encoded = cartesian_readouts(source, space, readouts, settings, dataset)
    else:
        encoded = non_cartesian_readouts(
            source, space, readouts, settings, dataset, chosen, kind, budget
        )
    measured = Readouts(
        source,
        readouts.rows,
        readouts.coils,
        readouts.samples,
        encoded.samples,
        source.table.reverse if kind == "cartesian" else None,
        encoded.finish,
    )
    arrays: dict[str, LazyArray] = {
        **encoded.arrays,
        "kspace": measured.kspace(),
    }
    noise = noise_rows(source.table, readouts.coils)
    place = source.place(int(readouts.rows[0, 0]))
    dwell_time, noise_dwell_time = encoded.dwell_time or place.dwell_time, None
    if dwell_time is not None:
        # Fewer samples over the same time, each with the noise of so many.
        dwell_time *= (readouts.samples.stop - readouts.samples.start) / encoded.samples
    if len(noise):
        arrays["noise"] = _noise(source, noise, budget)
        noise_dwell_time = source.place(int(noise[0])).dwell_time
    if noise_dwell_time is not None and source.noise_bandwidth:
        noise_dwell_time /= source.noise_bandwidth
    missing = list(missing_ends(source.table, space.announced, number))
    doubts = [f"{dataset}: the measurement may be incomplete: {each}" for each in missing]
    if "whole_readouts" in provenance:
        doubts.append(f"{dataset}: the file is cut off, and was read as far as readouts are whole")
    if readouts.short:
        doubts.append(f"{dataset}: left out are {readouts.short}")
    notes = {"left_out": list(readouts.notes)} if readouts.notes else {}
    dimensions = len(encoded.shape)
    size = voxel_size(settings, dataset, dimensions, encoded.voxel_size[-dimensions:])
    thickness = slices.distance or (encoded.voxel_size[0] if dimensions == 2 else size[0])
    affine = patient_affine(
        encoded.shape,
        (thickness, *size[-2:]),
        position=place.position,
        directions=place.directions,
    )
    return MriAcquisition(
        shape=encoded.shape,
        voxel_size=size,
        arrays=arrays,
        provenance={**provenance, "trajectory": kind, **encoded.told, **notes},
        units={"stored": chosen.units, "pulseq": "cycles_per_m"}.get(kind, "rad_per_voxel"),
        affine=centred_affine(encoded.shape, size, thickness) if affine is None else affine,
        oriented=affine is not None,
        slices=slices.count,
        dwell_time=dwell_time,
        noise_dwell_time=noise_dwell_time,
        units_setting="trajectory.units" if kind == "stored" else None,
        doubts=tuple(doubts),
    )


def _kind(
    chosen: TrajectorySettings, source: ListedSource, space: EncodingSpace, dataset: str
) -> str:
    """Return where readouts are known to lie from."""
    if chosen.kind == "stored" and not source.components:
        raise ConfigError(
            f"{dataset}: `trajectory.kind` is stored, but the file has no trajectory; set it to "
            "cartesian, pulseq or one that is generated"
        )
    if chosen.kind != "auto":
        return chosen.kind
    if source.components:
        return "stored"
    if space.trajectory == "cartesian":
        return "cartesian"
    raise ConfigError(
        f"{dataset}: the file has no trajectory, and its header says only `{space.trajectory}`; "
        f"set `sources.{dataset}.trajectory.kind` to one of {', '.join(get_args(GeneratedKind))}, "
        "pulseq or cartesian"
    )


def _noise(source: ListedSource, rows: NDArray[np.int64], budget: Budget) -> InMemory:
    """Return the noise readouts, one after the other: those of the usual length."""
    lengths = source.table.samples[rows]
    length = int(np.bincount(lengths).argmax())
    rows = rows[lengths == length]
    coils = int(source.table.coils[rows[0]])
    size = 8 * coils * length * len(rows)
    budget.require({"noise": 3 * size})
    budget.hold(size)
    read = source.samples(rows)
    return InMemory(read.swapaxes(0, 1).reshape(coils, -1))
