"""RF phase histories: pulses, sub-apertures and their voxel phases.

A sub-aperture measures ``diag(weights) NUFFT diag(voxel_phase)``, so its share of the normal
equations is ``D^H T D`` with a Toeplitz operator ``T``: the number of pulses and frequencies never
reaches the solver. Sub-apertures only meet in a sum, and so do the pulses of each.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.job import BlockJob, Shard
from pipeline.engine.stream import Arrays
from pipeline.operators.inner import inner_product
from pipeline.rf.geometry.phase_history import SubAperture, sub_apertures
from pipeline.rf.model.referred_pulses import ReferredPulses
from pipeline.rf.model.voxel_phases import aperture_phase
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration


class PhaseHistoryMeasurement:
    """A phase history as normal equations of one frame at a time, with density weights if any.

    A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, calibration: Calibration) -> None:
        self.job = job
        self.settings = job.settings
        self.raw = raw
        self.pulses = ReferredPulses(job, raw, calibration)
        self.shape = raw.shape
        self.transforms = job.transforms(self.shape)
        self._solves = job.settings.solves
        if self._solves:
            self.transforms.require_kernels(job.device)
        self._checked = False
        job.receipt.record(
            samples=raw.pulses * len(raw.frequencies), pulses=raw.pulses, model="W+D(fc)"
        )

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return the share of some pulses in the normal equations of one frame.

        A shard may end inside a sub-aperture: it then adds to the same kernel as the next one.
        """
        (frame,) = images
        job = self.job
        apertures = self.apertures(frame)
        tiles = list(self._tiles(apertures, shard.readouts))
        b = torch.zeros(1, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, dtype=torch.float64, device=job.device)
        diagonal = torch.zeros(1, dtype=torch.float64, device=job.device)
        kernels: dict[str, Tensor] = {}
        held: tuple[int, Tensor] | None = None
        order = iter(tiles)
        for arrays in job.stream(partial(self._read, frame, tile) for _, tile in tiles):
            index, _ = next(order)
            samples, trajectory, *rest = arrays
            weights = rest[0] if rest else None
            del arrays, rest
            if held is None or held[0] != index:
                with job.phase("prepare"):
                    aperture = apertures[index]
                    phase = aperture_phase(aperture, dtype=job.complex, device=job.device)
                    held = index, phase
            if not self._checked:
                job.check_arithmetic(self.transforms, trajectory)
                self._checked = True
            with job.phase("right_hand_side"):
                weighted = samples if weights is None else samples * weights
                energy += inner_product(samples, weighted, image_axes=1).real
                diagonal += len(samples) if weights is None else float(weights.double().sum())
                gridded = self.transforms.nufft(trajectory).adjoint(weighted)
                b[0].addcmul_(gridded, held[1].conj())
            del samples, weighted, gridded
            if self._solves:
                with job.phase("kernel"):
                    spectrum = self.transforms.spectrum(trajectory, weights)[None]
                    known = kernels.get(aperture_name(index))
                    kernels[aperture_name(index)] = (
                        spectrum if known is None else known.add_(spectrum)
                    )
                    del spectrum
            del trajectory, weights
        return Share(b, energy, diagonal, kernels)

    def apertures(self, frame: int) -> list[SubAperture]:
        """Return the sub-apertures of a frame."""
        with self.job.phase("prepare"):
            apertures = sub_apertures(
                self.raw.scene,
                self.raw.paths(frame),
                self.raw.frequencies,
                tolerance=self.settings.model_error,
            )
        self.job.receipt.record(sub_apertures=len(apertures))
        return apertures

    def _tiles(
        self, apertures: list[SubAperture], pulses: range
    ) -> Iterator[tuple[int, SubAperture]]:
        """Cut the sub-apertures into tiles of some of these pulses; yield each with its index."""
        size = self.job.tiles.readouts
        for index, aperture in enumerate(apertures):
            stop = min(aperture.pulses.stop, pulses.stop)
            for first in range(max(aperture.pulses.start, pulses.start), stop, size):
                some = slice(first, min(first + size, stop))
                yield index, dataclasses.replace(aperture, pulses=some)

    def _read(self, frame: int, tile: SubAperture) -> Arrays:
        """Return samples, their phases referred to the origin, positions and density weights.

        Complex ``(sample,)``, real ``(axis, sample)`` and, where there are some, ``(sample,)``.
        """
        samples, *density = self.pulses.read(frame, tile)
        positions = tile.trajectory().reshape(samples.size, -1).T
        trajectory = positions.astype(self.pulses.real, order="C")
        return samples.reshape(-1), trajectory, *(each.reshape(-1) for each in density)


def aperture_name(index: int) -> str:
    """Return the name of the kernel of a sub-aperture."""
    return f"aperture-{index:05d}"
