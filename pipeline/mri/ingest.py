"""What `ingest` asks of MRI data: trajectories in rad/voxel, and measurements that are not zero."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.checks import (
    Check,
    Found,
    Largest,
    NotNegative,
    ranges,
    ranges_within,
    require_squares,
)
from pipeline.formats.content import Content, Sizes, require_arrays
from pipeline.formats.faults import Measured
from pipeline.formats.lazy import Selection
from pipeline.formats.measurement import Measurement
from pipeline.geometry.axes import as_volume, centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.formats.partitions import decoupled
from pipeline.mri.formats.units import likely_units, to_rad_per_voxel
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import sampling_pattern
from pipeline.mri.trajectories import OFF_GRID, wrapped
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

_SHORTEST, _LONGEST = 1e-12, 1e6  # of a voxel [m]
_FLATTEST = 1e-6  # volume of the cell that three unit vectors along the voxels' axes span
_SKEW = 2e-3  # of unit vectors along them: headers have few digits
_EDGE = np.pi * (1 + 1e-5)  # single precision and units of few digits round pi upwards
_POINTS_AT_A_TIME = 2**14
_VOXELS_LOOKED_AT = 2**16
_OUTSIDE = 0.01  # of the largest root sum of squares: outside the maps' masks
_NORM_APART = 3.0  # of root sums of squares from 1: those of unscaled fields reach 2 at the edges
_SUSPICIOUSLY_SMALL = 0.5 * (1 + 1e-3)  # what a trajectory in cycles/voxel reaches


def content_of(
    acquisition: MriAcquisition, settings: IngestSettings, dataset: str, budget: Budget
) -> Content:
    """Return what the store of an acquisition is to hold."""
    _require_planes(acquisition, dataset)
    if settings.details.decouple_partitions:
        require_arrays(acquisition.arrays, ARRAYS, _sizes(acquisition.shape), dataset)
        acquisition = decoupled(acquisition, dataset, budget)
    shape, arrays = acquisition.shape, acquisition.arrays
    affine, details = acquisition.affine, settings.details
    if affine is None:
        affine = centred_affine(shape, acquisition.voxel_size, details.slice_thickness)
    oriented = acquisition.affine is not None and acquisition.oriented
    _require_places(affine, acquisition.voxel_size, dataset, oriented=oriented)
    return Content(
        table=ARRAYS,
        attributes={
            "kind": "mri",
            "shape": list(shape),
            "voxel_size": list(acquisition.voxel_size),
            "affine": np.asarray(affine, dtype=np.float64).tolist(),
            "oriented": oriented,
            "frame_duration": details.frame_duration or acquisition.frame_duration,
            "slices": acquisition.slices,
            "header": acquisition.header,
            "source": settings.source,
            "provenance": dict(acquisition.provenance),
            **_times(acquisition, settings.details),
        },
        arrays=arrays,
        sizes=_sizes(shape),
        checks={
            "trajectory": partial(_Trajectory, acquisition, dataset),
            "kspace": partial(_measured, dataset),
            "weights": partial(NotNegative, f"{dataset}: weights", ("frame",)),
            "relaxation": partial(NotNegative, f"{dataset}: relaxation", ("frame",)),
            "sensitivities": partial(_Maps, f"{dataset}: sensitivities"),
        },
        finish=partial(_finish, acquisition.doubts),
    )


def _sizes(shape: tuple[int, ...]) -> Sizes:
    """Return the lengths of axes that the image matrix tells."""
    sizes = {"axis": len(shape), **dict(zip("zyx", as_volume(shape), strict=True))}
    return {axis: (size, f"the image matrix is {shape}") for axis, size in sizes.items()}


def _times(acquisition: MriAcquisition, details: SourceSettings) -> dict[str, float]:
    """Return the times of samples [s] that are known: as set, else as the source tells."""
    names = ("dwell_time", "first_sample_time", "noise_dwell_time")
    known = {name: getattr(acquisition, name) for name in names}
    known |= details.model_dump(include=set(names), exclude_none=True)
    return {name: float(value) for name, value in known.items() if value}


def _require_planes(acquisition: MriAcquisition, dataset: str) -> None:
    """Refuse coil maps of other planes than the image has, or in 2D slices."""
    maps, depth = acquisition.arrays.get("sensitivities"), as_volume(acquisition.shape)[0]
    allowed = (depth, acquisition.slices) if depth == 1 else (depth,)
    if maps is None or len(maps.shape) < 2 or maps.shape[1] in allowed:
        return
    slices = f" with {acquisition.slices} slices" if acquisition.slices > 1 else ""
    raise DataError(
        f"{dataset}: sensitivities, of shape {tuple(maps.shape)}, has {maps.shape[1]} along `z`, "
        f"but the image matrix is {acquisition.shape}{slices}; check files and settings of both"
    )


def _require_places(
    affine: NDArray[np.float64], voxel_size: tuple[float, ...], dataset: str, *, oriented: bool
) -> None:
    """Refuse voxels that no viewer could place; they would stop the merge."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    sizes = np.array([*voxel_size, *lengths])
    if not (np.isfinite(affine).all() and np.all((sizes > _SHORTEST) & (sizes < _LONGEST))):
        raise DataError(
            f"{dataset}: voxels of {voxel_size} m with the affine {affine.tolist()}; expected "
            f"finite numbers, and sizes between {_SHORTEST:g} and {_LONGEST:g} m"
        )
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < _FLATTEST:
        raise DataError(f"{dataset}: the affine {affine.tolist()} is singular; correct it")
    directions = affine[:3, :3] / lengths
    if oriented and not np.allclose(directions.T @ directions, np.eye(3), atol=_SKEW):
        raise DataError(
            f"{dataset}: the affine {affine.tolist()} has axes that are not at right angles, as "
            "those of a scanner's images are; correct it, or its attribute `oriented`"
        )


