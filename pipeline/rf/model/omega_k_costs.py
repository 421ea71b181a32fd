"""What range migration takes, in bytes and seconds. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.rates import LATENCY, Rates, fft_flops
from pipeline.engine.transform_costs import nufft_bytes, transform_seconds
from pipeline.engine.work import STORED_NUMBER, Parts, Work
from pipeline.rf.geometry.planar_scan import RangeMigration, frequency_bands
from pipeline.rf.model.explicit_costs import ExplicitCosts

_MADE_SECONDS = 2.5e-7
"""A sample takes to be made; measured."""


@dataclass(frozen=True)
class OmegaKCosts(ExplicitCosts):
    """Costs of a planar scan by range migration, whose normal operator goes forward and back."""

    readouts: int  # pulses
    samples: int  # frequencies of one pulse
    grid: tuple[int, int]  # of the aperture and what lies beyond
    of_frequency: int  # samples of the transform at the highest frequency
    of_all: int  # and at all
    error: float  # relative, of measurements
    weighted: bool = False  # whether measurements have density weights
    resident: bool = True  # whether transforms stay, or are made anew each time

    @classmethod
    def of(
        cls,
        migration: RangeMigration,
        pulses: int,
        k: NDArray[np.float64],
        *,
        error: float,
        weighted: bool = False,
    ) -> "OmegaKCosts":
        """Return the costs of pulses at wavenumbers ``(freq,)``."""
        grid = migration.grid(k)
        # The count is nearly a parabola, of which Simpson's rule is the integral.
        some = (k[0], (k[0] + k[-1]) / 2, k[-1])
        low, middle, high = (migration.sample_count(one, grid) for one in some)
        total = math.ceil(len(k) * (low + 4 * middle + high) / 6)
        return cls(pulses, len(k), grid, high, total, error, weighted)

    @property
    def most_shards(self) -> int:
        """Shards that a block is worth being cut into: one, as each transforms all."""
        return 1

    @property
    def columns(self) -> dict[str, Any]:
        """Return columns of the plan's row that jobs of this model read."""
        return {"model": "omega-k", "normal": "explicit", "resident": self.resident}

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one pulse in a tile, and the fewest that pay: all."""
        return self.samples * STORED_NUMBER, self.readouts

    def passed(self, work: Work) -> Parts:
        """Return what going forward or back needs."""
        itemsize = work.machine.itemsize
        bands = frequency_bands(self.samples, self.of_frequency)
        size = bands[0].stop
        samples = size * self.of_frequency
        working, kept = nufft_bytes(work, samples)
        made = 2 * (3 * itemsize // 2 + itemsize + 8)  # positions, weights and places, and copies
        others = (kept + samples * (itemsize + 8)) * (self.of_all / samples - 1)
        return {
            "transforms that stay": int(others) if self.resident and len(bands) > 1 else 0,
            "NUFFT": working + samples * made,
            "spectra of the aperture": 3 * size * math.prod(self.grid) * itemsize,
            "images": 2 * work.voxel_bytes,
        }

    def streamed(self) -> "OmegaKCosts":
        """Return the model whose transforms are made anew each time."""
        return replace(self, resident=False)

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        return work.images * (self._setup(rates) + self._one_way(work, rates)), 0.0

    def application(self, work: Work, rates: Rates) -> float:
        """Return the seconds that the normal operator takes for one image in single precision."""
        anew = 0.0 if self.resident else self._setup(rates)
        return anew + 2 * self._one_way(work, rates)

    def _setup(self, rates: Rates) -> float:
        return self.of_all * (_MADE_SECONDS + 1 / rates.sort)

    def _one_way(self, work: Work, rates: Rates) -> float:
        """Return the seconds to go one way, of one image."""
        bands = len(frequency_bands(self.samples, self.of_frequency))
        gridding, transform = transform_seconds(work, float(self.of_all), rates)
        fields = self.samples * fft_flops(math.prod(self.grid)) / rates.fft
        moved = STORED_NUMBER * (6 * self.of_all + 4 * self.samples * math.prod(self.grid))
        return gridding + bands * (transform + LATENCY) + fields + moved / rates.memory
