"""Where listed readouts were sampled: by their lines, as the file stores it, or by a formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.config.trajectories import TrajectorySettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import LazyArray, describe_files
from pipeline.mri.formats.acquisition import voxel_size
from pipeline.mri.formats.encoding_space import (
    CartesianSampling,
    EncodingSpace,
    cartesian_sampling,
)
from pipeline.mri.formats.listed_source import ListedSource
from pipeline.mri.formats.pulseq import numbers_in_sequence, sequence_readouts
from pipeline.mri.formats.readout_arrays import placed
from pipeline.mri.formats.readout_table import LINES, ROLES, SortedReadouts
from pipeline.mri.formats.units import to_rad_per_voxel
from pipeline.mri.generators.registry import GeneratedTrajectory
from pipeline.pieces import pieces

_COMPARED = 256
"""Readouts whose trajectories are compared at a time."""


@dataclass(frozen=True)
class EncodedReadouts:
    """Where readouts lie, and the image that they are of."""

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    """``(z, y, x)`` [m]."""
    samples: int
    arrays: Mapping[str, LazyArray]
    """``trajectory`` [rad/voxel], and ``times`` [s] where they are known."""
    finish: Callable[[NDArray[np.complex64]], NDArray[np.complex64]] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    """For the provenance."""
    dwell_time: float | None = None
    """Between samples [s], where the readouts' own headers are not to be asked."""


def cartesian_readouts(
    source: ListedSource,
    space: EncodingSpace,
    readouts: SortedReadouts,
    settings: IngestSettings,
    dataset: str,
) -> EncodedReadouts:
    """Place readouts by the counters of their lines."""
    if settings.details.shape is not None:
        raise ConfigError(
            f"{dataset}: `sources.{dataset}.shape` is set, but Cartesian lines tell their matrix; "
            "leave it out, and give a reconstruction the `shape` that you want"
        )
    table, rows = source.table, readouts.rows
    lines = np.stack([table.counters[name] for name in reversed(LINES)], axis=-1)[rows]
    planes = int(np.ptp(lines[..., 0])) + 1
    dimensions = 3 if space.encoded.matrix[0] > 1 and planes > 1 else 2
    centres = np.unique(table.centre[rows])
    if len(centres) > 1:
        raise DataError(
            f"{dataset}: the centre of k-space is at sample {centres[0]} of some readouts and at "
            f"{centres[-1]} of others; choose with `sources.{dataset}.readouts`"
        )
    first = int(rows[0, 0])
    told_centres = {name: int(values[first]) for name, values in table.line_centres.items()}
    sampling = cartesian_sampling(
        replace(space, centres={**space.centres, **told_centres}),
        samples=readouts.samples.stop - readouts.samples.start,
        centre=int(centres[0]) - readouts.samples.start,
        dimensions=dimensions,
        who=dataset,
    )
    lines = lines[..., -(dimensions - 1) :]
    _require_inside(lines, sampling, dataset)
    known = rows[:1] if np.all(lines == lines[0]) else rows
    by_row = np.stack([table.counters[name] for name in reversed(LINES)], axis=-1)

    def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
        return sampling.trajectory(by_row[some][:, -(dimensions - 1) :])

    told = {}
    if sampling.oversampled is not None:
        told["oversampling_removed"] = [sampling.oversampled, sampling.samples]
    return EncodedReadouts(
        sampling.shape,
        sampling.voxel_size,
        sampling.samples,
        {"trajectory": placed(known, sampling.samples, dimensions, place)},
        sampling.remove_oversampling if sampling.oversampled is not None else None,
        told,
    )


def _require_inside(lines: NDArray[np.int32], sampling: CartesianSampling, dataset: str) -> None:
    """Refuse lines beyond the encoded matrix."""
    for axis, (size, centre) in enumerate(
        zip(sampling.shape[:-1], sampling.line_centres, strict=True)
    ):
        name = LINES[len(sampling.shape) - 2 - axis]
        low, high = int(lines[..., axis].min()), int(lines[..., axis].max())
        if low < centre - size // 2 or high >= centre + -(-size // 2):
            raise DataError(
                f"{dataset}: {name} is {low} to {high} with {centre} in the centre of k-space, but "
                f"the encoded matrix has {size}; correct the header (encodedSpace, encodingLimits)"
            )