def _finish(
    doubts: Sequence[str], group: "zarr.Group", found: Mapping[str, Found], record: Receipt
) -> None:
    for doubt in doubts:
        record.warn(doubt)
    # What `calibrate` needs depends on it, and is to be known without opening the store.
    raw = RawData(group, Path("raw.json"))
    on_grid = found["trajectory"]["on_grid"]
    group.attrs["pattern"] = "cartesian" if on_grid else sampling_pattern(raw.readouts_of(0))


def _measured(dataset: str, shape: tuple[int, ...]) -> Measured:
    return Measured(
        Measurement(
            who=f"{dataset}: kspace",
            axes=ARRAYS["kspace"].axes,
            shape=shape,
            line="sample",
            lines="readouts",
            alike=("readout",),
            channel="coil",
            apart=("frame", "coil"),
            compared=(("coil",), ("frame",)),
            needed=(("frame",),),
            common=("frame", "readout"),
            cancels=True,
        )
    )


class _Maps(Check):
    """Coil maps, and the root of the sum of their squares on a lattice of voxels."""

    def __init__(self, who: str, shape: tuple[int, ...]) -> None:
        self._who = who
        self._largest = Largest(shape, (0,))
        step = max(1, round((math.prod(shape[1:]) / _VOXELS_LOOKED_AT) ** (1 / len(shape[1:]))))
        self._lattice = [np.arange(0, size, step) for size in shape[1:]]
        self._squares = np.zeros([len(along) for along in self._lattice])

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        inside = [
            slice(*np.searchsorted(along, (part.start, part.stop)))
            for along, part in zip(self._lattice, tile[1:], strict=True)
        ]
        chosen = [
            along[part] - whole.start
            for along, part, whole in zip(self._lattice, inside, tile[1:], strict=True)
        ]
        some = values[np.ix_(range(len(values)), *chosen)]
        self._squares[tuple(inside)] += np.sum(np.abs(some).astype(np.float64) ** 2, axis=0)
        return self._largest.passed(values, tile)

    def finish(self, record: Receipt) -> Found:
        empty = np.flatnonzero(self._largest.values == 0)
        coils = len(self._largest.values)
        if len(empty) == coils:
            raise DataError(f"{self._who} are zero throughout; leave them out or correct them")
        require_squares(f"{self._who} reach", float(self._largest.values.max()))
        if len(empty):
            record.warn(
                f"{self._who} are zero throughout at {ranges('coil', empty)} of {coils}, so that "
                "what these coils measured is not used; correct the maps or leave out the coils"
            )
        norms = np.sqrt(self._squares)
        norms = norms[norms > _OUTSIDE * norms.max()]
        low, median, high = np.percentile(norms, (5, 50, 95))
        if median < 1 / _NORM_APART or high > _NORM_APART:
            record.warn(
                f"{self._who}: the root of the sum of their squares is {low:.3g} to {high:.3g} "
                f"(5 % and 95 % of the voxels, median {median:.3g}); expected about 1, as images "
                "are divided by it: normalise the maps"
            )
        norm = {"5%": float(low), "median": float(median), "95%": float(high)}
        return {"zero_coils": empty.tolist(), "root_sum_of_squares": norm}


