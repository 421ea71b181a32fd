"""From measured samples to images on one device: the parts that a reconstruct job puts together.

A batch of images is reconstructed at a time, and coils a few at a time: what has to be on the
device is the unknown, the coil maps and one tile of the measurement.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.transforms import NufftSettings
from pipeline.operators.base import LinearOperator
from pipeline.operators.diagonal import Diagonal
from pipeline.operators.nufft import NUFFT
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.solvers.inner import inner_product

ReadCoils = Callable[[slice], Tensor]


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
    """How non-uniform transforms are computed in this job."""

    shape: tuple[int, ...]
    settings: NufftSettings
    dtype: torch.dtype
    threads: int
    deterministic: bool

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

    def nufft(self, trajectory: Tensor, coils: int | None = None) -> NUFFT:
        """Return the transform from the image grid to ``trajectory``."""
        return NUFFT(
            self.shape,
            trajectory,
            coils=coils,
            tolerance=self.settings.tolerance,
            backend=self.settings.backend,
            oversampling=self.settings.oversampling,
            kernel_width=self.settings.kernel_width,
            dtype=self.dtype,
            threads=self.threads,
            deterministic=self.deterministic,
        )


def coil_tiles(coils: int, coil_batch: int) -> Iterator[slice]:
    """Cut the coils into consecutive slices of at most ``coil_batch``."""
    for first in range(0, coils, coil_batch):
        yield slice(first, min(first + coil_batch, coils))


def right_hand_side(
    read: ReadCoils,
    transforms: Transforms,
    sampling: Sampling,
    maps: Tensor | None,
    tiles: Sequence[slice],
) -> tuple[Tensor, Tensor]:
    """Return ``b = A^H W y`` and ``e = y^H W y`` of a batch of images.

    Parameters
    ----------
    read
        Returns the samples ``(image, coil, sample)`` of a slice of coils, on the device, in a
        tensor that may be overwritten.
    transforms, sampling
        The transform's settings, and where the samples lie.
    maps
        complex ``(coil, *shape)``; without them coils are combined by root sum of squares, and one
        coil is left as it is.
    tiles
        Slices that cover the coils.

    Returns
    -------
    b
        complex, ``(image, *shape)``.
    e
        float64, ``(image,)``.
    """
    coil_axis = -len(transforms.shape) - 1
    alone = tiles[-1].stop == 1
    operator: NUFFT | None = None
    b: Tensor | None = None
    energy: Tensor | None = None
    roots = sampling.roots()
    for tile in tiles:
        samples = read(tile)
        coils = tile.stop - tile.start
        if operator is None or operator.coils != coils:
            del operator
            operator = transforms.nufft(sampling.trajectory, coils=coils)
        # In two steps and in place: there are millions of samples, and one copy of them is enough.
        samples.mul_(roots)
        share = inner_product(samples, samples, image_axes=1).sum(-1)
        gridded = operator.adjoint(samples.mul_(roots))
        del samples
        if maps is not None:
            part = torch.linalg.vecdot(maps[tile], gridded, dim=coil_axis)
        elif alone:
            part = gridded.squeeze(coil_axis)
        else:
            part = gridded.abs().square().sum(coil_axis).to(transforms.dtype)
        del gridded
        b = part if b is None else b.add_(part)
        energy = share if energy is None else energy.add_(share)
    if b is None or energy is None:
        raise ValueError("no coils to reconstruct from")
    return (b if maps is not None or alone else b.sqrt()), energy


def normal_operator(
    form: str,
    transforms: Transforms,
    sampling: Sampling,
    maps: Tensor | None,
    coil_batch: int | None,
) -> LinearOperator:
    """Return ``G = A^H W A`` on images ``(image, *shape)``.

    Parameters
    ----------
    form
        ``toeplitz``, or ``explicit`` for forward and adjoint one after the other.
    transforms, sampling, maps
        As in `right_hand_side`.
    coil_batch
        Coils that are transformed at one moment; None leaves it to the operator.
    """
    one_coil: LinearOperator
    if form == "toeplitz":
        spectrum = transforms.spectrum(sampling.trajectory, sampling.weights)
        one_coil = Toeplitz(spectrum, transforms.shape, threads=transforms.threads)
    else:
        nufft = transforms.nufft(sampling.trajectory)
        one_coil = nufft.H @ Diagonal(sampling.weights) @ nufft
    return one_coil if maps is None else SenseNormal(one_coil, maps, coil_batch)