def non_cartesian_readouts(
    source: ListedSource,
    space: EncodingSpace,
    readouts: SortedReadouts,
    settings: IngestSettings,
    dataset: str,
    chosen: TrajectorySettings,
    kind: str,
    budget: Budget,
) -> EncodedReadouts:
    """Take the stored trajectory, that of a sequence, or generate one."""
    matrix = space.image.matrix
    shape = settings.details.shape or (matrix[1:] if matrix[0] == 1 else matrix)
    view = space.image.field_of_view[-len(shape) :]
    sizes = tuple(length / size for length, size in zip(view, shape, strict=True))
    if settings.details.voxel_size is not None or min(sizes) <= 0:
        sizes = voxel_size(settings, dataset, len(shape))
    thickness = space.image.voxel_size[0] or sizes[-1]
    measured, rows = readouts.samples, readouts.rows
    samples = measured.stop - measured.start
    size = (thickness, *sizes)[-3:]
    if kind == "pulseq":
        table, listed = source.table, int(source.table.samples[rows[0, 0]])
        sequence = sequence_readouts(chosen, listed, budget, dataset)
        numbers = numbers_in_sequence(
            sequence, rows, table.samples == listed, table.role == ROLES.index("image")
        )
        return EncodedReadouts(
            shape,
            size,
            samples,
            sequence.arrays(shape, sizes, numbers, measured),
            told={"sequence": describe_files([Path(str(chosen.file))])},
            dwell_time=sequence.dwell_time,
        )
    if kind == "stored":
        order = _components(chosen, source.components, len(shape), dataset)
        factors = np.broadcast_to(to_rad_per_voxel(chosen.units, shape, sizes), len(order))

        def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
            stored = source.trajectory(some)[:, measured]
            left = [each for each in range(source.components) if each not in order]
            if np.any(stored[..., left]):
                raise DataError(
                    f"{dataset}: the trajectory moves along component {left[0]}, which is none of "
                    f"the image {shape}; check `shape` and `trajectory.axis_order`"
                )
            found = np.empty((*stored.shape[:-1], len(order)))
            for axis, component in enumerate(order):  # which is faster than to index by a list
                np.multiply(stored[..., component], factors[axis], out=found[..., axis])
            return found

        known = rows[:1] if _alike(source, rows) else rows
    else:
        generated = GeneratedTrajectory(chosen, shape, rows.shape[1], samples, dataset)
        index = np.arange(rows.size).reshape(rows.shape)
        known = index if generated.own else index[:1]

        def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
            frame, first = divmod(int(some[0]), rows.shape[1])
            return generated(frame, slice(first, first + len(some)))

    return EncodedReadouts(
        shape, size, samples, {"trajectory": placed(known, samples, len(shape), place)}
    )


def _components(
    chosen: TrajectorySettings, components: int, dimensions: int, dataset: str
) -> list[int]:
    """Return which stored component belongs to the first, second ... image axis."""
    wanted = ("z", "y", "x")[-dimensions:]
    stored = chosen.axis_order[:components]
    if not set(wanted) <= set(stored):
        raise ConfigError(
            f"{dataset}: the stored trajectory has {components} components, of which "
            f"`trajectory.axis_order` makes {', '.join(stored)}; the image has {', '.join(wanted)}"
        )
    return [stored.index(axis) for axis in wanted]


def _alike(source: ListedSource, rows: NDArray[np.int64]) -> bool:
    """Tell whether all frames have the stored trajectory of the first."""
    for some in pieces(rows.shape[1], _COMPARED):
        first = source.trajectory(rows[0, some])
        if not all(np.array_equal(first, source.trajectory(other[some])) for other in rows[1:]):
            return False
    return True