class _Trajectory(Largest):
    """Units, values in [-pi, pi), and where the trajectory does not move."""

    def __init__(
        self,
        acquisition: MriAcquisition,
        dataset: str,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(shape, (len(shape) - 1,))
        self._acquisition = acquisition
        self._dataset = dataset
        frames, readouts, self._samples, axes = shape
        self._lowest = np.full((frames, axes), np.inf)
        self._highest = -self._lowest
        self._moves = np.zeros((frames, readouts), bool)
        self._on_grid = True

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        frames, readouts, _, axes = tile
        lowest, highest = values.min(axis=2), values.max(axis=2)  # of each readout
        self._moves[frames, readouts] |= (highest > lowest).any(axis=-1)
        for extreme, known, found in (
            (np.minimum, self._lowest, lowest.min(axis=1)),
            (np.maximum, self._highest, highest.max(axis=1)),
        ):
            known[frames, axes] = extreme(known[frames, axes], found)
        self._on_grid = self._on_grid and _lie_on_grid(
            values.reshape(-1, values.shape[-1]), np.asarray(self._acquisition.shape)[axes]
        )
        return wrapped(super().passed(values, tile))

    def finish(self, record: Receipt) -> Found:
        _check_units(self.values, self._acquisition, self._dataset)
        who = f"{self._dataset}: trajectory"
        still = np.flatnonzero((self._highest <= self._lowest).all(axis=1))
        if len(still):
            raise DataError(
                f"{who} stays at one point in {ranges('frame', still)}; correct it, or leave out "
                "what was not measured"
            )
        flat = self._highest.max(axis=0) <= self._lowest.min(axis=0)
        for axis, size in enumerate(self._acquisition.shape):
            if size > 1 and flat[axis]:
                record.warn(
                    f"{who} does not move along image axis {axis}, so that nothing tells its "
                    f"{size} voxels apart; check the order of the axes, and `shape`"
                )
        resting = np.argwhere(~self._moves)
        # Spectroscopic readouts all rest; of an image, a few do where something was not filled in.
        if self._samples > 1 and 0 < len(resting) < self._moves.size / 2:
            told = ranges_within(("frame", "readout"), resting)
            record.warn(
                f"{who} stays at one point in {len(resting)} of {self._moves.size} readouts "
                f"({told}); leave out what was not measured"
            )
        count = len(resting) if self._samples > 1 else 0
        return {"resting_readouts": count, "on_grid": self._on_grid}


def _lie_on_grid(points: NDArray[Any], shape: NDArray[np.integer]) -> bool:
    """Tell whether points ``[point, axis]`` [rad/voxel] lie on the grid of a matrix."""
    for start in range(0, len(points), _POINTS_AT_A_TIME):
        cycles = points[start : start + _POINTS_AT_A_TIME] * (shape / (2 * np.pi))
        if not np.all(np.abs(cycles - np.rint(cycles)) < OFF_GRID):
            return False
    return True


def _check_units(extent: NDArray[np.float64], acquisition: MriAcquisition, dataset: str) -> None:
    """Raise `DataError` if a trajectory leaves its range or seems to be in other units.

    ``extent`` is the largest magnitude of each component [rad/voxel].
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
    elif (extent * shape).max() < np.pi:
        fault = "not half a cycle across the image"
    else:
        return
    axes = ("z", "y", "x")[-len(shape) :]
    reached = ", ".join(f"{axis} {size:.6g}" for axis, size in zip(axes, stored, strict=True))
    message = (
        f"{dataset}: trajectory reaches |k| of {reached}; in {units}, with the image matrix "
        f"{shape}, that is {extent.max():.6g} rad/voxel, {fault}. "
    )
    if likely == units:
        advice = "Its outer samples are finer than the voxels"
    elif likely == "degrees":
        advice = "It looks like degrees per voxel: set its `scale` to pi / 180"
    elif likely is not None and acquisition.units_setting is not None:
        key = f"sources.{dataset}.{acquisition.units_setting}"
        factors = np.unique(to_rad_per_voxel(likely, shape, voxel_size))
        advice = f"It looks like {likely}: set `{key}: {likely}`"
        if units == "rad_per_voxel" and len(factors) == 1:  # from Python there is no such setting
            advice += f", or multiply it by {factors[0]:.6g}"
    elif likely is not None:
        advice = f"It looks like {likely}: convert it to {units}"
    else:
        advice = "It looks like none of the units known here"
    if extent.max() > _EDGE and units in ("cycles_per_fov", "cycles_per_m", "rad_per_m"):
        holding = tuple(int(size) for size in np.ceil(extent * shape / np.pi * (1 - 1e-6)))
        advice += (
            f"; or set `sources.{dataset}.shape`: a matrix of {holding} over the same field of "
            "view would hold it"
        )
    raise DataError(message + advice)
