"""Blocks of MRI: coils, density weights, gridding and CG-SENSE."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.calibration.coilmaps import resampled_maps
from pipeline.config.reconstruction import image_shape
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.geometry.trajectories import resampled
from pipeline.reconstruction.equations import (
    Sampling,
    coil_tiles,
    normal_operator,
    right_hand_side,
)
from pipeline.reconstruction.job import BlockJob, Histories, histories_of
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.normal import NormalEquations
from pipeline.storage.calibration import Calibration
from pipeline.storage.raw import RawData

_EDGE = np.pi * (1 + 1e-6)


class MriBlock:
    """One block of an MRI acquisition.

    Parameters
    ----------
    job
        The job.
    raw, calibration
        The acquisition, its coil maps and its density weights.
    """

    def __init__(self, job: BlockJob, raw: RawData, calibration: Calibration) -> None:
        self.job = job
        self.settings = job.settings
        self.raw = raw
        self.calibration = calibration
        self.shape = image_shape(raw.shape, self.settings)
        self.transforms = job.transforms(self.shape)
        joined = self.settings.frames_per_image
        self.frames_per_image = raw.frames if joined == "all" else joined

    def run(self) -> NDArray[np.complexfloating]:
        """Return the block's images, complex64 or complex128 ``[image, z, y, x]``.

        Raises
        ------
        DataError
            If coil maps or weights that the settings need are missing, or an image is not finite.
        """
        maps = self._maps()
        self.job.receipt.record(
            coils=self.raw.coils,
            samples=self.raw.readouts * self.raw.samples * self.frames_per_image,
        )
        return self.job.collect(self.shape, lambda images: self._reconstruct(images, maps))

    def _maps(self) -> Tensor | None:
        """Return the coil maps on the device, ``(coil, *shape)``."""
        with self.job.phase("prepare"):
            stored = self.calibration.sensitivities()
            if stored is None:
                if self.settings.algorithm == "cg-sense" and self.raw.coils > 1:
                    raise DataError(
                        f"{self.job.who}: cg-sense of {self.raw.coils} coils needs coil maps, and "
                        "calibration.coil_maps is none; set it to auto, source or walsh"
                    )
                return None
            maps = torch.from_numpy(stored).to(self.job.device, self.job.complex)
            maps = resampled_maps(maps, as_volume(self.shape))
            return maps.reshape(self.raw.coils, *self.shape)

    def _frames(self, image: int) -> range:
        start = image * self.frames_per_image
        return range(start, min(start + self.frames_per_image, self.raw.frames))

    def _sampling(self, images: range) -> Sampling:
        """Read where the images were sampled; one trajectory where all images share it."""
        shared = (
            not self.raw.own_trajectory and len({len(self._frames(image)) for image in images}) == 1
        )
        with self.job.phase("read"):
            per_image = [
                self._image_sampling(image) for image in (images[:1] if shared else images)
            ]
        longest = max(weights.shape[0] for _, weights in per_image)
        trajectory = torch.zeros(len(per_image), len(self.shape), longest, dtype=self.job.real)
        weights = torch.zeros(len(per_image), longest, dtype=self.job.real)
        for index, (positions, counts) in enumerate(per_image):
            # The last image may join fewer frames: what is missing counts nothing.
            trajectory[index, :, : counts.shape[0]] = torch.from_numpy(positions)
            weights[index, : counts.shape[0]] = torch.from_numpy(counts)
        if shared:
            return Sampling(trajectory[0].to(self.job.device), weights[0].to(self.job.device))
        return Sampling(trajectory.to(self.job.device), weights.to(self.job.device))

    def _image_sampling(self, image: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return trajectory ``(axis, sample)`` and weights ``(sample,)`` of one image's frames."""
        positions, weights = [], []
        for frame in self._frames(image):
            trajectory = resampled(self.raw.trajectory(frame), self.raw.shape, self.shape)
            trajectory = trajectory.reshape(-1, len(self.shape))
            # On a smaller matrix the outer k-space is not resolved: it counts nothing.
            counts = np.all(np.abs(trajectory) <= _EDGE, axis=-1).astype(np.float64)
            if self.settings.algorithm == "gridding" or self.settings.weights == "density":
                density = self.calibration.weights(frame)
                if density is None:
                    raise DataError(
                        f"{self.job.who}: {self.settings.algorithm} with weights: density needs "
                        "density compensation, and calibration.density is none; set it to auto"
                    )
                counts *= density.reshape(-1)
            positions.append(trajectory.T)
            weights.append(counts)
        # Joined frames share the volume of k-space among them; on another matrix over the same
        # field of view, k in rad/voxel and with it the volume of each sample are others.
        ratio = math.prod(self.raw.shape) / math.prod(self.shape)
        scale = ratio / len(positions)
        return np.concatenate(positions, axis=1), scale * np.concatenate(weights)

    def _samples(self, images: range, coils: slice, length: int) -> Tensor:
        """Read the samples ``(image, coil, sample)`` of some coils onto the device."""
        count = coils.stop - coils.start
        found = np.zeros((len(images), count, length), dtype=np.complex64)
        with self.job.phase("read"):
            for index, image in enumerate(images):
                for coil in range(count):
                    one = slice(coils.start + coil, coils.start + coil + 1)
                    start = 0
                    for frame in self._frames(image):
                        part = self.raw.kspace(frame, one).ravel()
                        found[index, coil, start : start + part.size] = part
                        start += part.size
            self.job.receipt.count_bytes("read", found.nbytes)
        return torch.from_numpy(found).to(self.job.device, self.job.complex)

    def _reconstruct(self, images: range, maps: Tensor | None) -> tuple[Tensor, Histories]:
        """Return the images ``(image, *shape)`` and the residuals of each."""
        job = self.job
        sampling = self._sampling(images)
        if images.start == job.row.first_image:
            job.check_arithmetic(self.transforms, sampling.trajectory)
        tiles = list(coil_tiles(self.raw.coils, job.row.coil_batch))
        length = sampling.weights.shape[-1]

        def read(coils: slice) -> Tensor:
            return self._samples(images, coils, length)

        with job.phase("right_hand_side"):
            b, energy = right_hand_side(read, self.transforms, sampling, maps, tiles)
        if self.settings.algorithm == "gridding":
            return b, [[] for _ in images]
        form = "explicit" if self.settings.normal == "explicit" else "toeplitz"
        # A CPU's caches, not its memory, decide how many coils are best done together.
        coil_batch = job.row.coil_batch if job.device.startswith("cuda") else None
        with job.phase("kernel"):
            gram = normal_operator(form, self.transforms, sampling, maps, coil_batch)
        # The sum of the weights is the diagonal of the normal operator for unit sensitivities.
        diagonal = sampling.weights.sum(-1, dtype=torch.float64).expand(len(images))
        with job.phase("solve"):
            solution = conjugate_gradient(
                NormalEquations(b, gram, energy),
                regularization=self.settings.regularization * diagonal,
                iterations=self.settings.iterations,
                residual=self.settings.residual,
                image_axes=len(self.shape),
            )
        job.receipt.record(normal=form)
        return solution.image, histories_of(solution)
