"""From measured samples to images on one device: the parts that a reconstruct job puts together.

A batch of images is reconstructed at a time, and coils a few at a time: what has to be on the
device is the unknown, the coil maps and one tile of the measurement.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import NufftSettings
from pipeline.operators.base import LinearOperator
from pipeline.operators.nufft import NUFFT
from pipeline.operators.sense import SenseNormal, Sensitivities
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum

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

    def total_weight(self) -> Tensor:
        """Return the sum of the weights of each image: the diagonal of the normal operator."""
        return self.weights.sum(-1, dtype=torch.float64)


@dataclass(frozen=True)
class Transforms:
    """How non-uniform transforms are computed in this job."""

    shape: tuple[int, ...]
    settings: NufftSettings
    dtype: torch.dtype
    threads: int
    deterministic: bool

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
    read: ReadCoils, transforms: Transforms, sampling: Sampling, maps: Tensor | None, tiles: list[slice]
) -> tuple[Tensor, Tensor]:
    """Return ``b = A^H W y`` and ``e = y^H W y`` of a batch of images.

    Parameters
    ----------
    read
        Returns the samples ``(image, coil, sample)`` of a slice of coils, on the device.
    transforms, sampling
        The transform's settings, and where the samples lie.
    maps
        complex ``(coil, *shape)``; None combines coils by root sum of squares (one coil: as is).
    tiles
        The slices of coils, one after the other.

    Returns
    -------
    b
        complex, ``(image, *shape)``.
    e
        float64, ``(image,)``.
    """
    several = len(tiles) > 1 or tiles[0].stop - tiles[0].start > 1
    weights = sampling.weights if sampling.weights.ndim == 1 else sampling.weights[:, None]
    operator: NUFFT | None = None
    total: Tensor | None = None
    energy: Tensor | None = None
    for tile in tiles:
        samples = read(tile)
        coils = tile.stop - tile.start
        if operator is None or operator.domain[-len(transforms.shape) - 1] != coils:
            operator = transforms.nufft(sampling.trajectory, coils=coils)
        weighted = samples * weights
        part_energy = torch.sum((weighted.conj() * samples).real, dim=(-2, -1), dtype=torch.float64)
        images = operator.adjoint(weighted)
        del samples, weighted
        if maps is not None:
            part = torch.linalg.vecdot(maps[tile], images, dim=-len(transforms.shape) - 1)
        elif several:
            part = images.abs().square().sum(-len(transforms.shape) - 1)
        else:
            part = images.squeeze(-len(transforms.shape) - 1)
        total = part if total is None else total.add_(part)
        energy = part_energy if energy is None else energy.add_(part_energy)
    if total is None or energy is None:
        raise ValueError("no coils to reconstruct from")
    if maps is None and several:
        total = total.sqrt().to(transforms.dtype)
    return total, energy


def normal_operator(
    form: str, transforms: Transforms, sampling: Sampling, maps: Tensor | None, coil_batch: int
) -> Callable[[Tensor], Tensor]:
    """Return ``G = A^H W A`` on images ``(image, *shape)``.

    Parameters
    ----------
    form
        ``toeplitz``, or ``explicit`` for forward and adjoint one after the other.
    transforms, sampling, maps
        As in `right_hand_side`.
    coil_batch
        Coils that are transformed at one moment.
    """
    if form == "toeplitz":
        spectrum = toeplitz_spectrum(
            transforms.shape,
            sampling.trajectory,
            sampling.weights,
            backend=transforms.settings.backend,
            dtype=transforms.dtype,
            threads=transforms.threads,
            deterministic=transforms.deterministic,
        )
        toeplitz = Toeplitz(spectrum, transforms.shape, threads=transforms.threads)
        return toeplitz if maps is None else SenseNormal(toeplitz, maps, coil_batch)
    return _ExplicitNormal(transforms, sampling, maps, coil_batch)


class _ExplicitNormal:
    """``sum_c S_c^H F^H W F S_c``, a tile of coils at a time."""

    def __init__(
        self, transforms: Transforms, sampling: Sampling, maps: Tensor | None, coil_batch: int
    ) -> None:
        self.weights = sampling.weights if sampling.weights.ndim == 1 else sampling.weights[:, None]
        self.maps = [None] if maps is None else list(maps.split(coil_batch))
        self.transforms: dict[int, LinearOperator] = {
            count: transforms.nufft(sampling.trajectory, coils=count)
            for count in {1 if part is None else len(part) for part in self.maps}
        }

    def __call__(self, image: Tensor) -> Tensor:
        total = torch.zeros_like(image)
        for part in self.maps:
            sensitivities = None if part is None else Sensitivities(part)
            count = 1 if part is None else len(part)
            coils = image.unsqueeze(1) if sensitivities is None else sensitivities(image)
            operator = self.transforms[count]
            gathered = operator.adjoint(self.weights * operator(coils))
            total += gathered.squeeze(1) if sensitivities is None else sensitivities.adjoint(gathered)
        return total
