"""The encoding of MRI: what the samples of a coil are of the images that a problem solves for.

The plain one is the Fourier transform alone. An effect on the signal is an encoding of its own, of
several terms: `pipeline.mri.model.off_resonance`. All have in common

    y(t) = sum_l  B_l(t) . F . C_l(r) . S(r) . x(r)

with the non-uniform transform ``F``, the sensitivity ``S`` of the coil, factors ``B_l`` of each
sample and ``C_l`` of each voxel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.machine import Transforms
from pipeline.mri.raw import RawData
from pipeline.operators.base import Diagonal, LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.operators.inner import inner_product
from pipeline.operators.toeplitz import Toeplitz
from pipeline.storage.archives import Table

Sense = Callable[[LinearOperator], LinearOperator]


@dataclass(frozen=True)
class Sampling:
    """Where the images of one batch were sampled, and what each sample counts."""

    trajectory: Tensor
    """real, ``(axis, sample)`` where all images of the batch share one, else ``(image, axis,
    sample)`` [rad/voxel]."""
    weights: Tensor
    """real, ``(sample,)`` or ``(image, sample)``."""
    along: Tensor | None = None
    """Of the shape of the weights: where each sample lies along the tables that factors of samples
    are looked up in, 0 at the first row and 1 at the last; `None` for an encoding without."""

    def roots(self) -> Tensor:
        """Return ``W^(1/2)``, to multiply samples ``(image, coil, sample)``."""
        return over_coils(self.weights.sqrt())

    def factor(self, column: Tensor) -> Tensor:
        """Return one factor of each sample, of the shape of the weights.

        ``column`` of a table are its values ``(row,)``, between which it is a straight line.
        """
        if self.along is None:
            raise ValueError("the sampling does not tell where samples lie along tables")
        rows = self.along * (len(column) - 1)
        below = rows.floor().clamp_(0, max(len(column) - 2, 0))
        rows -= below
        index = below.long()
        found = column[index]
        return found.add_((column[(index + 1).clamp_(max=len(column) - 1)] - found).mul_(rows))


def over_coils(values: Tensor) -> Tensor:
    """Return values of samples, ``([image,] sample)``, so that all coils are multiplied by them."""
    return values if values.ndim == 1 else values[:, None]


class Encoding:
    """The Fourier transform alone, and what an encoding of more terms replaces."""

    unknowns: int | None = None
    """How many images a sample is a sum of; `None` for one, without an axis of its own."""

    def __init__(self, transforms: Transforms, device: str) -> None:
        self.transforms, self.device = transforms, device

    def along(self, raw: RawData, frame: int, readouts: slice) -> NDArray[np.floating] | None:
        """Return where samples of a frame lie along tables of factors, ``[readout, sample]``."""
        return None

    def gridded(
        self, nufft: FourierTransform, sampling: Sampling, samples: Tensor
    ) -> Iterator[Tensor]:
        """Yield the adjoint without coil maps, complex ``(image, coil, *shape)``.

        Of samples ``(image, coil, sample)``; for each unknown.
        """
        yield nufft.adjoint(samples)

    def images(self, unknowns: Tensor) -> Iterator[Tensor]:
        """Yield the images ``shape`` that are written of a series of ``(1, unknown, *shape)``."""
        yield from unknowns[0]

    def unknowns_of(self, images: Tensor) -> Tensor:
        """Return the unknowns ``(1, unknown, *shape)`` of which these images are nearest."""
        return images.unsqueeze(0)

    def tables(self) -> Mapping[str, Table]:
        """Return what tells how images are made of unknowns, to stand beside them."""
        return {}

    def kernels(self, sampling: Sampling) -> Iterator[tuple[str, Tensor]]:
        """Make the spectra of the Toeplitz operators, each with its name.

        Real ``([image,] *padded)``; they add up over the tiles of a measurement.
        """
        yield "kernel", self.transforms.spectrum(sampling.trajectory, sampling.weights)

    def normal(self, kernels: Mapping[str, Tensor], sense: Sense) -> LinearOperator:
        """Return the normal operator on images ``([image,] *shape)``.

        ``kernels`` are spectra by the names that `kernels` gives, real ``(image or 1, *padded)``;
        ``sense`` returns the operator of all coils from that of one.
        """
        return sense(self._toeplitz(kernels["kernel"]))

    def explicit_normal(self, sampling: Sampling) -> LinearOperator:
        """Return the same as forward and adjoint of all samples of the images, without kernels."""
        forward = self.transforms.nufft(sampling.trajectory)
        return forward.H @ Diagonal(sampling.weights) @ forward

    def _toeplitz(self, spectra: Tensor) -> Toeplitz:
        return self.transforms.toeplitz(spectra[0] if len(spectra) == 1 else spectra)


class RightHandSide:
    """``b = A^H W y`` and ``e = y^H W y`` of a batch of images, summed tile by tile.

    ``b`` is complex ``(image, [unknown or set,] *shape)``, ``energy`` float64 ``(image,)``. The
    image of a measurement with ``one_coil`` is left as it is. Several coils are combined by their
    maps, of which there may be several ``sets``, or without maps by the sum of their squared
    magnitudes.
    """

    def __init__(
        self,
        encoding: Encoding,
        images: int,
        device: str | torch.device,
        *,
        one_coil: bool,
        sets: int = 1,
    ) -> None:
        shape = encoding.transforms.shape
        axes = () if encoding.unknowns is None else (encoding.unknowns,)
        if sets > 1:
            axes = (*axes, sets)
        dtype = encoding.transforms.machine.dtype
        self.b = torch.zeros(images, *axes, *shape, dtype=dtype, device=device)
        self.energy = torch.zeros(images, dtype=torch.float64, device=device)
        self._encoding = encoding
        self._one_coil = one_coil
        self._coil_axis = -len(shape) - 1
        self._operator: tuple[Sampling, FourierTransform] | None = None
        self._coil_images: Tensor | None = None

    def add(self, sampling: Sampling, samples: Tensor, maps: Sequence[Tensor]) -> None:
        """Add one tile.

        The same ``sampling`` object stands for successive tiles of the same samples; these are
        complex ``(image, coil, sample)``, and overwritten; maps are complex ``(coil, *shape)``, one
        for each set, or none.
        """
        # In two steps and in place: there are millions of samples, and one copy of them is enough.
        # As real numbers: a product of complex and real ones takes five times as long.
        roots, parts = sampling.roots()[..., None], torch.view_as_real(samples)
        parts.mul_(roots)
        self.energy += inner_product(samples, samples, image_axes=1).sum(-1)
        parts.mul_(roots)
        nufft = self._nufft(sampling, samples.shape[1])
        several = self._encoding.unknowns is not None
        targets = self.b.unbind(1) if several else [self.b]
        found = self._encoding.gridded(nufft, sampling, samples)
        for total, gridded in zip(targets, found, strict=True):
            self._add(total, gridded, maps)
            del gridded

    def _add(self, total: Tensor, gridded: Tensor, maps: Sequence[Tensor]) -> None:
        """Add the images of some coils to the sum ``(image, [set,] *shape)``."""
        if maps:
            sums = total.unbind(self._coil_axis) if len(maps) > 1 else [total]
            for target, one in zip(sums, maps, strict=True):
                target.add_(torch.linalg.vecdot(one, gridded, dim=self._coil_axis))
        elif self._one_coil:
            total += gridded.squeeze(self._coil_axis)
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

    def _nufft(self, sampling: Sampling, coils: int) -> FourierTransform:
        if self._operator is not None:
            known, nufft = self._operator
            if known is sampling and nufft.coils == coils:
                return nufft
            del known, nufft
            self.free_transform()  # before the next one is made
        nufft = self._encoding.transforms.nufft(sampling.trajectory, coils=coils)
        self._operator = (sampling, nufft)
        return nufft
