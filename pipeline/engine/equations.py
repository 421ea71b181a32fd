"""From measured samples to normal equations on one device, a tile of the measurement at a time.

What has to be on the device is the unknown, the coil maps and two tiles: the one in work and the
one on its way.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.config.transforms import NufftSettings, TransformChoice
from pipeline.operators.base import LinearOperator
from pipeline.operators.diagonal import Diagonal
from pipeline.operators.inner import inner_product
from pipeline.operators.nufft import NUFFT
from pipeline.operators.toeplitz import Toeplitz, kernel_dtype, toeplitz_spectrum


@dataclass(frozen=True)
class Sampling:
    """Where the images of one batch were sampled, and what each sample counts.

    Attributes
    ----------
    trajectory
        real, ``(axis, sample)`` where all images of the batch share one, else
        ``(image, axis, sample)`` [rad/voxel].
    weights
        real, ``(sample,)`` or ``(image, sample)``.
    """

    trajectory: Tensor
    weights: Tensor

    def roots(self) -> Tensor:
        """Return ``W^(1/2)``, to multiply samples ``(image, coil, sample)``."""
        roots = self.weights.sqrt()
        return roots if roots.ndim == 1 else roots[:, None]


@dataclass(frozen=True)
class Transforms:
    """How non-uniform transforms are computed in this job.

    Attributes
    ----------
    shape
        Image axes.
    settings
        As given.
    dtype
        complex64 or complex128.
    threads
        Threads on the CPU.
    deterministic
        Whether results repeat bit by bit.
    choice
        What the plan chose; comes before the settings.
    """

    shape: tuple[int, ...]
    settings: NufftSettings
    dtype: torch.dtype
    threads: int
    deterministic: bool
    choice: TransformChoice = field(default_factory=TransformChoice)

    def toeplitz(self, spectrum: Tensor) -> Toeplitz:
        """Return the convolution with kernels of these spectra."""
        return Toeplitz(
            spectrum,
            self.shape,
            fft=self.choice.fft,
            piece_bytes=self.choice.piece_bytes,
            threads=self.threads,
        )

    def spectrum(self, trajectory: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the spectrum of the Toeplitz operator of weighted samples on ``trajectory``."""
        return toeplitz_spectrum(
            self.shape,
            trajectory,
            weights,
            backend=self.settings.backend,
            dtype=self.dtype,
            threads=self.threads,
            deterministic=self.deterministic,
        )

    def require_kernels(self, device: str) -> None:
        """Raise `ConfigError` or `DependencyError` if `spectrum` cannot work on a device."""
        kernel_dtype(
            self.shape,
            torch.device(device),
            backend=self.settings.backend,
            dtype=self.dtype,
            deterministic=self.deterministic,
        )

    def nufft(self, trajectory: Tensor, coils: int | None = None) -> NUFFT:
        """Return the transform from the image grid to ``trajectory``."""
        settings, choice = self.settings, self.choice
        return NUFFT(
            self.shape,
            trajectory,
            coils=coils,
            tolerance=choice.tolerance or settings.tolerance,
            backend=settings.backend if choice.backend == "auto" else choice.backend,
            oversampling=choice.oversampling or settings.oversampling,
            kernel_width=choice.kernel_width or settings.kernel_width,
            dtype=self.dtype,
            threads=self.threads,
            deterministic=self.deterministic,
        )


class RightHandSide:
    """``b = A^H W y`` and ``e = y^H W y`` of a batch of images, summed tile by tile.

    Parameters
    ----------
    transforms
        How transforms are computed.
    images
        Images of the batch.
    device
        Where the sums are.
    one_coil
        Whether the measurement has a single coil, whose image is left as it is. Several coils are
        combined by their maps, or without maps by the sum of their squared magnitudes.

    Attributes
    ----------
    b
        complex ``(image, *shape)``.
    energy
        float64 ``(image,)``.
    """

    def __init__(
        self, transforms: Transforms, images: int, device: str | torch.device, *, one_coil: bool
    ) -> None:
        shape = transforms.shape
        self.b = torch.zeros(images, *shape, dtype=transforms.dtype, device=device)
        self.energy = torch.zeros(images, dtype=torch.float64, device=device)
        self._transforms = transforms
        self._one_coil = one_coil
        self._coil_axis = -len(shape) - 1
        self._operator: tuple[Sampling, NUFFT] | None = None
        self._coil_images: Tensor | None = None

    def add(self, sampling: Sampling, samples: Tensor, maps: Tensor | None) -> None:
        """Add one tile.

        Parameters
        ----------
        sampling
            Where the samples lie. The same object for successive tiles of the same samples.
        samples
            complex ``(image, coil, sample)``, overwritten.
        maps
            The maps of these coils, complex ``(coil, *shape)``.
        """
        # In two steps and in place: there are millions of samples, and one copy of them is enough.
        # As real numbers: a product of complex and real ones takes five times as long.
        roots, parts = sampling.roots()[..., None], torch.view_as_real(samples)
        parts.mul_(roots)
        self.energy += inner_product(samples, samples, image_axes=1).sum(-1)
        parts.mul_(roots)
        gridded = self._nufft(sampling, samples.shape[1]).adjoint(samples)
        if maps is not None:
            self.b += torch.linalg.vecdot(maps, gridded, dim=self._coil_axis)
        elif self._one_coil:
            self.b += gridded.squeeze(self._coil_axis)
        elif self._coil_images is None:
            self._coil_images = gridded
        else:
            self._coil_images += gridded

    def end_coils(self) -> None:
        """Square the images of coils that have no maps, once all their samples were added."""
        if self._coil_images is not None:
            self.b += self._coil_images.abs().square_().sum(self._coil_axis)
            self._coil_images = None

    def free_transform(self) -> None:
        """Let go of the transform of the last tile, where memory is needed for something else."""
        self._operator = None

    def _nufft(self, sampling: Sampling, coils: int) -> NUFFT:
        if self._operator is not None:
            known, nufft = self._operator
            if known is sampling and nufft.coils == coils:
                return nufft
            del known, nufft
            self.free_transform()  # before the next one is made
        nufft = self._transforms.nufft(sampling.trajectory, coils=coils)
        self._operator = (sampling, nufft)
        return nufft


def explicit_normal(transforms: Transforms, sampling: Sampling) -> LinearOperator:
    """Return ``A^H W A`` of one coil, on images ``(image, *shape)``, as forward and adjoint.

    Parameters
    ----------
    transforms
        How transforms are computed.
    sampling
        Where all samples of the images lie.
    """
    nufft = transforms.nufft(sampling.trajectory)
    return nufft.H @ Diagonal(sampling.weights) @ nufft
