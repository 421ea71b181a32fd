"""Reconstruct one block of images on one device."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import canary
from pipeline.calibration.coilmaps import resampled_maps
from pipeline.config import ReconstructSettings, image_shape
from pipeline.errors import DataError, DeviceError
from pipeline.geometry.axes import as_volume
from pipeline.geometry.trajectories import resampled
from pipeline.host_memory import return_freed_memory
from pipeline.planning.limits import torch_device
from pipeline.planning.table import PlanRow, read_plan
from pipeline.progress import track
from pipeline.reconstruction import (
    Sampling,
    Transforms,
    coil_tiles,
    normal_operator,
    right_hand_side,
)
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.normal import NormalEquations
from pipeline.storage.blocks import write_block
from pipeline.storage.calibration import Calibration
from pipeline.storage.raw import RawData
from pipeline.storage.receipts import Receipt

_COMPLEX = {"single": torch.complex64, "double": torch.complex128}
_REAL = {"single": torch.float32, "double": torch.float64}
_EDGE = np.pi * (1 + 1e-6)


def reconstruct(
    *,
    settings: ReconstructSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    block: str,
    image: Path,
    receipt: Path,
    device: str,
    threads: int,
) -> None:
    """Reconstruct the images of one block and write them as one file.

    Parameters
    ----------
    settings
        How to reconstruct.
    dataset, reconstruction, block
        Whose block this is.
    raw, calibration, plan
        Markers of the stores, and the plan.
    image, receipt
        Files to write.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads to use.

    Raises
    ------
    DataError
        If the block is not in the plan, or samples are not finite.
    DeviceError
        If the device is absent or runs out of memory.
    CanaryError
        If the checks before the reconstruction fail.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction, "block": block}
    with Receipt(receipt, "reconstruct", **identity) as job:
        row = read_plan(plan).get(block)
        if row is None:
            raise DataError(f"{plan}: no block `{block}`; run `plan` again")
        return_freed_memory()
        torch.set_num_threads(threads)
        job.record(device=torch_device(device), threads=threads)
        work = _BlockWork(
            settings, dataset, RawData.open(raw), Calibration.open(calibration), row, job
        )
        try:
            images = work.run()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceError(
                f"{dataset} block {block}: the device ran out of memory ({error}); predicted were "
                f"{row.device_mb} MB of {row.limit_device_mb} MB. Another process may be using it; "
                "lower memory.device_mb and plan again"
            ) from None
        with job.phase("write"):
            write_block(image, images, {**identity, "first_image": row.first_image})
        job.count_bytes("write", image.stat().st_size)
        if work.device.startswith("cuda"):
            job.record(peak_device_bytes=torch.cuda.max_memory_allocated(work.device))


