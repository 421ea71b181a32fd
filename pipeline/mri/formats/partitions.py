"""A stack whose partitions are all measured, decoupled into slices by a Fourier transform along z.

Where all partitions have the same trajectory in their plane, and lie at the frequencies of a
discrete Fourier transform, that is all there is along z, and an image of each slice has equations
of its own [1]_. With the conventions of `pipeline.geometry.axes`, partition p of N measures

    kspace[p] = sum_z slice[z] exp(-2 pi j p (z - N // 2) / N),
    slice[z] = 1/N sum_p kspace[p] exp(+2 pi j p (z - N // 2) / N),

so that images have the scale of those of the volume. White noise stays white, at 1/sqrt(N) of its
level, which is what scans of noise are multiplied by. The normal equations of the volume are N
times those of the slices on either side, so that weights of penalties mean the same.

References
----------
.. [1] L. Feng et al., "Golden-angle radial sparse parallel MRI (GRASP)", Magn. Reson. Med. 72,
   707-717 (2014).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.derived import frames_of_slices
from pipeline.formats.lazy import Derived, InMemory, LazyArray, Selection, elementwise, part_bytes
from pipeline.geometry.axes import centred_affine
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.trajectories import OFF_GRID
from pipeline.storage.layout import tile_extent, tiles

SETTING = "decouple_partitions"
_UNEVEN = 1e-4
"""Of the largest value, by which weights or times of partitions may differ."""
_COPIES = 5
"""Of a piece of a trajectory, in double precision, while it is looked at."""
_ADVICE = f"anything else is one 3D problem, without `{SETTING}`"


@dataclass(frozen=True)
class _Partitions:
    """The readouts of a stack by partition, and how they are read."""

    rows: NDArray[np.int64]
    """``[partition, readout]``: their numbers in the source, the same in all frames. Partition p
    has the frequency ``2 pi p / N`` [rad/voxel], of N partitions."""
    who: str

    def read(self, array: LazyArray, selection: Selection) -> NDArray[Any]:
        """Return some readouts of all partitions, ``[..., partition, readout, sample]``.

        The ``selection`` ``[frame, ..., readout, sample]`` is of one frame, and its readouts are
        those of a partition.
        """
        frame, *others, readouts, samples = selection
        rows = self.rows[:, readouts].ravel()
        order = np.argsort(rows)
        breaks = np.flatnonzero(np.diff(rows[order]) != 1) + 1
        found = np.empty(0, array.dtype)
        for places in np.split(order, breaks):
            run = slice(int(rows[places[0]]), int(rows[places[-1]]) + 1)
            part = array[(frame, *others, run, samples)][0]
            if not found.size:  # once the first run is read, which may be all
                found = np.empty((*part.shape[:-2], rows.size, part.shape[-1]), array.dtype)
            found[..., places, :] = part
            del part
        return found.reshape(*found.shape[:-2], len(self.rows), -1, found.shape[-1])

    def reading_bytes(self, array: LazyArray, extent: Sequence[int]) -> int:
        """Return the peak memory of `read` for an extent of its selection, with the part [byte]."""
        *others, readouts, samples = extent
        read = (*others, len(self.rows) * readouts, samples)
        return part_bytes(array, read) + array.reading_bytes(read)

    def chunks(self, array: LazyArray) -> tuple[int, int]:
        """Return readouts and samples that are read at once."""
        return -(-array.chunks[-2] // len(self.rows)), array.chunks[-1]

    def kspace(self, array: LazyArray) -> Derived:
        """Return k-space of slices, ``[frame, coil, readout, sample]``, slice after slice."""
        frames, coils, _, samples = array.shape
        count, readouts = self.rows.shape
        shape = (count * frames, coils, readouts, samples)
        dtype = np.result_type(array.dtype, np.complex64)

        def compute(selection: Selection) -> NDArray[Any]:
            wanted, *others = (
                range(*part.indices(size)) for part, size in zip(selection, shape, strict=True)
            )
            found = np.empty((len(wanted), *map(len, others)), dtype)
            for frame in range(min(frames, len(wanted))):
                places = range(frame, len(wanted), frames)
                number = wanted[frame] % frames
                block = self.read(array, (slice(number, number + 1), *selection[1:]))
                block = block.astype(dtype, copy=False)
                self._require_measured(block)
                np.fft.ifft(block, axis=1, out=block)
                for place in places:
                    found[place] = block[:, (wanted[place] // frames - count // 2) % count]
                del block
            return found

        def needs(extent: Sequence[int]) -> int:
            one = (1, *extent[1:])
            block = count * math.prod(one) * dtype.itemsize
            converted = block + count * part_bytes(array, one) if dtype != array.dtype else block
            reading: int = max(self.reading_bytes(array, one), converted)
            return math.prod(extent) * dtype.itemsize + reading

        # A tile of all frames reads each readout once.
        chunks = (count * frames, array.chunks[1], *self.chunks(array))
        return Derived(shape, dtype, chunks, compute, needs)

    def common(self, array: LazyArray, name: str, factor: float = 1.0) -> LazyArray:
        """Return what all partitions share, ``[frame, readout, sample]``, times a factor."""
        frames, _, samples = array.shape
        count, readouts = self.rows.shape
        shape = (frames, readouts, samples)

        def compute(selection: Selection) -> NDArray[np.floating]:
            found = []
            for frame in range(*selection[0].indices(frames)):
                block = self.read(array, (slice(frame, frame + 1), *selection[1:]))
                uneven = float(np.ptp(block, axis=0).max())
                if uneven > _UNEVEN * float(np.abs(block).max()):
                    raise DataError(
                        f"{self.who}: {name} differ by {uneven:.3g} from partition to partition; "
                        "expected the same in all: leave them out"
                    )
                found.append(block[0] * factor)
            return np.stack(found)

        def needs(extent: Sequence[int]) -> int:
            block = 2 * self.reading_bytes(array, (1, *extent[1:]))
            return 2 * math.prod(extent) * 8 + block

        kept = Derived(shape, np.dtype(np.float64), (1, *self.chunks(array)), compute, needs)
        return _repeated(kept, count)

    def _require_measured(self, block: NDArray[Any]) -> None:
        """Refuse partitions that were filled with zeros, ``[coil, partition, readout, sample]``."""
        measured: NDArray[np.bool_] = np.any(block, axis=-1)
        lost = ~measured & measured.any(axis=1, keepdims=True)
        if lost.any():
            partition = int(np.argwhere(lost)[0, 1])
            raise DataError(
                f"{self.who}: partition {_signed(partition, len(self.rows))} has readouts of zeros "
                f"where others have none; expected all to be measured: {_ADVICE}"
            )


def decoupled(acquisition: MriAcquisition, dataset: str, budget: Budget) -> MriAcquisition:
    """Return the slices of an acquisition of a volume, whose arrays agree with each other.

    Its trajectory is read here, and that of a partition is held.

    Raises
    ------
    ConfigError
        If it is of one plane, or of a temporal basis, which a series of slices does not know.
    DataError
        If it is no stack of partitions that are all measured along the same trajectory; where it is
        read, if partitions are zero or have weights or times of their own.
    PlanError
        If the trajectory of a partition does not fit the budget.
    """
    who = f"{dataset}: `{SETTING}`"
    arrays = acquisition.arrays
    if len(acquisition.shape) != 3:
        raise ConfigError(f"{who} is for volumes; the image matrix is {acquisition.shape}")
    if series := sorted({"basis", "dictionary"} & arrays.keys()):
        raise ConfigError(
            f"{who}: a series of slices, whose coil maps differ, has no {' and no '.join(series)}; "
            f"leave them out of the source, or `{SETTING}`"
        )
    count = acquisition.shape[0]
    partitions, in_plane = _found(arrays["trajectory"], acquisition.shape, who, budget)
    made: dict[str, LazyArray] = {
        "trajectory": _repeated(InMemory(in_plane), count),
        "kspace": partitions.kspace(arrays["kspace"]),
    }
    for name, factor in (("weights", float(count)), ("times", 1.0)):
        if name in arrays:  # density weights no longer share a plane of k-space among partitions
            made[name] = partitions.common(arrays[name], name, factor)
    if "noise" in arrays:
        level = np.float32(1 / math.sqrt(count))
        made["noise"] = elementwise(lambda samples: samples * level, arrays["noise"])
    for name in {"reference", "field_map", "relaxation"} & arrays.keys():
        made[name] = frames_of_slices(_planes(arrays[name], arrays["kspace"].shape[0]), count)
    affine = acquisition.affine
    if affine is None:
        affine = centred_affine(acquisition.shape, acquisition.voxel_size)
    return replace(
        acquisition,
        shape=acquisition.shape[1:],
        voxel_size=acquisition.voxel_size[1:],
        arrays={**arrays, **made},
        provenance={**acquisition.provenance, SETTING: count},
        affine=affine,
        oriented=acquisition.affine is not None and acquisition.oriented,
        slices=count,
    )


def _found(
    trajectory: LazyArray, shape: Sequence[int], who: str, budget: Budget
) -> tuple[_Partitions, NDArray[np.floating]]:
    """Return the partitions of a stack, and the trajectory that they share.

    That is ``[frame, readout, sample, axis]`` [rad/voxel], in the plane.
    """
    frames, total, samples, axes = trajectory.shape
    count, readouts = shape[0], total // shape[0]
    held = frames * readouts * samples * (axes - 1) * trajectory.dtype.itemsize + 40 * total

    def parts(extent: Sequence[int]) -> Mapping[str, int]:
        piece = trajectory.reading_bytes(extent) + _COPIES * 8 * math.prod(extent)
        return {"trajectory of a partition": held, "piece of the trajectory": piece}

    one = (1, total, samples, axes)
    extent = tile_extent(
        one,
        (1, 1, samples, axes),
        trajectory.chunks,
        trajectory.dtype.itemsize,
        lambda sizes: budget.fits(parts(sizes)),
    )
    budget.require(parts(extent))
    budget.hold(held)

    def pieces(frame: int) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        for _, some, *rest in tiles(one, extent):
            yield some, trajectory[(slice(frame, frame + 1), some, *rest)][0]

    partition = np.empty(total, np.int64)
    for some, piece in pieces(0):
        partition[some] = _partition_of(piece, count, who)
    measured = np.bincount(partition, minlength=count)
    if np.any(measured != readouts):
        few, many = int(measured.argmin()), int(measured.argmax())
        raise DataError(
            f"{who}: partition {_signed(few, count)} has {measured[few]} readouts and partition "
            f"{_signed(many, count)} {measured[many]}; expected as many in each of {count}, the "
            f"image matrix along z: {_ADVICE}"
        )
    # The first readouts of all partitions belong together, and so on.
    rows = np.argsort(partition, kind="stable").reshape(count, readouts)
    number = np.empty(total, np.int64)
    number[rows] = np.arange(readouts)
    first = rows.min(axis=0)
    in_plane = np.empty((frames, readouts, samples, axes - 1), trajectory.dtype)
    for frame in range(frames):
        for some, piece in pieces(frame):
            if frame and np.any(_partition_of(piece, count, who) != partition[some]):
                raise DataError(
                    f"{who}: frame {frame} has its partitions in another order than frame 0; "
                    f"expected the same in all: {_ADVICE}"
                )
            new = first[number[some]] == np.arange(some.start, some.stop)
            in_plane[frame, number[some][new]] = piece[new, :, 1:]
            away = piece[..., 1:] - in_plane[frame, number[some]]
            cycles = away * (np.asarray(shape[1:]) / (2 * np.pi))
            cycles -= np.rint(away / (2 * np.pi)) * shape[1:]
            furthest = np.abs(cycles).max(axis=(1, 2))
            if not furthest.max() <= OFF_GRID:  # or NaN
                at = int(np.argmin(furthest <= OFF_GRID))
                other = some.start + at
                raise DataError(
                    f"{who}: readout {other} of frame {frame}, number {number[other]} of partition "
                    f"{_signed(int(partition[other]), count)}, is up to {furthest[at]:.3g} cycles "
                    "per field of view away from that of another partition; expected the same "
                    f"trajectory, in the same order, in each: {_ADVICE}"
                )
    return _Partitions(rows, who), in_plane


def _partition_of(piece: NDArray[np.floating], count: int, who: str) -> NDArray[np.int64]:
    """Return the partition, 0 to ``count - 1``, of readouts ``[readout, sample, axis]``."""
    cycles = piece[..., 0] * (count / (2 * np.pi))
    if not (along := float(np.ptp(cycles, axis=1).max())) <= OFF_GRID:  # or NaN
        raise DataError(
            f"{who}: k moves {along:.3g} cycles per field of view along z within a readout; "
            f"expected readouts of one partition each: {_ADVICE}"
        )
    nearest: NDArray[Any] = np.rint(cycles[:, 0])
    away = np.abs(cycles[:, 0] - nearest)
    if away.max() > OFF_GRID:
        raise DataError(
            f"{who}: a partition lies at {cycles[away.argmax(), 0]:.6g} cycles per field of view "
            f"along z; expected whole ones, with {count} voxels along z: {_ADVICE}, or correct "
            "`shape` or units"
        )
    return np.asarray(nearest.astype(np.int64) % count)


def _signed(partition: int, count: int) -> int:
    """Return the cycles per field of view of a partition, from ``-count // 2`` on."""
    return (partition + count // 2) % count - count // 2


def _planes(array: LazyArray, frames: int) -> Derived:
    """Return volumes ``[frame or 1, z, y, x]`` as ``[slice, frame, 1, y, x]``."""
    stored, depth, *plane = array.shape
    chunk, planes, *within = array.chunks

    def compute(selection: Selection) -> NDArray[Any]:
        slices, wanted, _, *others = selection
        some = slice(0, 1) if stored == 1 else wanted
        part = array[(some, slices, *others)].swapaxes(0, 1)[:, :, None]
        many = len(range(*wanted.indices(frames)))
        return np.broadcast_to(part, (part.shape[0], many, *part.shape[2:]))

    def needs(extent: Sequence[int]) -> int:
        slices, wanted, _, *others = extent
        return array.reading_bytes((min(wanted, stored), slices, *others))

    shape, chunks = (depth, frames, 1, *plane), (planes, chunk, 1, *within)
    return Derived(shape, array.dtype, chunks, compute, needs)


def _repeated(array: LazyArray, slices: int) -> LazyArray:
    """Return ``[frame, ...]`` for each slice; what all frames share, all slices do."""

    def compute(selection: Selection) -> NDArray[Any]:
        return array[selection[1:]][None]

    one = Derived(
        (1, *array.shape),
        array.dtype,
        (1, *array.chunks),
        compute,
        lambda extent: array.reading_bytes(extent[1:]),
    )
    return frames_of_slices(one, slices)
