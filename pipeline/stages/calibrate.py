"""Calibrate: coil maps and density weights, copied from the source or estimated."""

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine.limits import planned_limits, torch_device
from pipeline.engine.needs import require_fit
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.host_memory import return_freed_memory
from pipeline.kinds import open_raw
from pipeline.mri.calibration.calibrate_memory import calibrate_advice, calibrate_memory
from pipeline.mri.calibration.centre import CentreGrid, centre_images
from pipeline.mri.calibration.coilmaps import interpolated, unit_norm, walsh_maps
from pipeline.mri.calibration.density import (
    Method,
    Weights,
    automatic_method,
    density_weights,
    method_for,
)
from pipeline.mri.raw import RawData
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.rf.calibration.bistatic_density import bistatic_weights, is_bistatic_rotation
from pipeline.rf.calibration.model_error import model_errors
from pipeline.rf.geometry.phase_history import whole_aperture
from pipeline.rf.raw import RfRawData
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import create_sensitivities, create_weights
from pipeline.storage.publish import published_store
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

_SAMPLED_VOXELS = 64

CoilMaps = Literal["source", "walsh", "none"]
Density = Literal["source"] | Method


def calibrate(
    *,
    settings: CalibrateSettings,
    dataset: str,
    raw: Path,
    calibration: Path,
    receipt: Path,
    device: str,
    threads: int,
    host_mb: Literal["auto"] | int = "auto",
    device_mb: Literal["auto"] | int = "auto",
) -> None:
    """Calibrate one dataset.

    Parameters
    ----------
    settings
        What to estimate and how.
    dataset
        Name.
    raw
        Marker of the acquisition.
    calibration
        Marker of the store to write.
    receipt
        This job's receipt.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads to use.
    host_mb, device_mb
        Limits of memory, as in `memory` of the config.

    Raises
    ------
    PlanError
        If the calibration does not fit the limits: before it computes anything, with the
        arithmetic.
    DataError
        If the source lacks what the settings take from it, or a method does not fit the data.
    DeviceError
        If the device is absent.
    """
    with Receipt(receipt, "calibrate", settings=settings, dataset=dataset) as job:
        return_freed_memory()
        torch.set_num_threads(threads)
        data = open_raw(raw)
        if isinstance(data, RfRawData):
            rf = _RfCalibration(settings, dataset, data, torch_device(device), threads)
            _require_memory(rf, raw, host_mb, device_mb, job)
            rf.write(calibration, job)
            return
        assert isinstance(data, RawData)
        work = _Calibration(settings, dataset, data, torch_device(device), threads)
        _require_memory(work, raw, host_mb, device_mb, job)
        with published_store(calibration) as group:
            group.attrs.update(
                {
                    "dataset": dataset,
                    "coil_maps": work.coil_maps,
                    "density": work.density,
                    "settings": settings.model_dump(mode="json"),
                }
            )
            if work.density != "none":
                with job.phase("density"):
                    work.write_weights(group, work.density)
            if work.coil_maps == "source":
                with job.phase("copy_maps"):
                    work.copy_maps(group)
            elif work.coil_maps == "walsh":
                with job.phase("centre"):
                    images = work.centre_images(group)
                with job.phase("walsh"):
                    maps = walsh_maps(images)
                with job.phase("interpolate"):
                    work.write_maps(group, maps)
        job.record(
            coil_maps=work.coil_maps, density=work.density, device=work.device, threads=threads,
            coils=work.raw.coils, frames=work.raw.frames,
        )  # fmt: skip


def _require_memory(
    work: "_Calibration | _RfCalibration",
    raw: Path,
    host_mb: Literal["auto"] | int,
    device_mb: Literal["auto"] | int,
    job: Receipt,
) -> None:
    """Predict and record what a calibration needs; raise `PlanError` if it does not fit."""
    acquired = Acquired.of(raw)
    need = calibrate_memory(
        acquired,
        work.chosen,
        threads=work.threads,
        on_device=work.device != "cpu",
        density=work.density,
    )
    on_device, on_host = planned_limits(work.device, device_mb, host_mb)
    require_fit(
        need,
        host_mb=on_host,
        device_mb=on_device,
        who=f"{work.dataset}: calibrate",
        advice=calibrate_advice(acquired, work.chosen, need),
    )
    job.record(predicted_host_bytes=need.host_bytes, limit_host_bytes=on_host * 10**6)


