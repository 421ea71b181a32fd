"""Blocks of RF data from pairs of antenna arrays: Kronecker factors, collapsed normal operator.

The right-hand side streams pair by pair through the factors. The normal operator needs them no
more: plane waves on a uniform grid collapse to one Toeplitz kernel for all pairs and frequencies,
or, with a voxel phase for each pair, to one kernel a pair.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.geometry.pair_model import PairModel, pair_model
from pipeline.operators.kronecker import Kronecker
from pipeline.operators.plane_wave import plane_wave_spectrum
from pipeline.operators.toeplitz import Toeplitz, padded_shape
from pipeline.operators.voxel_phase import VoxelPhaseSum
from pipeline.planning.levels import CollapsingLevel
from pipeline.reconstruction.job import BlockJob
from pipeline.reconstruction.radar import solve
from pipeline.solvers.inner import inner_product
from pipeline.solvers.normal import NormalEquations
from pipeline.storage.rf_raw import RfRawData


class PairsBlock:
    """One block of measurements by pairs of antenna arrays.

    Parameters
    ----------
    job
        The job.
    raw
        The acquisition, with antenna positions.
    level
        How wavefronts are approximated.
    """

    def __init__(self, job: BlockJob, raw: RfRawData, level: CollapsingLevel) -> None:
        self.job = job
        self.raw = raw
        self.level = level
        self.shape = raw.shape

    def run(self) -> NDArray[np.complexfloating]:
        """Return the block's images, complex64 or complex128 ``[image, z, y, x]``.

        A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.
        """
        sizes = [self.raw.measurement_shape(pair) for pair in range(self.raw.pairs)]
        self.job.receipt.record(
            samples=len(self.raw.frequencies) * sum(int(np.prod(size)) for size in sizes),
            pairs=self.raw.pairs,
            model=self.level,
        )
        return self.job.collect_frames(self.shape, self._image)

    def _image(self, frame: int) -> tuple[Tensor, list[float]]:
        """Return the image of one frame, ``shape``, and its residuals."""
        job = self.job
        iterative = job.settings.algorithm != "matched-filter"
        phased = self.level == "W+D(fc)"
        b = torch.zeros(1, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, dtype=torch.float64, device=job.device)
        kernels = (self.raw.pairs if phased else 1) if iterative else 0
        spectra = b.real.new_zeros(kernels, *padded_shape(self.shape))
        phases = b.new_empty(kernels if phased else 0, *self.shape)
        diagonal = 0.0
        for pair in range(self.raw.pairs):
            with job.phase("prepare"):
                model, weights = self._model(pair)
                factors = [job.on_device(factor, job.complex) for factor in model.factors()]
            with job.phase("read"):
                stored = self.raw.measurements(frame, pair)
                job.receipt.count_bytes("read", stored.nbytes)
                samples = job.on_device(stored, job.complex)
            with job.phase("right_hand_side"):
                # One weight a frequency, whatever the axes of a measurement.
                gain = job.on_device(weights, job.complex)
                gain = gain.reshape(-1, *(1,) * (samples.ndim - 1))
                energy += inner_product(samples, samples, image_axes=samples.ndim)
                operator = Kronecker(factors)
                part = operator.adjoint((samples * gain.conj()).reshape(operator.codomain))
                voxel_phase = job.on_device(model.voxel_phase(), job.complex) if phased else None
                b[0] += part if voxel_phase is None else part * voxel_phase.conj()
            diagonal += float(np.sum(np.abs(weights) ** 2)) * stored[0].size
            if iterative:
                with job.phase("kernel"):
                    spectra[pair if phased else 0] += self._spectrum(model, weights)
                    if voxel_phase is not None:
                        phases[pair] = voxel_phase
        if not iterative:
            return b[0] / diagonal, []
        toeplitz = Toeplitz(
            spectra if phased else spectra[0], self.shape, threads=job.receipt.content["threads"]
        )
        job.receipt.record(normal=f"toeplitz, {kernels} kernels for {self.raw.pairs} pairs")
        gram = VoxelPhaseSum(phases, toeplitz) if phased else toeplitz
        return solve(job, NormalEquations(b, gram, energy), diagonal)

    def _model(self, pair: int) -> tuple[PairModel, NDArray[np.complex128]]:
        """Return the model of a pair, and its weight at each frequency."""
        antennas = self.raw.antennas(pair)
        if antennas is None:
            raise ValueError(f"pair {pair} has no antenna positions; plan refuses such data")
        model = pair_model(self.raw.scene, antennas, self.raw.frequencies, self.level)
        weights = self.raw.weights(pair)
        return model, model.weights if weights is None else weights

    def _spectrum(self, model: PairModel, weights: NDArray[np.complex128]) -> Tensor:
        """Return a pair's share of the kernel's spectrum."""
        return plane_wave_spectrum(
            self.shape,
            [self.job.on_device(kappa, torch.float64) for kappa in model.wavenumbers],
            self.job.on_device(np.abs(weights) ** 2, torch.float64),
            dtype=self.job.complex,
            threads=self.job.receipt.content["threads"],
        )
