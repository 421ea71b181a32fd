"""Blocks of RF phase histories: pulses, sub-apertures, matched filter and regularised images.

A sub-aperture measures ``diag(weights) NUFFT diag(voxel_phase)``, so its share of the normal
equations is ``D^H T D`` with a Toeplitz operator ``T``: the number of pulses and frequencies never
reaches the solver. Sub-apertures only meet in a sum.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import DataError
from pipeline.geometry.phase_history import SubAperture, sub_apertures
from pipeline.operators.toeplitz import Toeplitz, padded_shape
from pipeline.operators.voxel_phase import VoxelPhaseSum
from pipeline.reconstruction.job import BlockJob
from pipeline.reconstruction.radar import solve
from pipeline.solvers.inner import inner_product
from pipeline.solvers.normal import NormalEquations
from pipeline.storage.rf_raw import RfRawData


class PhaseHistoryBlock:
    """One block of an RF phase history.

    Parameters
    ----------
    job
        The job.
    raw
        The acquisition.
    """

    def __init__(self, job: BlockJob, raw: RfRawData) -> None:
        self.job = job
        self.settings = job.settings
        self.raw = raw
        self.shape = raw.shape
        self.transforms = job.transforms(self.shape)
        self.samples = raw.pulses * len(raw.frequencies)

    def run(self) -> NDArray[np.complexfloating]:
        """Return the block's images, complex64 or complex128 ``[image, z, y, x]``.

        A scatterer of amplitude 1 in the middle of a voxel has the value 1 in the matched filter.
        """
        self.job.receipt.record(samples=self.samples, pulses=self.raw.pulses)
        return self.job.collect_frames(self.shape, self._image)

    def _image(self, frame: int) -> tuple[Tensor, list[float]]:
        """Return the image of one frame, ``shape``, and its residuals."""
        job, settings = self.job, self.settings
        with job.phase("prepare"):
            apertures = sub_apertures(
                self.raw.scene,
                self.raw.paths(frame),
                self.raw.frequencies,
                tolerance=settings.curvature_error,
            )
        job.receipt.record(sub_apertures=len(apertures))
        iterative = settings.algorithm != "matched-filter"
        b = torch.zeros(1, *self.shape, dtype=job.complex, device=job.device)
        energy = torch.zeros(1, dtype=torch.float64, device=job.device)
        kept = len(apertures) if iterative else 0
        phases = b.new_empty(kept, *self.shape)
        spectra = b.real.new_empty(kept, *padded_shape(self.shape))
        for index, aperture in enumerate(apertures):
            with job.phase("prepare"):
                trajectory = job.on_device(aperture.trajectory(), job.real)
                trajectory = trajectory.reshape(-1, len(self.shape)).T.contiguous()
                voxel_phase = job.on_device(aperture.voxel_phase(), job.complex)
            if index == 0 and frame == job.row.first_image:
                job.check_arithmetic(self.transforms, trajectory)
            samples = self._samples(frame, aperture)
            with job.phase("right_hand_side"):
                energy += inner_product(samples, samples, image_axes=1)
                gridded = self.transforms.nufft(trajectory).adjoint(samples)
                b[0].addcmul_(gridded, voxel_phase.conj())
            del samples, gridded
            if iterative:
                with job.phase("kernel"):
                    phases[index] = voxel_phase
                    spectra[index] = self.transforms.spectrum(trajectory)
        if not iterative:
            return b[0] / self.samples, []
        gram = VoxelPhaseSum(phases, Toeplitz(spectra, self.shape, threads=self.transforms.threads))
        job.receipt.record(normal=f"toeplitz, {kept} kernels")
        return solve(job, NormalEquations(b, gram, energy), self.samples)

    def _samples(self, frame: int, aperture: SubAperture) -> Tensor:
        """Return a sub-aperture's samples ``(sample,)``, their phases referred to the origin."""
        with self.job.phase("read"):
            stored = self.raw.pulse_measurements(frame, aperture.pulses, aperture.band)
            self.job.receipt.count_bytes("read", stored.nbytes)
            referred = np.conj(aperture.weights()) * stored
        if not np.isfinite(referred.view(np.float64)).all():
            raise DataError(f"{self.job.who}: pulses {aperture.pulses} are not finite")
        return self.job.on_device(referred, self.job.complex).reshape(-1)
