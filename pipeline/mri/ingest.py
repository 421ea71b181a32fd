"""What `ingest` asks of MRI data: trajectories in rad/voxel, and measurements that are not zero."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.formats.content import Check, Content, Largest
from pipeline.formats.lazy import Selection
from pipeline.geometry.axes import as_volume, centred_affine
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.formats.units import likely_units, to_rad_per_voxel
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import sampling_pattern
from pipeline.mri.trajectories import wrapped

if TYPE_CHECKING:
    import zarr

_SHORTEST, _LONGEST = 1e-12, 1e6  # of a voxel [m]
_FLATTEST = 1e-6  # volume of the cell that three unit vectors along the voxels' axes span
_EDGE = np.pi * (1 + 1e-5)  # single precision and units of few digits round pi upwards
_SUSPICIOUSLY_SMALL = 0.5 * (1 + 1e-3)  # what a trajectory in cycles/voxel reaches


def content_of(acquisition: MriAcquisition, settings: IngestSettings, dataset: str) -> Content:
    """Return what the store of an acquisition is to hold."""
    shape, arrays = acquisition.shape, acquisition.arrays
    affine = acquisition.affine
    if affine is None:
        affine = centred_affine(shape, acquisition.voxel_size)
    _require_places(affine, acquisition.voxel_size, dataset)
    matrix = f"the image matrix is {shape}"
    sizes = {"axis": len(shape), **dict(zip("zyx", as_volume(shape), strict=True))}
    checks: dict[str, Check] = {}
    if "trajectory" in arrays:
        checks["trajectory"] = _Trajectory(acquisition, settings, dataset)
    if "weights" in arrays:
        checks["weights"] = _NotNegative(dataset, "weights")
    if "sensitivities" in arrays:
        checks["sensitivities"] = _NotZero(dataset, "sensitivities")
    return Content(
        table=ARRAYS,
        attributes={
            "kind": "mri",
            "shape": list(shape),
            "voxel_size": list(acquisition.voxel_size),
            "affine": np.asarray(affine, dtype=np.float64).tolist(),
            "source": settings.source,
            "provenance": dict(acquisition.provenance),
        },
        arrays=arrays,
        sizes={axis: (size, matrix) for axis, size in sizes.items()},
        checks=checks,
        finish=_note_pattern,
    )


def _require_places(
    affine: NDArray[np.float64], voxel_size: tuple[float, ...], dataset: str
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


def _note_pattern(group: "zarr.Group") -> None:
    # What `calibrate` needs depends on it, and is to be known without opening the store.
    raw = RawData(group, Path("raw.json"))
    group.attrs["pattern"] = sampling_pattern(raw.readouts_of(0))


class _NotZero(Check):
    """What would make an image of nothing."""

    def __init__(self, dataset: str, name: str) -> None:
        self._who = f"{dataset}: {name}"
        self._some = False

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        self._some = self._some or bool(values.any())
        return values

    def finish(self) -> None:
        if not self._some:
            raise DataError(f"{self._who} are zero throughout; leave them out or correct them")


class _NotNegative(_NotZero):
    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        if values.min() < 0:
            raise DataError(f"{self._who} reach {values.min():g}; expected none below 0")
        return super().passed(values, tile)


class _Trajectory(Largest):
    """Units, and values in [-pi, pi)."""

    def __init__(self, acquisition: MriAcquisition, settings: IngestSettings, dataset: str) -> None:
        shape = acquisition.arrays["trajectory"].shape
        super().__init__(shape, (len(shape) - 1,))
        self._acquisition = acquisition
        self._settings = settings
        self._dataset = dataset

    def passed(self, values: NDArray[Any], tile: Selection) -> NDArray[Any]:
        return wrapped(super().passed(values, tile))

    def finish(self) -> None:
        _check_units(self.values, self._acquisition, self._settings, self._dataset)


def _check_units(
    extent: NDArray[np.float64], acquisition: MriAcquisition, settings: IngestSettings, dataset: str
) -> None:
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