class _BlockWork:
    """One block, its data and its settings, on one device."""

    def __init__(
        self,
        settings: ReconstructSettings,
        dataset: str,
        raw: RawData,
        calibration: Calibration,
        row: PlanRow,
        job: Receipt,
    ) -> None:
        self.settings = settings.reconstruction
        self.dataset = dataset
        self.raw = raw
        self.calibration = calibration
        self.row = row
        self.job = job
        self.device: str = job.content["device"]
        self.complex = _COMPLEX[settings.precision]
        self.real = _REAL[settings.precision]
        self.shape = image_shape(raw.shape, self.settings)
        self.transforms = Transforms(
            shape=self.shape,
            settings=settings.nufft,
            dtype=self.complex,
            threads=job.content["threads"],
            deterministic=settings.deterministic,
        )
        joined = self.settings.frames_per_image
        self.frames_per_image = raw.frames if joined == "all" else joined
        self.form = "explicit" if self.settings.normal == "explicit" else "toeplitz"

    def run(self) -> NDArray[np.complexfloating]:
        """Return the block's images, complex64 or complex128 ``[image, z, y, x]``."""
        maps = self._maps()
        first, last = self.row.first_image, self.row.first_image + self.row.images
        images = np.empty(
            (self.row.images, *self.shape),
            dtype=np.complex64 if self.complex == torch.complex64 else np.complex128,
        )
        residuals: list[list[float]] = []
        who = f"{self.dataset} block {self.row.block}"
        with track(f"{who}: images", self.row.images) as advance:
            for start in range(first, last, self.row.image_batch):
                stop = min(start + self.row.image_batch, last)
                sampling = self._sampling(range(start, stop))
                if start == first:
                    self._check_arithmetic(sampling, who)
                found, history = self._reconstruct(range(start, stop), sampling, maps, who)
                images[start - first : stop - first] = found.cpu().numpy()
                residuals += history
                advance(stop - start, f"residual {history[-1][-1]:.1e}" if history[-1] else "")
        if not np.isfinite(images.view(images.real.dtype)).all():
            raise DataError(
                f"{who}: the image has values that are not finite; check the coil maps and weights"
            )
        self.job.record(
            first_image=first,
            images=self.row.images,
            shape=list(self.shape),
            coils=self.raw.coils,
            samples=self.raw.readouts * self.raw.samples * self.frames_per_image,
            algorithm=self.settings.algorithm,
            regularization=self.settings.regularization,
            iterations=max((len(history) for history in residuals), default=0),
            residuals=residuals,
            predicted_host_bytes=self.row.host_mb * 10**6,
            predicted_device_bytes=self.row.device_mb * 10**6,
            limit_host_bytes=self.row.limit_host_mb * 10**6,
            limit_device_bytes=self.row.limit_device_mb * 10**6,
        )
        return images.reshape(self.row.images, *as_volume(self.shape))

    def _maps(self) -> Tensor | None:
        """Return the coil maps on the device, ``(coil, *shape)``."""
        with self._phase("prepare"):
            stored = self.calibration.sensitivities()
            if stored is None:
                if self.settings.algorithm == "cg-sense" and self.raw.coils > 1:
                    raise DataError(
                        f"{self.dataset}: cg-sense of {self.raw.coils} coils needs coil maps, and "
                        "calibration.coil_maps is none; set it to auto, source or walsh"
                    )
                return None
            maps = torch.from_numpy(stored).to(self.device, self.complex)
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
        trajectory = torch.zeros(len(per_image), len(self.shape), longest, dtype=self.real)
        weights = torch.zeros(len(per_image), longest, dtype=self.real)
        for index, (positions, counts) in enumerate(per_image):
            # The last image may join fewer frames: what is missing counts nothing.
            trajectory[index, :, : counts.shape[0]] = torch.from_numpy(positions)
            weights[index, : counts.shape[0]] = torch.from_numpy(counts)
        if shared:
            return Sampling(trajectory[0].to(self.device), weights[0].to(self.device))
        return Sampling(trajectory.to(self.device), weights.to(self.device))

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
                        f"{self.dataset}: {self.settings.algorithm} with weights: density needs "
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
            self.job.count_bytes("read", found.nbytes)
        return torch.from_numpy(found).to(self.device, self.complex)

    def _check_arithmetic(self, sampling: Sampling, who: str) -> None:
        with self._phase("prepare"):
            found = canary.check_operator(
                self.transforms.nufft,
                sampling.trajectory,
                self.transforms.settings.tolerance,
                who,
            )
        self.job.record(
            backend=found.backend,
            canary={"adjoint_error": found.adjoint_error, "forward_error": found.forward_error},
        )

    def _reconstruct(
        self, images: range, sampling: Sampling, maps: Tensor | None, who: str
    ) -> tuple[Tensor, list[list[float]]]:
        """Return the images ``(image, *shape)`` and the residuals of each."""
        tiles = list(coil_tiles(self.raw.coils, self.row.coil_batch))
        length = sampling.weights.shape[-1]

        def read(coils: slice) -> Tensor:
            return self._samples(images, coils, length)

        with self._phase("right_hand_side"):
            b, energy = right_hand_side(read, self.transforms, sampling, maps, tiles)
        if self.settings.algorithm == "gridding":
            return b, [[] for _ in images]
        # A CPU's caches, not its memory, decide how many coils are best done together.
        coil_batch = self.row.coil_batch if self.device.startswith("cuda") else None
        with self._phase("kernel"):
            gram = normal_operator(self.form, self.transforms, sampling, maps, coil_batch)
        # The sum of the weights is the diagonal of the normal operator for unit sensitivities.
        diagonal = sampling.weights.sum(-1, dtype=torch.float64).expand(len(images))
        with self._phase("solve"):
            solution = conjugate_gradient(
                NormalEquations(b, gram, energy),
                regularization=self.settings.regularization * diagonal,
                iterations=self.settings.iterations,
                residual=self.settings.residual,
                image_axes=len(self.shape),
            )
        self.job.record(normal=self.form)
        return solution.image, [
            residuals[1 : 1 + int(count)].tolist()
            for residuals, count in zip(solution.residuals.T, solution.iterations, strict=True)
        ]

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time a phase until the device has finished it, not until it was asked to begin."""
        with self.job.phase(name):
            yield
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)
