"""The encoding of MRI: what the samples of a coil are of an image, as a sum of terms.

    y(t) = sum_l  B_l(t) . F . C_l(r) . S(r) . x(r)

``F`` is the non-uniform transform, ``S`` the sensitivity of the coil, ``B_l`` a factor of each
sample and ``C_l`` one of each voxel. A field map in segments is such a sum [1]_; the plain encoding
is one term without factors. The normal operator is then

    G = sum_c S_c^H [ sum_lm C_l^H T_lm C_m ] S_c

with the Toeplitz operators ``T_lm`` of the weights ``conj(B_l) B_m w``.

References
----------
.. [1] D. C. Noll, C. H. Meyer, J. M. Pauly, D. G. Nishimura, A. Macovski, "A homogeneity correction
   method for magnetic resonance imaging with time-varying gradients", IEEE Trans. Med. Imaging 10,
   629-637 (1991).
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.machine import Transforms
from pipeline.operators.base import Diagonal, LinearOperator
from pipeline.operators.inner import inner_product
from pipeline.operators.nufft import NUFFT
from pipeline.operators.terms import TermsNormal


@dataclass(frozen=True)
class Term:
    """``B . F . C``: one of the terms that the signal of a coil is the sum of."""

    samples: Callable[[int, slice], NDArray[np.complexfloating]]
    """Returns ``B`` of a frame at some of its readouts, complex ``(readout, sample)``,
    dimensionless."""
    voxels: NDArray[np.complexfloating]
    """``C``, complex of the image's shape, dimensionless."""


@dataclass(frozen=True)
class Sampling:
    """Where the images of one batch were sampled, and what each sample counts."""

    trajectory: Tensor
    """real, ``(axis, sample)`` where all images of the batch share one, else ``(image, axis,
    sample)`` [rad/voxel]."""
    weights: Tensor
    """real, ``(sample,)`` or ``(image, sample)``."""
    factors: Tensor | None = None
    """``B`` of each term, complex ``(term, sample)`` or ``(image, term, sample)``; `None` for an
    encoding without terms."""

    def roots(self) -> Tensor:
        """Return ``W^(1/2)``, to multiply samples ``(image, coil, sample)``."""
        roots = self.weights.sqrt()
        return roots if roots.ndim == 1 else roots[:, None]


class Encoding:
    """A list of terms: the operators that are built from them, and the kernels these need.

    Without terms the signal is the Fourier transform alone: a single term without factors.
    """

    def __init__(
        self, transforms: Transforms, device: str | torch.device, terms: Sequence[Term] = ()
    ) -> None:
        self.transforms, self.terms = transforms, tuple(terms)
        self._voxels: Tensor | None = None
        if self.terms:
            voxels = np.stack([np.broadcast_to(term.voxels, transforms.shape) for term in terms])
            self._voxels = torch.from_numpy(voxels).to(device, transforms.machine.dtype)

    def around(self, nufft: NUFFT, sampling: Sampling) -> LinearOperator:
        """Return ``sum_l B_l F C_l`` with a transform that is there; it itself if that is all."""
        if self._voxels is None or sampling.factors is None:
            return nufft
        terms: list[LinearOperator] = []
        for voxels, factor in zip(self._voxels, sampling.factors.unbind(-2), strict=True):
            of_coils = factor.ndim > 1 and nufft.coils is not None
            outer = Diagonal(factor[:, None] if of_coils else factor, nufft.codomain)
            terms.append(outer @ nufft @ Diagonal(voxels, nufft.domain))
        return functools.reduce(operator.add, terms)

    def kernels(self, sampling: Sampling) -> Iterator[tuple[str, Tensor]]:
        """Make the spectra of all ``T_lm``, each with its name: real ``([image,] *padded)``.

        They add up over the tiles of a measurement.
        """
        weights, factors = sampling.weights, sampling.factors
        for name, one, other, part in self._products():
            if factors is not None:
                product = factors[..., one, :].conj() * factors[..., other, :]
                weights = sampling.weights * getattr(product, part)
            yield name, self.transforms.spectrum(sampling.trajectory, weights)

    def _products(self) -> Iterator[tuple[str, int, int, str]]:
        """Yield names, terms and parts of all kernels, in the order of `TermsNormal`."""
        terms = range(len(self.terms) or 1)
        for term in terms:
            yield f"term-{term}", term, term, "real"
        for one, other in itertools.combinations(terms, 2):
            for part in ("real", "imag"):
                yield f"terms-{one}-{other}-{part}", one, other, part

    def normal(self, kernels: Mapping[str, Tensor]) -> LinearOperator:
        """Return the normal operator of one coil, on images ``([image,] *shape)``.

        ``kernels`` are spectra by the names that `kernels` gives, real ``(image or 1, *padded)``.
        """
        spectra = [kernels[name] for name, *_ in self._products()]
        images = len(spectra[0])
        if self._voxels is None:
            return self.transforms.toeplitz(spectra[0][0] if images == 1 else spectra[0])
        toeplitz = self.transforms.toeplitz(torch.stack(spectra, 1).flatten(0, 1))
        return TermsNormal(self._voxels, toeplitz, images=None if images == 1 else images)

    def explicit_normal(self, sampling: Sampling) -> LinearOperator:
        """Return the same as forward and adjoint of all samples of the images, without kernels."""
        forward = self.around(self.transforms.nufft(sampling.trajectory), sampling)
        return forward.H @ Diagonal(sampling.weights) @ forward


class RightHandSide:
    """``b = A^H W y`` and ``e = y^H W y`` of a batch of images, summed tile by tile.

    ``b`` is complex ``(image, *shape)``, ``energy`` float64 ``(image,)``. The image of a
    measurement with ``one_coil`` is left as it is. Several coils are combined by their maps, or
    without maps by the sum of their squared magnitudes.
    """

    def __init__(
        self, encoding: Encoding, images: int, device: str | torch.device, *, one_coil: bool
    ) -> None:
        shape = encoding.transforms.shape
        self.b = torch.zeros(images, *shape, dtype=encoding.transforms.machine.dtype, device=device)
        self.energy = torch.zeros(images, dtype=torch.float64, device=device)
        self._encoding = encoding
        self._one_coil = one_coil
        self._coil_axis = -len(shape) - 1
        self._operator: tuple[Sampling, NUFFT] | None = None
        self._coil_images: Tensor | None = None

    def add(self, sampling: Sampling, samples: Tensor, maps: Tensor | None) -> None:
        """Add one tile.

        The same ``sampling`` object stands for successive tiles of the same samples; these are
        complex ``(image, coil, sample)``, and overwritten; maps are complex ``(coil, *shape)``.
        """
        # In two steps and in place: there are millions of samples, and one copy of them is enough.
        # As real numbers: a product of complex and real ones takes five times as long.
        roots, parts = sampling.roots()[..., None], torch.view_as_real(samples)
        parts.mul_(roots)
        self.energy += inner_product(samples, samples, image_axes=1).sum(-1)
        parts.mul_(roots)
        nufft = self._nufft(sampling, samples.shape[1])
        gridded = self._encoding.around(nufft, sampling).adjoint(samples)
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
        nufft = self._encoding.transforms.nufft(sampling.trajectory, coils=coils)
        self._operator = (sampling, nufft)
        return nufft
