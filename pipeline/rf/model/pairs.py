"""RF data from pairs of antenna arrays: right-hand side by factors, normal operator in three forms.

The measurement streams pair by pair through Kronecker factors. The normal operator needs them no
more where they are plane waves on a uniform grid: all pairs and frequencies then collapse to one
Toeplitz kernel, or, with a voxel phase or an image for each pair or part of one, to a kernel each.
Otherwise it goes forward and back through the factors.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.job import BlockJob, Shard
from pipeline.operators.inner import inner_product
from pipeline.rf.model.instruments import CorrectedPairs
from pipeline.rf.model.pair_models import PairModels
from pipeline.rf.model.pair_tiles import PairStream
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration

ALL_PAIRS = "pairs"
"""Name of the kernel of all pairs together."""


class PairsMeasurement:
    """Measurements by pairs of antenna arrays, as normal equations of one frame at a time.

    A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter. Where
    pairs are not coherent, each has normal equations of its own: ``b`` of a share is then ``(1,
    pair, *shape)``, zero for pairs outside the shard, and so are energy and diagonal ``(1, pair)``.

    The job's row says how wavefronts are approximated, how the normal operator runs, and whether
    factors stay.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, calibration: Calibration) -> None:
        self.job = job
        self.raw = raw
        self.shape = raw.shape
        self.coherent = job.settings.fusion == "coherent"
        self.models = PairModels(job, raw, job.row.model)
        measured = CorrectedPairs(raw, calibration)
        self.stream = PairStream(job, self.models, measured, resident=job.row.resident)
        self.form = job.row.normal
        self._makes_kernels = job.settings.solves and self.form != "factors"
        self._known: tuple[Shard, dict[str, Tensor]] | None = None
        self.rows = [int(np.prod(raw.measurement_shape(pair))) for pair in range(raw.pairs)]
        self.seen = [self.models.seen(pair) for pair in range(raw.pairs)]
        job.receipt.record(samples=len(raw.frequencies) * sum(self.rows), model=job.row.model)

    def accumulate(self, images: range, shard: Shard) -> Share:
        """Return the share of some pairs and frequencies in the normal equations of one frame."""
        (frame,) = images
        job = self.job
        problems = () if self.coherent else (self.raw.pairs,)
        b = torch.zeros(1, *problems, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, *problems, dtype=torch.float64, device=job.device)
        diagonal = torch.zeros(1, *problems, dtype=torch.float64, device=job.device)
        for tile, samples, blocks in self.stream.measured(frame, self.stream.tiles(shard)):
            problem = (0,) if self.coherent else (0, tile.pair)
            weights = self.models.weights(tile.pair, tile.frequencies)
            with job.phase("right_hand_side"):
                energy[problem] += inner_product(samples, samples, image_axes=samples.ndim)
                # One weight a frequency, whatever the axes of a measurement.
                gain = job.on_device(weights.conj(), job.complex)
                samples.mul_(gain.view(-1, *(1,) * (samples.ndim - 1)))
                b[problem] += blocks.adjoint(samples)
            del samples, blocks
            diagonal[problem] += float(np.sum(np.abs(weights) ** 2)) * self.seen[tile.pair]
        return Share(b, energy, diagonal, self._kernels(shard) if self._makes_kernels else {})

    def _kernels(self, shard: Shard) -> dict[str, Tensor]:
        """Return the kernels of a shard, which all frames share."""
        if self._known is None or self._known[0] != shard:
            with self.job.phase("kernel"):
                self._known = shard, dict(self._made_kernels(shard))
        return self._known[1]

    def _made_kernels(self, shard: Shard) -> Iterator[tuple[str, Tensor]]:
        frequencies = slice(shard.readouts.start, shard.readouts.stop)
        if self.form == "pairs":
            for pair in shard.channels:
                for part, spectrum in enumerate(self.models.part_spectra(pair, frequencies)):
                    yield part_name(pair, part), spectrum[None]
            return
        if shard.channels:
            yield ALL_PAIRS, self.models.spectrum(shard.channels, frequencies)[None]


def part_name(pair: int, part: int) -> str:
    """Return the name of the kernel of a part of a pair; names are in their order."""
    return f"pair-{pair:05d}-{part:03d}"
