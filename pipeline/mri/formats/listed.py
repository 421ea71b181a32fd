"""From a file that lists readouts one by one to an acquisition."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.config.trajectories import GeneratedKind, TrajectorySettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import Derived, InMemory, LazyArray
from pipeline.geometry.axes import centred_affine
from pipeline.geometry.orientation import patient_affine
from pipeline.mri.formats.acquisition import MriAcquisition, voxel_size
from pipeline.mri.formats.encoding_space import (
    CartesianSampling,
    EncodingSpace,
    cartesian_sampling,
)
from pipeline.mri.formats.parallel_slices import parallel_slices
from pipeline.mri.formats.readout_arrays import Readouts, ReadoutSource, placed
from pipeline.mri.formats.readout_table import (
    LINES,
    READOUT_BYTES,
    ReadoutTable,
    SortedReadouts,
    noise_rows,
    sorted_readouts,
)
from pipeline.mri.formats.units import to_rad_per_voxel
from pipeline.mri.generators.registry import GeneratedTrajectory
from pipeline.pieces import pieces

_COMPARED = 256
"""Readouts whose trajectories are compared at a time."""


@dataclass(frozen=True)
class Place:
    """Where and how a readout was measured."""

    position: NDArray[np.floating]
    """Of the centre of the field of view, along left, posterior, superior [m]."""
    directions: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
    """In which z (partition or slice), y (phase) and x (read) grow: unit vectors, or zeros where
    the file does not tell."""
    dwell_time: float | None
    """Between samples [s]."""


class ListedSource(ReadoutSource):
    """A file that lists readouts, as far as formats differ in it."""

    table: ReadoutTable
    encodings: Sequence[EncodingSpace]
    default_encoding: int = 0
    components: int
    """Of the stored trajectory; 0 where the file has none."""
    noise_bandwidth: float | None
    """Of noise readouts, relative to the inverse of their dwell time [1]_.

    References
    ----------
    .. [1] P. Kellman, E. R. McVeigh, "Image reconstruction in SNR units: a general method for SNR
       measurement", Magn. Reson. Med. 54, 1439-1447 (2005).
    """

    def trajectory(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the stored trajectory of readouts, ``[readout, sample, component]``."""
        raise NotImplementedError

    def place(self, row: int) -> Place:
        """Return where a readout was measured."""
        raise NotImplementedError


def require_room(readouts: int, budget: Budget) -> None:
    """Ask for the memory of a table of so many readouts before it is made."""
    size = READOUT_BYTES * readouts
    budget.require({"table of readouts": size})
    budget.hold(size)


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
        encoded = _cartesian(source, space, readouts, settings, dataset)
    else:
        encoded = _non_cartesian(source, space, readouts, settings, dataset, chosen, kind)
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
        "trajectory": encoded.trajectory,
        "kspace": measured.kspace(),
    }
    noise = noise_rows(source.table, readouts.coils)
    place = source.place(int(readouts.rows[0, 0]))
    dwell_time, noise_dwell_time = place.dwell_time, None
    if dwell_time is not None:
        # Fewer samples over the same time, each with the noise of so many.
        dwell_time *= (readouts.samples.stop - readouts.samples.start) / encoded.samples
    if len(noise):
        arrays["noise"] = _noise(source, noise, budget)
        noise_dwell_time = source.place(int(noise[0])).dwell_time
    if noise_dwell_time is not None and source.noise_bandwidth:
        noise_dwell_time /= source.noise_bandwidth
    notes = {"left_out": list(readouts.notes)} if readouts.notes else {}
    thickness = slices.distance or encoded.voxel_size[0]
    affine = patient_affine(
        encoded.shape,
        (thickness, *encoded.voxel_size[1:]),
        position=place.position,
        directions=place.directions,
    )
    size = encoded.voxel_size[-len(encoded.shape) :]
    return MriAcquisition(
        shape=encoded.shape,
        voxel_size=size,
        arrays=arrays,
        provenance={**provenance, "trajectory": kind, **encoded.told, **notes},
        units=chosen.units if kind == "stored" else "rad_per_voxel",
        affine=centred_affine(encoded.shape, size, thickness) if affine is None else affine,
        oriented=affine is not None,
        slices=slices.count,
        dwell_time=dwell_time,
        noise_dwell_time=noise_dwell_time,
        units_setting="trajectory.units" if kind == "stored" else None,
    )


@dataclass(frozen=True)
class _Encoded:
    """Where readouts lie, and the image that they are of."""

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    """``(z, y, x)`` [m]."""
    samples: int
    trajectory: Derived
    finish: Callable[[NDArray[np.complex64]], NDArray[np.complex64]] | None
    told: Mapping[str, Any]
    """For the provenance."""


def _kind(
    chosen: TrajectorySettings, source: ListedSource, space: EncodingSpace, dataset: str
) -> str:
    """Return where readouts are known to lie from."""
    if chosen.kind == "stored" and not source.components:
        raise ConfigError(
            f"{dataset}: `trajectory.kind` is stored, but the file has no trajectory; set it to "
            "cartesian or to one that is generated"
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
        "or cartesian"
    )


def _cartesian(
    source: ListedSource,
    space: EncodingSpace,
    readouts: SortedReadouts,
    settings: IngestSettings,
    dataset: str,
) -> _Encoded:
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
    return _Encoded(
        sampling.shape,
        sampling.voxel_size,
        sampling.samples,
        placed(known, sampling.samples, dimensions, place),
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


def _non_cartesian(
    source: ListedSource,
    space: EncodingSpace,
    readouts: SortedReadouts,
    settings: IngestSettings,
    dataset: str,
    chosen: TrajectorySettings,
    kind: str,
) -> _Encoded:
    """Take the stored trajectory, or generate one."""
    matrix = space.image.matrix
    shape = settings.details.shape or (matrix[1:] if matrix[0] == 1 else matrix)
    view = space.image.field_of_view[-len(shape) :]
    sizes = tuple(length / size for length, size in zip(view, shape, strict=True))
    if settings.details.voxel_size is not None or min(sizes) <= 0:
        sizes = voxel_size(settings, dataset, len(shape))
    thickness = space.image.voxel_size[0] or sizes[-1]
    measured, rows = readouts.samples, readouts.rows
    samples = measured.stop - measured.start
    if kind == "stored":
        order = _components(chosen, source.components, len(shape), dataset)
        factors = to_rad_per_voxel(chosen.units, shape, sizes)

        def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
            stored = source.trajectory(some)[:, measured]
            left = [each for each in range(source.components) if each not in order]
            if np.any(stored[..., left]):
                raise DataError(
                    f"{dataset}: the trajectory moves along component {left[0]}, which is none of "
                    f"the image {shape}; check `shape` and `trajectory.axis_order`"
                )
            return np.asarray(stored[..., order] * factors)

        known = rows[:1] if _alike(source, rows) else rows
    else:
        generated = GeneratedTrajectory(chosen, shape, rows.shape[1], samples, dataset)
        index = np.arange(rows.size).reshape(rows.shape)
        known = index if generated.own else index[:1]

        def place(some: NDArray[np.int64]) -> NDArray[np.float64]:
            frame, first = divmod(int(some[0]), rows.shape[1])
            return generated(frame, slice(first, first + len(some)))

    return _Encoded(
        shape=shape,
        voxel_size=(thickness, *sizes)[-3:],
        samples=samples,
        trajectory=placed(known, samples, len(shape), place),
        finish=None,
        told={},
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