class _RfCalibration:
    """How far curved wavefronts are from plane ones, and the density of phase histories."""

    def __init__(
        self, settings: CalibrateSettings, dataset: str, raw: RfRawData, device: str, threads: int
    ) -> None:
        self.chosen = settings
        self.dataset = dataset
        self.raw = raw
        self.device = device
        self.threads = threads
        self.density = self._choose_density()

    def write(self, calibration: Path, job: Receipt) -> None:
        """Publish the store, and record what is in it."""
        raw = self.raw
        with job.phase("model_error"):
            errors = _pair_errors(raw, self.dataset) if raw.pairs else _aperture_errors(raw)
        record: dict[str, Any] = {
            "coil_maps": "none",
            "density": self.density,
            "model_errors": errors,
        }
        with published_store(calibration) as group:
            group.attrs.update(
                {
                    "dataset": self.dataset,
                    **record,
                    "settings": self.chosen.model_dump(mode="json"),
                }
            )
            if self.density != "none":
                with job.phase("density"):
                    frames = raw.frames if raw.own_paths else 1
                    shape = (frames, raw.pulses, len(raw.frequencies))
                    stored = create_weights(group, shape, ("frame", "pulse", "freq"))
                    for frame in range(frames):
                        stored[frame] = self._weights(frame)
        job.record(**record)

    def _choose_density(self) -> Literal["bistatic", "pipe-menon", "none"]:
        wanted, raw = self.chosen.calibration.density, self.raw
        circles = not raw.pairs and is_bistatic_rotation(raw.scene, raw.paths(0))
        if wanted in ("auto", "none"):
            return "bistatic" if circles and wanted == "auto" else "none"
        if raw.pairs:
            raise DataError(
                f"{self.dataset}: calibration.density is {wanted}, but pairs of antenna arrays "
                "have no density weights; set it to auto or none"
            )
        if wanted == "pipe-menon":
            return "pipe-menon"
        if wanted == "bistatic" and circles:
            return "bistatic"
        raise DataError(
            f"{self.dataset}: calibration.density is {wanted}, which does not fit this phase "
            "history"
            + (", whose antennas do not circle a scene of two axes by even steps" * (not circles))
            + "; set it to auto, pipe-menon or none"
        )

    def _weights(self, frame: int) -> NDArray[np.float32]:
        """Return the density weights of a frame, ``[pulse, freq]``, of mean 1."""
        raw, paths = self.raw, self.raw.paths(frame)
        if self.density == "bistatic":
            return bistatic_weights(raw.scene, paths, raw.frequencies)
        weights = density_weights(
            "pipe-menon",
            whole_aperture(raw.scene, paths, raw.frequencies).trajectory(),
            raw.shape,
            settings=self.chosen.calibration,
            nufft=self.chosen.nufft,
            device=self.device,
            threads=self.threads,
            who=f"{self.dataset} frame {frame}",
        )(slice(None))
        return np.asarray(weights / weights.mean())


def _aperture_errors(data: RfRawData) -> dict[str, float]:
    """Return the errors of a phase history as a single aperture."""
    aperture = whole_aperture(data.scene, data.paths(0), data.frequencies)
    voxels = np.random.default_rng(0).integers(data.scene.voxels, size=_SAMPLED_VOXELS)
    return {
        "W": aperture.curvature_error(voxels, voxel_phase=False),
        "W+D(fc)": aperture.curvature_error(voxels),
    }


def _pair_errors(data: RfRawData, dataset: str) -> dict[str, float]:
    """Return the errors of each model of pairs, against the exact Born sum.

    Pairs without positions can only be modelled as they are stored, with the error that is known.
    """
    pairs = range(data.pairs)
    antennas = [data.antennas(pair) for pair in pairs]
    known = [pair for pair in antennas if pair is not None]
    errors: dict[str, float] = {}
    if data.model_error is not None:
        errors["stored"] = data.model_error
    if len(known) == len(antennas):
        measured = model_errors(data.scene, known, data.frequencies)
        return {level: error.relative for level, error in measured.items()} | errors
    lacking = [
        pair for pair in pairs if not (data.has_factors(pair) or data.has_wave_vectors(pair))
    ]
    if lacking:
        raise DataError(
            f"{dataset}: pair {lacking[0]} and {len(lacking) - 1} others can have no model; store "
            "`tx` and `rx` of each pair, or its factors or wave vectors"
        )
    return errors


