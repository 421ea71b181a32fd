"""What solving for RF scenes takes besides their measurement: normal operator, noise, fusion."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.engine.accumulation import Share
from pipeline.engine.block import Equations
from pipeline.engine.job import BlockJob
from pipeline.operators.base import Diagonal
from pipeline.operators.terms import TermsNormal
from pipeline.rf.model.explicit_pulses import ExplicitPulsesMeasurement
from pipeline.rf.model.pair_blocks import PairBlocks
from pipeline.rf.model.pair_tiles import FactorsNormal
from pipeline.rf.model.pairs import ALL_PAIRS, PairsMeasurement
from pipeline.rf.model.pulses import PhaseHistoryMeasurement, aperture_name
from pipeline.rf.model.referred_pulses import ReferredPulses
from pipeline.rf.model.voxel_phases import aperture_phase
from pipeline.rf.raw import RfRawData
from pipeline.solvers.fusion import non_coherent, phase_aligned
from pipeline.solvers.kronecker_solver import kronecker_solver
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import Gram, NormalEquations
from pipeline.solvers.solution import Solution

if TYPE_CHECKING:
    from pipeline.solvers.admm import ExactSolver


def equations_of(
    data: PairsMeasurement | PhaseHistoryMeasurement | ExplicitPulsesMeasurement,
) -> Equations:
    """Return the normal equations of a measurement."""
    if isinstance(data, PairsMeasurement):
        return PairsEquations(data)
    if isinstance(data, ExplicitPulsesMeasurement):
        return ExplicitPulsesEquations(data)
    return PhaseHistoryEquations(data)


class PairsEquations:
    """The normal equations of pairs of antenna arrays, one frame at a time."""

    stacked = False

    def __init__(self, data: PairsMeasurement) -> None:
        self.data = data

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator, whose kernels are in ``share``.

        It maps ``(1, *shape)`` to the same, or where pairs are not coherent ``(1, pair, *shape)``.
        """
        data, job = self.data, self.data.job
        pairs, transforms = range(data.raw.pairs), job.transforms(data.shape)
        if data.form == "factors":
            kept = "resident" if data.stream.resident else "streamed"
            how = "exact paths" if data.models.level == "exact" else "factors"
            job.receipt.record(normal=f"{how}, {kept}, of {len(pairs)} pairs")
            weights = [
                job.on_device(np.abs(data.models.weights(pair)) ** 2, job.real) for pair in pairs
            ]
            return FactorsNormal(data.stream, job.shard(), weights, coherent=data.coherent)
        count = len(share.kernels)
        job.receipt.record(
            normal=f"toeplitz, {count} kernel{'s' * (count > 1)} for {len(pairs)} pairs"
        )
        if data.form == "collapsed":
            return transforms.toeplitz(share.kernels[ALL_PAIRS][0])
        spectra = torch.cat([share.kernels[name] for name in sorted(share.kernels)])
        toeplitz = transforms.toeplitz(spectra)
        if not data.models.phased:
            return toeplitz
        phases = torch.cat([data.models.voxel_phases(pair) for pair in pairs])
        if data.coherent:
            return TermsNormal(phases, toeplitz)
        return Diagonal(phases.conj()) @ toeplitz @ Diagonal(phases)

    def exact_solver(self) -> "ExactSolver | None":
        """Return what solves ``(G + rho) x = r`` of a single pair at a single frequency.

        Whatever form the normal operator has: it is one Kronecker block, between voxel phases.
        """
        data = self.data
        if data.raw.pairs * len(data.raw.frequencies) > 1:
            return None
        ((_, blocks),) = data.stream.operators(data.stream.tiles(data.job.shard()))
        if not isinstance(blocks, PairBlocks):  # along exact paths
            return None
        weight = float(np.sum(np.abs(data.models.weights(0)) ** 2))
        inverse = kronecker_solver([one[0] for one in blocks.kronecker.factors], weight=weight)
        phase = blocks.phase
        if phase is None:
            return inverse
        return lambda right, rho: phase.conj() * inverse(phase * right, rho)

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of one frame; `None` where the data do not state it."""
        data, job = self.data, self.data.job
        deviations = data.raw.noise_std()
        if deviations is None:
            return None
        elements = np.array(data.rows)
        gains = [np.sum(np.abs(data.models.weights(pair)) ** 2) for pair in range(data.raw.pairs)]
        return Noise.of_channels(
            deviations,
            np.array(gains) * np.array(data.seen),
            elements * len(data.raw.frequencies),
            job.device,
            together=data.coherent,
        )

    def left_by_noise(self, images: range, share: Share) -> Tensor | None:
        """Return the misfit of the noise; `None` where the data do not state it."""
        noise = self.noise(images, share)
        return None if noise is None else noise.misfit

    def spectrum(self, images: range, share: Share) -> None:
        """Return none: voxels are what scenes consist of, not spatial frequencies."""

    def image(self, share: Share) -> Tensor:
        """Return the matched filter's image, ``(1, *shape)``; see `pipeline.solvers.fusion`."""
        data, job = self.data, self.data.job
        axes = len(data.shape)
        if data.coherent:
            return share.b / float(share.diagonal)
        scale = share.diagonal.to(job.real)
        if job.settings.fusion == "non-coherent":
            return non_coherent(share.b / scale.view(*scale.shape, *(1,) * axes), axes)

        def matched_filter(together: NormalEquations) -> Solution:
            nothing = torch.zeros(0, 1, dtype=torch.float64)
            image = together.b / float(share.diagonal.sum())
            return Solution(image, torch.ones(1, dtype=torch.int64), nothing)

        equations = NormalEquations(share.b, lambda image: image, share.energy)
        return phase_aligned(equations, matched_filter, image_axes=axes).solution.image


