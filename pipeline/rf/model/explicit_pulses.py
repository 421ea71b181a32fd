"""RF phase histories forward and back: by back-projection, or planar scans by range migration."""

import dataclasses
from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine import canary
from pipeline.engine.accumulation import Share
from pipeline.engine.job import BlockJob, Shard
from pipeline.engine.stream import Arrays
from pipeline.errors import DataError
from pipeline.operators.base import LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.operators.inner import inner_product
from pipeline.pieces import pieces
from pipeline.rf.geometry.antenna_pattern import AntennaPattern, seen_squares
from pipeline.rf.geometry.phase_history import SubAperture, whole_aperture
from pipeline.rf.geometry.planar_scan import RangeMigration
from pipeline.rf.geometry.wavefronts import unit_phasor
from pipeline.rf.model.back_projection import BackProjection
from pipeline.rf.model.back_projection_costs import CHECKED_TOGETHER
from pipeline.rf.model.omega_k import OmegaK
from pipeline.rf.model.referred_pulses import ReferredPulses
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration

_CHECKED_PULSES, _CHECKED_VOXELS = 8, 2**16
"""Pulses and voxels that the canary sums exactly, of those that it measures."""
_OPERATORS = 64
"""Of tiles that stay: they hold next to nothing."""
_VOXELS_AT_ONCE = 2**16


