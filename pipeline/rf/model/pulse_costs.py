"""What the forward model of a phase history takes, in bytes and seconds. Pure."""

import math
from dataclasses import dataclass
from typing import Any

from pipeline.engine.memory import reading_bytes
from pipeline.engine.needs import TILES_AT_ONCE
from pipeline.engine.rates import LATENCY, Rates, toeplitz_flops
from pipeline.engine.transform_costs import (
    convolution_bytes,
    gridding_seconds,
    gridding_tile,
    kernel_bytes,
    nufft_bytes,
    spectrum_bytes,
)
from pipeline.engine.work import ModelCosts, Parts, Work

_VOXEL_PHASE = 80
"""Bytes a voxel while its phase is made: positions, path lengths and phases in double precision."""


@dataclass(frozen=True)
class PulseCosts(ModelCosts):
    """Costs of pulses, the sub-apertures of which each have a voxel phase and a kernel."""

    readouts: int  # pulses
    samples: int  # frequencies of one pulse
    apertures: int  # sub-apertures
    aperture_samples: int  # of the largest sub-aperture

    channels = 1

    def __str__(self) -> str:
        return f"{self.readouts} pulses of {self.samples} frequencies"

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        return {"model": "W+D(fc)", "normal": "toeplitz"}

    @property
    def most_shards(self) -> int:
        """Shards that a block is worth being cut into, at most."""
        return self.apertures

    def kernels(self, work: Work) -> int:
        """Return the kernels of one image batch."""
        return self.apertures

    def tile_samples(self, work: Work) -> int:
        """Return the samples that are in work at one moment."""
        return min(work.readout_batch * self.samples, self.aperture_samples)

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one pulse in a tile, and the fewest pulses that pay."""
        return gridding_tile(work, transforms, rates)

    def accumulate(self, work: Work) -> list[Parts]:
        """Return what each phase needs while the pulses of one sub-aperture are summed."""
        machine = work.machine
        samples = work.tile_samples
        single = spectrum_bytes(work, 1)
        common = {
            "k-space tiles": TILES_AT_ONCE * samples * (16 + machine.itemsize),
            "reading": 0 if machine.on_device else reading_bytes(work),
            "trajectory": samples * len(work.shape) * (16 + machine.itemsize // 2),
            "spectra": work.kernels * single if work.makes_kernels else 0,
            "voxel phases": max(1, work.kernels) * work.voxel_bytes,
            "voxel phase as made": _VOXEL_PHASE * math.prod(work.shape),
        }
        working, _ = nufft_bytes(work, samples)
        gather: Parts = {**common, "gridded": 2 * work.voxel_bytes, "NUFFT": working}
        if not work.makes_kernels:
            return [gather]
        return [gather, {**common, "Toeplitz kernel": kernel_bytes(work, samples) + single}]

    def normal(self, work: Work) -> Parts:
        """Return what the normal operator needs while equations are solved."""
        phases = {"voxel phases": work.kernels * work.voxel_bytes}
        return {**convolution_bytes(work, 1), **phases}

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        return gridding_seconds(
            work, channels=1, tiles=self.apertures, trajectories=work.images, rates=rates
        )

    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""
        return self.apertures * (LATENCY + toeplitz_flops(work.shape) / rates.toeplitz)