class _Calibration:
    """One dataset, its settings, and the methods chosen for it."""

    def __init__(
        self, settings: CalibrateSettings, dataset: str, raw: RawData, device: str, threads: int
    ) -> None:
        self.chosen = settings
        self.settings = settings.calibration
        self.nufft = settings.nufft
        self.dataset = dataset
        self.raw = raw
        self.device = device
        self.threads = threads
        self.grid = CentreGrid(raw.shape, self.settings.calibration_width)
        self.coil_maps = self._choose_coil_maps()
        self.density = self._choose_density()

    def _choose_coil_maps(self) -> CoilMaps:
        wanted, in_source = self.settings.coil_maps, "sensitivities" in self.raw.arrays
        if wanted == "source" and not in_source:
            raise DataError(
                f"{self.dataset}: calibration.coil_maps is source, but the source has no coil "
                "maps; set it to auto or walsh, or name `sensitivities` in the dataset's arrays"
            )
        if wanted == "source" or (wanted == "auto" and in_source):
            return "source"
        return "none" if wanted == "none" or self.raw.coils == 1 else "walsh"

    def _choose_density(self) -> Density | Literal["none"]:
        wanted, in_source = self.settings.density, "weights" in self.raw.arrays
        if wanted == "source" and not in_source:
            raise DataError(
                f"{self.dataset}: calibration.density is source, but the source has no density "
                "weights; set it to auto, or name `weights` in the dataset's arrays"
            )
        if wanted == "bistatic":
            raise DataError(
                f"{self.dataset}: calibration.density is bistatic, which is for RF phase "
                "histories; set it to auto"
            )
        if wanted != "auto":
            return wanted
        return "source" if in_source else self._automatic_density()

    def _automatic_density(self) -> Method:
        """Choose by what ingest saw of the trajectory; look at it where ingest was another's."""
        if self.raw.pattern is None:
            return automatic_method(self.raw.readouts_of(0))
        return method_for(self.raw.pattern)

    def write_weights(self, group: "zarr.Group", method: Density) -> None:
        """Write the weights, frame by frame; of the first only where all frames share them."""
        raw = self.raw
        own = raw.own_weights if method == "source" else raw.own_trajectory
        frames = raw.frames if own else 1
        stored = create_weights(group, (frames, raw.readouts, raw.samples))
        slabs = pieces(raw.readouts, stored.chunks[1])
        with track(f"{self.dataset}: density weights", frames * len(slabs)) as advance:
            for frame in range(frames):
                weights = self._weights(method, frame)
                for slab in slabs:
                    stored[frame, slab] = weights(slab)
                    advance()

    def _weights(self, method: Density, frame: int) -> Weights:
        if method == "source":
            return partial(self._source_weights, frame)
        return density_weights(
            method,
            self.raw.readouts_of(frame),
            self.raw.shape,
            settings=self.settings,
            nufft=self.nufft,
            device=self.device,
            threads=self.threads,
            who=f"{self.dataset} frame {frame}",
        )

    def _source_weights(self, frame: int, readouts: slice) -> NDArray[np.float32]:
        return np.asarray(self.raw.weights(frame, readouts))

    def copy_maps(self, group: "zarr.Group") -> None:
        """Copy the source's maps coil by coil."""
        stored = create_sensitivities(group, (self.raw.coils, *as_volume(self.raw.shape)))
        for coil in range(self.raw.coils):
            one = slice(coil, coil + 1)
            stored[one] = np.asarray(self.raw.sensitivities(one))

    def centre_images(self, group: "zarr.Group") -> torch.Tensor:
        """Return coil images of low resolution, of all frames together."""
        stored: Any = group.get("weights")
        method = self._automatic_density() if stored is None else "source"

        # Asked for slab after slab, of one frame or of frames that share their density.
        @lru_cache(maxsize=1)
        def density(frame: int) -> Weights:
            return self._weights(method, frame)

        def weights(frame: int) -> Weights:
            if stored is None:
                return density(frame if self.raw.own_trajectory else 0)
            row = frame if stored.shape[0] > 1 else 0
            return lambda readouts: np.asarray(stored[row, readouts])

        return centre_images(
            self.raw,
            weights,
            self.grid,
            nufft=self.nufft,
            device=self.device,
            threads=self.threads,
            who=self.dataset,
        )

    def write_maps(self, group: "zarr.Group", maps: torch.Tensor) -> None:
        """Write maps on the full matrix, some planes of all coils at a time."""
        volume = as_volume(self.raw.shape)
        stored = create_sensitivities(group, (self.raw.coils, *volume))
        planes, rows, columns = self.grid.coordinates
        with track(f"{self.dataset}: planes of coil maps", volume[0]) as advance:
            for start in range(0, volume[0], stored.chunks[1]):
                slab = slice(start, min(start + stored.chunks[1], volume[0]))
                full = unit_norm(interpolated(maps, [planes[slab], rows, columns]))
                stored[:, slab] = full.cpu().numpy()
                advance(slab.stop - slab.start)
