"""RF data from pairs of antenna arrays: right-hand side by factors, normal operator in three forms.

The measurement streams pair by pair through Kronecker factors. The normal operator needs them no
more where they are plane waves on a uniform grid: all pairs and frequencies then collapse to one
Toeplitz kernel, or, with a voxel phase or an image for each pair, to one kernel a pair. Otherwise
it goes forward and back through the factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.job import BlockJob
from pipeline.engine.share import Shard, Share
from pipeline.operators.diagonal import Diagonal
from pipeline.operators.inner import inner_product
from pipeline.operators.terms import TermsNormal
from pipeline.rf.geometry.pair_model import PairLevel
from pipeline.rf.model.instruments import CorrectedPairs
from pipeline.rf.model.pair_models import PairModels
from pipeline.rf.model.pair_tiles import FactorsNormal, PairStream
from pipeline.rf.raw import RfRawData
from pipeline.solvers.fusion import non_coherent, phase_aligned
from pipeline.solvers.kronecker_solver import kronecker_solver
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.solvers.solution import Solution
from pipeline.storage.calibration import Calibration

if TYPE_CHECKING:
    from pipeline.solvers.admm import ExactSolver

_ALL_PAIRS = "pairs"


class PairsMeasurement:
    """Measurements by pairs of antenna arrays, as normal equations of one frame at a time.

    A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.
    Where pairs are not coherent, each has normal equations of its own: ``b`` of a share is then
    ``(1, pair, *shape)``, zero for pairs outside the shard, and so are energy and diagonal
    ``(1, pair)``.

    Parameters
    ----------
    job
        The job, whose row says how wavefronts are approximated, how the normal operator runs, and
        whether factors stay.
    raw, calibration
        The acquisition, and what its instruments add.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, calibration: Calibration) -> None:
        self.job = job
        self.raw = raw
        self.shape = raw.shape
        self.coherent = job.settings.fusion == "coherent"
        level: PairLevel = job.row.model  # type: ignore[assignment]
        self.models = PairModels(job, raw, level)
        measured = CorrectedPairs(raw, calibration)
        self.stream = PairStream(job, self.models, measured, resident=job.row.resident)
        self._form = job.row.normal
        self._makes_kernels = job.settings.solves and self._form != "factors"
        self._known: tuple[Shard, dict[str, Tensor]] | None = None
        self._rows = [int(np.prod(raw.measurement_shape(pair))) for pair in range(raw.pairs)]
        job.receipt.record(samples=len(raw.frequencies) * sum(self._rows), model=level)

    def whole(self) -> Shard:
        """Return the shard that is all of a frame's measurement."""
        return Shard(range(self.raw.pairs), range(len(self.raw.frequencies)))

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
            diagonal[problem] += float(np.sum(np.abs(weights) ** 2)) * self._rows[tile.pair]
        return Share(b, energy, diagonal, self._kernels(shard) if self._makes_kernels else {})

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator, whose kernels are in ``share``.

        It maps ``(1, *shape)`` to the same, or where pairs are not coherent ``(1, pair, *shape)``.
        """
        pairs, transforms = range(self.raw.pairs), self.job.transforms(self.shape)
        if self._form == "factors":
            kept = "resident" if self.stream.resident else "streamed"
            self.job.receipt.record(normal=f"factors, {kept}, of {len(pairs)} pairs")
            weights = [
                self.job.on_device(np.abs(self.models.weights(pair)) ** 2, self.job.real)
                for pair in pairs
            ]
            return FactorsNormal(self.stream, self.whole(), weights, coherent=self.coherent)
        count = len(share.kernels)
        self.job.receipt.record(
            normal=f"toeplitz, {count} kernel{'s' * (count > 1)} for {len(pairs)} pairs"
        )
        if self._form == "collapsed":
            return transforms.toeplitz(share.kernels[_ALL_PAIRS][0])
        spectra = torch.cat([share.kernels[_pair_name(pair)] for pair in pairs])
        toeplitz = transforms.toeplitz(spectra)
        if not self.models.phased:
            return toeplitz
        phases = torch.stack([self.models.voxel_phase(pair) for pair in pairs])
        if self.coherent:
            return TermsNormal(phases, toeplitz)
        return Diagonal(phases.conj()) @ toeplitz @ Diagonal(phases)

    def exact_solver(self) -> ExactSolver | None:
        """Return what solves ``(G + rho) x = r`` of a single pair at a single frequency.

        Whatever form the normal operator has: it is one Kronecker block, between voxel phases.
        """
        if self.raw.pairs * len(self.raw.frequencies) > 1:
            return None
        ((_, blocks),) = self.stream.operators(self.stream.tiles(self.whole()))
        weight = float(np.sum(np.abs(self.models.weights(0)) ** 2))
        inverse = kronecker_solver([one[0] for one in blocks.kronecker.factors], weight=weight)
        phases = blocks.phases
        if phases is None:
            return inverse
        return lambda right, rho: phases.conj() * inverse(phases * right, rho)

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of one frame; `None` where the data do not state it."""
        deviations = self.raw.noise_std()
        if deviations is None:
            return None
        elements = np.array(self._rows)
        gains = [np.sum(np.abs(self.models.weights(pair)) ** 2) for pair in range(self.raw.pairs)]
        return Noise.of_channels(
            deviations,
            np.array(gains) * elements,
            elements * len(self.raw.frequencies),
            self.job.device,
            together=self.coherent,
        )

    def image(self, share: Share) -> Tensor:
        """Return the matched filter's image, ``(1, *shape)``; see `pipeline.solvers.fusion`."""
        axes = len(self.shape)
        if self.coherent:
            return share.b / float(share.diagonal)
        scale = share.diagonal.to(self.job.real)
        if self.job.settings.fusion == "non-coherent":
            return non_coherent(share.b / scale.view(*scale.shape, *(1,) * axes), axes)

        def matched_filter(together: NormalEquations) -> Solution:
            nothing = torch.zeros(0, 1, dtype=torch.float64)
            image = together.b / float(share.diagonal.sum())
            return Solution(image, torch.ones(1, dtype=torch.int64), nothing)

        equations = NormalEquations(share.b, lambda image: image, share.energy)
        return phase_aligned(equations, matched_filter, image_axes=axes).solution.image

    def _kernels(self, shard: Shard) -> dict[str, Tensor]:
        """Return the kernels of a shard, which all frames share."""
        if self._known is None or self._known[0] != shard:
            with self.job.phase("kernel"):
                self._known = shard, dict(self._made_kernels(shard))
        return self._known[1]

    def _made_kernels(self, shard: Shard) -> Iterator[tuple[str, Tensor]]:
        frequencies = slice(shard.readouts.start, shard.readouts.stop)
        if self._form == "pairs":
            for pair in shard.channels:
                yield _pair_name(pair), self.models.spectrum([pair], frequencies)[None]
            return
        total: Tensor | None = None
        for _, equal in groupby(
            sorted(shard.channels, key=self.raw.measurement_shape), self.raw.measurement_shape
        ):
            spectrum = self.models.spectrum(list(equal), frequencies)
            total = spectrum if total is None else total.add_(spectrum)
        if total is not None:
            yield _ALL_PAIRS, total[None]


def _pair_name(pair: int) -> str:
    return f"pair-{pair:05d}"