class _PulseEquations:
    """What all normal equations of a phase history share, one frame at a time."""

    stacked = False

    def __init__(self, job: BlockJob, raw: RfRawData, pulses: ReferredPulses) -> None:
        self._job, self._raw, self._pulses = job, raw, pulses

    def exact_solver(self) -> None:
        """Return none: pulses lie anywhere."""

    def noise(self, images: range, share: Share) -> Noise | None:
        """Return the noise of one frame; `None` where the data do not state it."""
        deviation = self._raw.noise_std()
        if deviation is None:
            return None
        (frame,) = images
        weights, squares = self._pulses.moments(frame)
        return Noise.of_channels(
            deviation[:1],
            np.array([squares]),
            np.array([weights]),
            self._job.device,
            together=True,
        )

    def left_by_noise(self, images: range, share: Share) -> Tensor | None:
        """Return the misfit of the noise; `None` where the data do not state it."""
        noise = self.noise(images, share)
        return None if noise is None else noise.misfit

    def spectrum(self, images: range, share: Share) -> None:
        """Return none: voxels are what scenes consist of, not spatial frequencies."""

    def image(self, share: Share) -> Tensor:
        """Return the matched filter's image, ``(1, *shape)``."""
        return share.b / float(share.diagonal)


class PhaseHistoryEquations(_PulseEquations):
    """The normal equations of a phase history by sub-apertures."""

    def __init__(self, data: PhaseHistoryMeasurement) -> None:
        super().__init__(data.job, data.raw, data.pulses)
        self.data = data

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of one frame, whose kernels are in ``share``."""
        data, job = self.data, self.data.job
        (frame,) = images
        apertures = data.apertures(frame)
        job.receipt.record(normal=f"toeplitz, {len(apertures)} kernels")
        spectra = torch.cat(
            [share.kernels[aperture_name(index)] for index in range(len(apertures))]
        )
        phases = torch.stack(
            [aperture_phase(each, dtype=job.complex, device=job.device) for each in apertures]
        )
        return TermsNormal(phases, data.transforms.toeplitz(spectra))


class ExplicitPulsesEquations(_PulseEquations):
    """The normal equations of a phase history forward and back."""

    def __init__(self, data: ExplicitPulsesMeasurement) -> None:
        super().__init__(data.job, data.raw, data.pulses)
        self.data = data

    def gram(self, images: range, share: Share) -> Gram:
        """Return the normal operator of one frame, forward and back."""
        (frame,) = images
        job = self.data.job
        how = "range migration" if job.row.model == "omega-k" else "back-projection"
        job.receipt.record(normal=f"explicit, by {how}")
        return partial(self.data.normal, frame)
