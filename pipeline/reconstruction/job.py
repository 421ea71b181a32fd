"""What all reconstruct jobs share: settings, device, timing, and the loop over their images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import canary
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.planning.table import PlanRow
from pipeline.progress import track
from pipeline.reconstruction.equations import Transforms
from pipeline.solvers.cg import Solution
from pipeline.storage.receipts import Receipt

_COMPLEX = {"single": torch.complex64, "double": torch.complex128}

Histories = list[list[float]]
"""For each image, the relative residual after each iteration."""


class BlockJob:
    """One block of images on one device.

    Attributes
    ----------
    settings : ReconstructionSettings
        How to reconstruct.
    row : PlanRow
        The block.
    receipt : Receipt
        Of this job.
    device : str
        Torch's name of the device.
    complex, real : torch.dtype
        Precision of the job.
    who : str
        Dataset and block; begins the message of an error.
    """

    def __init__(
        self, settings: ReconstructSettings, dataset: str, row: PlanRow, receipt: Receipt
    ) -> None:
        self.settings = settings.reconstruction
        self.row = row
        self.receipt = receipt
        self.device: str = receipt.content["device"]
        self.complex = _COMPLEX[settings.precision]
        self.real = self.complex.to_real()
        self.who = f"{dataset} block {row.block}"
        self._nufft = settings.nufft
        self._deterministic = settings.deterministic

    def transforms(self, shape: tuple[int, ...]) -> Transforms:
        """Return how non-uniform transforms of images of ``shape`` are computed."""
        return Transforms(
            shape=shape,
            settings=self._nufft,
            dtype=self.complex,
            threads=self.receipt.content["threads"],
            deterministic=self._deterministic,
        )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase until the device has finished it, not until it was asked to begin."""
        with self.receipt.phase(name):
            yield
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)

    def check_arithmetic(self, transforms: Transforms, trajectory: Tensor) -> None:
        """Sing to the canary, and record what it said."""
        with self.phase("prepare"):
            found = canary.check_operator(
                transforms.nufft, trajectory, self._nufft.tolerance, self.who
            )
        self.receipt.record(
            backend=found.backend,
            canary={"adjoint_error": found.adjoint_error, "forward_error": found.forward_error},
        )

    def on_device(self, values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        """Return an array as a tensor of ``dtype`` on the job's device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, dtype)

    def collect_frames(
        self, shape: tuple[int, ...], reconstruct: Callable[[int], tuple[Tensor, list[float]]]
    ) -> NDArray[np.complexfloating]:
        """Do as `collect` does, where ``reconstruct`` returns one frame's image and residuals."""

        def batch(frames: range) -> tuple[Tensor, Histories]:
            results = [reconstruct(frame) for frame in frames]
            return torch.stack([image for image, _ in results]), [found for _, found in results]

        return self.collect(shape, batch)

    def collect(
        self,
        shape: tuple[int, ...],
        reconstruct: Callable[[range], tuple[Tensor, Histories]],
    ) -> NDArray[np.complexfloating]:
        """Reconstruct the block's images, a batch at a time.

        Parameters
        ----------
        shape
            Image matrix.
        reconstruct
            Returns the images ``(image, *shape)`` of a range, and their residuals.

        Returns
        -------
        ndarray
            complex64 or complex128 ``[image, z, y, x]``.

        Raises
        ------
        DataError
            If an image has values that are not finite.
        """
        row = self.row
        first, last = row.first_image, row.first_image + row.images
        images = np.empty(
            (row.images, *shape),
            dtype=np.complex64 if self.complex == torch.complex64 else np.complex128,
        )
        residuals: Histories = []
        with track(f"{self.who}: images", row.images) as advance:
            for start in range(first, last, row.image_batch):
                batch = range(start, min(start + row.image_batch, last))
                found, histories = reconstruct(batch)
                images[batch.start - first : batch.stop - first] = found.cpu().numpy()
                residuals += histories
                advance(len(batch), f"residual {histories[-1][-1]:.1e}" if histories[-1] else "")
        if not np.isfinite(images.view(images.real.dtype)).all():
            raise DataError(
                f"{self.who}: the image has values that are not finite; check maps and weights"
            )
        self.receipt.record(
            first_image=first,
            images=row.images,
            shape=list(shape),
            algorithm=self.settings.algorithm,
            regularization=self.settings.regularization,
            iterations=max((len(history) for history in residuals), default=0),
            residuals=residuals,
            predicted_host_bytes=row.host_mb * 10**6,
            predicted_device_bytes=row.device_mb * 10**6,
            limit_host_bytes=row.limit_host_mb * 10**6,
            limit_device_bytes=row.limit_device_mb * 10**6,
        )
        return images.reshape(row.images, *as_volume(shape))


def histories_of(solution: Solution) -> Histories:
    """Return the residuals of each image after each of its own iterations."""
    return [
        residuals[1 : 1 + int(count)].tolist()
        for residuals, count in zip(solution.residuals.T, solution.iterations, strict=True)
    ]
