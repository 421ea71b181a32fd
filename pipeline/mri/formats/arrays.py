"""Arrays in files of any layout, mapped to ours by the dataset's settings."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.sources import ArraySettings, IngestSettings
from pipeline.config.trajectories import TrajectorySettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.derived import frames_of_slices, scaled
from pipeline.formats.lazy import LazyArray, describe_files, existing_source
from pipeline.formats.mapped_files import MappedFiles
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition, image_matrix, voxel_size
from pipeline.mri.formats.encoding_space import EncodingSpace, Space
from pipeline.mri.formats.grid import AXES as GRID_AXES
from pipeline.mri.formats.grid import grid_arrays
from pipeline.mri.formats.pulseq import numbers_in_sequence, sequence_readouts
from pipeline.mri.formats.units import to_rad_per_voxel


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Open arrays of any files.

    ``details.arrays`` says where each array lies and what its axes mean. Cartesian k-space may be a
    grid, with the axes z, y and x in place of readout and sample.
    """
    mapping, chosen = settings.details.arrays, settings.details.trajectory
    cartesian = chosen is not None and chosen.kind == "cartesian"
    if chosen is not None and (
        chosen.kind not in ("cartesian", "pulseq") or "trajectory" in (mapping or ())
    ):
        raise ConfigError(
            f"{dataset}: `sources.{dataset}.trajectory` of the format `arrays` is for grids and "
            "sequences: its kind is cartesian or pulseq, and `arrays` then have no trajectory"
        )
    needed = {"kspace"} if chosen is not None else {"kspace", "trajectory"}
    if not mapping or not needed <= set(mapping):
        raise ConfigError(
            f"{dataset}: the format `arrays` needs `sources.{dataset}.arrays` with at least "
            f"kspace and trajectory, or with kspace and `sources.{dataset}.trajectory.kind`, "
            "cartesian for a grid or pulseq"
        )
    foreign = [name for name in mapping if name not in ARRAYS]
    if foreign:
        raise ConfigError(
            f"{dataset}: `arrays` names {', '.join(foreign)}, which is not for MRI; known are "
            f"{', '.join(ARRAYS.fields)}"
        )
    with ExitStack() as stack:
        files = MappedFiles(existing_source(settings, dataset), settings, stack)
        arrays, slices = _mapped(files, mapping, dataset, grid=cartesian)
        provenance = {"format": "arrays", "files": describe_files(list(files.paths))}
        if cartesian:
            found = _cartesian(arrays, settings, dataset, budget, provenance)
            yield replace(found, slices=slices)
            return
        if chosen is not None:
            found = _sequence(arrays, settings, chosen, dataset, budget, provenance)
            yield replace(found, slices=slices)
            return
        trajectory = arrays["trajectory"]
        dimensions = trajectory.shape[-1]
        if dimensions not in (2, 3):
            raise DataError(
                f"{dataset}: trajectory has {dimensions} components; expected 2 or 3, one per "
                "image axis"
            )
        shape = image_matrix(settings, dataset, arrays, dimensions)
        if len(shape) != dimensions:
            raise DataError(
                f"{dataset}: trajectory has {dimensions} components, but `shape` {shape} has "
                f"{len(shape)} axes; expected as many"
            )
        size = voxel_size(settings, dataset, dimensions)
        arrays["trajectory"] = scaled(
            trajectory,
            to_rad_per_voxel(mapping["trajectory"].units, shape, size),
            order=_component_order(mapping["trajectory"], dimensions, dataset),
        )
        yield MriAcquisition(
            shape=shape,
            voxel_size=size,
            arrays=arrays,
            provenance=provenance,
            units=mapping["trajectory"].units,
            units_setting="arrays.trajectory.units",
            slices=slices,
        )