class ExplicitPulsesMeasurement:
    """A phase history as normal equations of one frame at a time, with density weights if any.

    A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, calibration: Calibration) -> None:
        self.job, self.raw, self.shape = job, raw, raw.shape
        self.pulses = ReferredPulses(job, raw, calibration)
        self._whole = lru_cache(maxsize=1)(self._read_whole)
        self._migrated = lru_cache(maxsize=1)(self._migrate)
        self._projections = lru_cache(maxsize=_OPERATORS)(self._projection)
        self._checked = False
        job.receipt.record(
            samples=raw.pulses * len(raw.frequencies), pulses=raw.pulses, model=job.row.model
        )

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return the share of some pulses in the normal equations of one frame."""
        (frame,) = images
        job = self.job
        b = torch.zeros(1, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, dtype=torch.float64, device=job.device)
        diagonal = torch.zeros(1, dtype=torch.float64, device=job.device)
        tiles = list(self._tiles(frame, shard.readouts))
        order = iter(tiles)
        for arrays in job.stream(partial(self.pulses.read, frame, tile) for tile in tiles):
            tile = next(order)
            operator = self._operator(frame, tile)
            samples, weights = arrays[0], arrays[1] if len(arrays) > 1 else None
            del arrays
            with job.phase("right_hand_side"):
                weighted = samples if weights is None else samples * weights
                energy += inner_product(samples, weighted, image_axes=2).real
                diagonal += self._seen(tile, weights)
                b[0] += operator.adjoint(weighted)
            del samples, weights, weighted
        return Share(b, energy, diagonal, {})

    def _seen(self, tile: SubAperture, weights: Tensor | None) -> float:
        """Return the sum of the weights, of a pattern times how much the origin is seen."""
        squares = seen_squares(self.raw.pattern, tile.paths[tile.pulses], tile.scene.centre)
        if weights is None:
            return float(squares.sum()) * len(tile.k[tile.band])
        return float(squares @ weights.double().sum(1).cpu().numpy())

    def normal(self, frame: int, image: Tensor) -> Tensor:
        """Apply ``A^H W A`` of all pulses to ``(..., *shape)``."""
        total = torch.zeros_like(image)
        tiles = list(self._tiles(frame, self.job.shard().readouts))
        for tile, weights in zip(tiles, self._weights(frame, tiles), strict=True):
            operator = self._operator(frame, tile)
            # Not in place, so that a network may take gradients through it.
            measured = operator(image)
            total = total + operator.adjoint(measured if weights is None else measured * weights)
        return total

    def _weights(self, frame: int, tiles: list[SubAperture]) -> Iterator[Tensor | None]:
        if not self.pulses.weighted:
            yield from (None for _ in tiles)
            return

        def read(tile: SubAperture) -> Arrays:
            return (self.pulses.density(frame, tile),)

        for (weights,) in self.job.stream(partial(read, tile) for tile in tiles):
            yield weights
            del weights

    def _read_whole(self, frame: int) -> SubAperture:
        return whole_aperture(self.raw.scene, self.raw.paths(frame), self.raw.frequencies)

    def _tiles(self, frame: int, pulses: range) -> Iterator[SubAperture]:
        """Cut a range of pulses into tiles."""
        size = self.job.tiles.readouts
        for first in range(pulses.start, pulses.stop, size):
            some = slice(first, min(first + size, pulses.stop))
            yield dataclasses.replace(self._whole(frame), pulses=some)

    def _operator(self, frame: int, tile: SubAperture) -> LinearOperator:
        if self.job.row.model == "omega-k":
            return self._migrated(frame if self.raw.own_paths else 0)[tile.pulses]
        if not self._checked:
            self._check(tile)
        return self._projections(frame, tile.pulses.start, tile.pulses.stop)

    def _projection(self, frame: int, start: int, stop: int) -> BackProjection:
        return self._back_projection(
            dataclasses.replace(self._whole(frame), pulses=slice(start, stop))
        )

    def _back_projection(self, tile: SubAperture) -> BackProjection:
        job = self.job
        return BackProjection(
            tile.scene,
            tile.paths[tile.pulses],
            tile.k[tile.band],
            tolerance=job.tolerance,
            path_loss=self.raw.path_loss,
            pattern=self.raw.pattern,
            dtype=job.complex,
            device=job.device,
            threads=job.receipt.content["threads"],
        )

    def _migrate(self, frame: int) -> OmegaK:
        job, whole = self.job, self._whole(frame)
        migration = RangeMigration.of(whole.scene, whole.paths)
        if migration is None:
            raise DataError(
                f"{job.who}: the positions of frame {frame} are no planar scan, as those of the "
                "first are; set `model: exact`"
            )
        transforms = job.transforms(self.shape)

        def transform(trajectory: Tensor) -> FourierTransform:
            if not self._checked:
                job.check_arithmetic(transforms, trajectory)
                self._checked = True
            return transforms.nufft(trajectory)

        return OmegaK(
            migration,
            whole.paths,
            whole.k,
            transform=transform,
            held=job.row.resident,
            dtype=job.complex,
            device=job.device,
        )

    def _check(self, tile: SubAperture) -> None:
        """Compare some pulses with exact sums, and record what was found."""
        self._checked = True
        start, stop = (
            tile.pulses.start,
            min(tile.pulses.start + CHECKED_TOGETHER, tile.pulses.stop),
        )
        part = dataclasses.replace(tile, pulses=slice(start, stop))
        step = -(-(stop - start) // _CHECKED_PULSES)
        some = dataclasses.replace(tile, pulses=slice(start, stop, step))

        def exact(image: Tensor) -> tuple[Tensor, Tensor]:
            raw, values = self.raw, image.cpu().numpy()
            sums = exact_sums(some, values, path_loss=raw.path_loss, pattern=raw.pattern)
            where = np.arange(len(sums)) * step * len(part.k)  # the lowest frequency of each
            return torch.from_numpy(where).to(image.device), torch.from_numpy(sums).to(image.device)

        with self.job.phase("prepare"):
            operator = self._back_projection(part)
            # Lines are not sampled as finely as any tolerance asks for; the plan says so.
            tolerance = max(self.job.tolerance, operator.sampling.error)
            found = canary.check_exact(
                operator,
                exact,
                backend="back-projection",
                tolerance=tolerance,
                who=self.job.who,
                voxels=_CHECKED_VOXELS,
            )
        self.job.receipt.record(
            backend=found.backend,
            canary={"adjoint_error": found.adjoint_error, "forward_error": found.forward_error},
        )


def exact_sums(
    part: SubAperture,
    image: NDArray[np.complexfloating],
    *,
    path_loss: bool = False,
    pattern: AntennaPattern | None = None,
) -> NDArray[np.complex128]:
    """Return what pulses measure at their lowest frequency, relative to the origin, ``[pulse]``."""
    scene, paths = part.scene, part.paths[part.pulses]
    origin = paths.path_differences(scene.centre)
    sums = np.zeros(len(paths), np.complex128)
    lowest = part.wavenumbers()[:, :1]
    flat = image.reshape(-1)
    seen = np.flatnonzero(flat)
    for some in pieces(len(seen), _VOXELS_AT_ONCE):
        voxels = seen[some]
        places = scene.positions(voxels)
        phasors = unit_phasor(lowest * (paths.path_differences(places) - origin[:, None]))
        if path_loss:
            phasors *= paths.ranges(scene.centre[None]) / paths.ranges(places)
        if pattern is not None:
            phasors *= pattern.both_ways(paths, places, scene.centre)
        sums += phasors @ flat[voxels]
    return sums
