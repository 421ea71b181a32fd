"""What pairs of antenna arrays take along exact paths."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.engine.rates import Rates
from pipeline.engine.work import Parts, Work
from pipeline.rf.model.back_projection_costs import BackProjectionCosts
from pipeline.rf.model.pair_costs import PairCosts


@dataclass(frozen=True)
class ExactPairCosts(PairCosts):
    """Costs of pairs along exact paths, forward and back."""

    projection: BackProjectionCosts | None = None
    """Of the measurements of one pair, each a pulse."""

    def tile(self, work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
        """Return the bytes of one frequency in a tile, and the fewest that pay: all."""
        return self.samples * 8, self.readouts

    def normal(self, work: Work) -> Parts:
        """Return what one application of the normal operator needs."""
        measured = 3 * work.readout_batch * self.samples * work.machine.itemsize
        return {"measured": measured, "sums": 2 * work.unknown_bytes, **self._factor_tiles(work)}

    def accumulation(self, work: Work, rates: Rates) -> tuple[float, float]:
        """Return the seconds of right-hand side and kernels, of all images in single precision."""
        return work.channels * self._projected.accumulation(work, rates)[0], 0.0

    def product_seconds(self, shape: tuple[int, ...], rates: Rates) -> float:
        """Return the seconds of the normal operator."""
        return self.channels * self._projected.both_ways(shape, rates)

    def _streaming_seconds(self, shape: tuple[int, ...], rates: Rates) -> float:
        return 0.0

    def _resident_bytes(self, work: Work, pairs: int, frequencies: int) -> int:
        """Return the bytes that stay: what relates elements to their centres."""
        if not self.resident:
            return 0
        return pairs * frequencies * self.samples * work.machine.itemsize

    def _factor_tiles(self, work: Work) -> Parts:
        """Return what the operator of a pair needs while it is made and used."""
        elements = work.readout_batch * self.samples * (work.machine.itemsize + 48)
        return {"elements": elements, **self._projected.projected(work, self.samples)}

    @property
    def _projected(self) -> BackProjectionCosts:
        assert self.projection is not None  # only None because fields before have defaults
        return self.projection