def _mapped(
    files: MappedFiles, mapping: Mapping[Any, ArraySettings], dataset: str, *, grid: bool
) -> tuple[dict[str, LazyArray], int]:
    """Return the arrays with our axes, and the number of slices, whose frames stand together."""
    sliced = {name for name, array in mapping.items() if "slice" in " ".join(array.axes).split()}
    if sliced and "kspace" not in sliced:
        raise ConfigError(
            f"{dataset}: {', '.join(sorted(sliced))} has an axis `slice`, but `kspace` has none"
        )
    found: dict[str, LazyArray] = {}
    for name, array in mapping.items():
        named = " ".join(array.axes).split()
        axes = GRID_AXES if grid and name == "kspace" else ARRAYS[name].axes_of(named)
        if sliced and name == "sensitivities":  # a plane for each slice
            axes = tuple("slice" if axis == "z" else axis for axis in axes)
        elif sliced and axes[0] == "frame":
            axes = ("slice", *axes)
        found[name] = files.mapped(name, array, axes, f"{dataset}: {name}")
    if not sliced:
        return found, 1
    slices = found["kspace"].shape[0]
    for name, one in found.items():
        if name != "sensitivities" and ARRAYS[name].axes[0] == "frame":
            if one.shape[0] not in (1, slices):
                raise DataError(
                    f"{dataset}: {name} has {one.shape[0]} slices, but kspace has {slices}"
                )
            found[name] = frames_of_slices(one, slices)
    return found, slices


def _cartesian(
    arrays: Mapping[str, LazyArray],
    settings: IngestSettings,
    dataset: str,
    budget: Budget,
    provenance: Mapping[str, Any],
) -> MriAcquisition:
    """Return the acquisition of a k-space that is stored as a grid."""
    grid = arrays["kspace"]
    matrix = grid.shape[2:]
    shape = matrix if matrix[0] > 1 else matrix[1:]
    if settings.details.shape not in (None, shape):
        raise ConfigError(
            f"{dataset}: `sources.{dataset}.shape` is {settings.details.shape}, but the grid of "
            f"k-space is {shape}; leave it out, and give a reconstruction the `shape` that you want"
        )
    size = voxel_size(settings, dataset, len(shape))
    view = np.multiply(matrix, (size[-1], *size)[-3:]).tolist()
    space = Space((matrix[0], matrix[1], matrix[2]), (view[0], view[1], view[2]))
    encoding = EncodingSpace(space, space, "cartesian")
    sampling, made = grid_arrays(grid, encoding, budget, f"{dataset}: kspace")
    return MriAcquisition(sampling.shape, size, {**arrays, **made}, provenance)


def _sequence(
    arrays: Mapping[str, LazyArray],
    settings: IngestSettings,
    chosen: TrajectorySettings,
    dataset: str,
    budget: Budget,
    provenance: Mapping[str, Any],
) -> MriAcquisition:
    """Return the acquisition whose readouts are those of a sequence, in its order."""
    shape, size = settings.details.shape, settings.details.voxel_size
    if shape is None or size is None:
        raise ConfigError(
            f"{dataset}: a sequence tells k-space in cycles/m; set `sources.{dataset}.shape` and "
            "`voxel_size`"
        )
    frames, _, readouts, samples = arrays["kspace"].shape
    sequence = sequence_readouts(chosen, samples, budget, dataset)
    rows = np.arange(frames * readouts).reshape(frames, readouts)
    every = np.ones(rows.size, bool)
    size = voxel_size(settings, dataset, len(shape))
    made = sequence.arrays(shape, size, numbers_in_sequence(sequence, rows, every, every))
    told = {**provenance, "sequence": describe_files([Path(str(chosen.file))])}
    return MriAcquisition(
        shape, size, {**made, **arrays}, told, "cycles_per_m", dwell_time=sequence.dwell_time
    )


def _component_order(array: ArraySettings, dimensions: int, dataset: str) -> list[int] | None:
    """Return which stored component belongs to the first, second ... image axis."""
    if array.axis_order is None:
        return None
    wanted = ("z", "y", "x")[-dimensions:]
    if sorted(array.axis_order) != sorted(wanted):
        raise ConfigError(
            f"{dataset}: trajectory `axis_order` is {', '.join(array.axis_order)}; expected "
            f"{', '.join(wanted)} in the order in which they are stored"
        )
    return [array.axis_order.index(axis) for axis in wanted]
