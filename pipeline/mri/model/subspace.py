"""A temporal basis: all images of a series are sums of few unknown ones, the coefficients.

    y_f = F_f S sum_k phi_fk x_k

With ``b_k = sum_f conj(phi_fk) S^H F_f^H W y_f``, and for the normal operator the Toeplitz
operators ``T_kl`` of the weights ``sum_f conj(phi_fk) phi_fl w_f`` [1]_: real weights, and half the
kernels, where the basis is real.

References
----------
.. [1] M. Mani, M. Jacob, V. Magnotta, J. Zhong, "Fast iterative algorithm for the reconstruction of
   multishot non-cartesian diffusion data", Magn. Reson. Med. 74, 1086-1094 (2015).
"""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.machine import Transforms
from pipeline.mri.model.basis import TemporalBasis
from pipeline.mri.model.encoding import Encoding, Sampling, Sense, over_coils
from pipeline.mri.raw import RawData
from pipeline.operators.base import Diagonal, LinearOperator
from pipeline.operators.grid_fourier import FourierTransform
from pipeline.operators.terms import MatrixNormal
from pipeline.storage.archives import Table


class Subspace(Encoding):
    """The encoding of coefficients ``(coefficient, *shape)``.

    Images join ``frames_per_image`` frames each. Where it ``keeps_coefficients``, these are what
    is written in place of images.
    """

    def __init__(
        self,
        transforms: Transforms,
        device: str,
        basis: TemporalBasis,
        frames_per_image: int,
        *,
        keeps_coefficients: bool = False,
    ) -> None:
        super().__init__(transforms, device)
        self.keeps_coefficients, self._basis = keeps_coefficients, basis
        self.unknowns = basis.matrix.shape[1]
        self.real = not basis.matrix.imag.any()
        self.basis = torch.from_numpy(basis.matrix).to(device, transforms.machine.dtype)
        self._frames_per_image = frames_per_image

    def along(self, raw: RawData, frame: int, readouts: slice) -> NDArray[np.floating]:
        """Return where samples of a frame lie along the basis, ``[readout, sample]``."""
        last = max(len(self.basis) - 1, 1)
        shape = len(range(*readouts.indices(raw.readouts))), raw.samples
        return np.full(shape, frame // self._frames_per_image / last)

    def gridded(
        self, nufft: FourierTransform, sampling: Sampling, samples: Tensor
    ) -> Iterator[Tensor]:
        """Yield the adjoint without coil maps, for each coefficient."""
        for column in self.basis.unbind(1):
            yield nufft.adjoint(samples * over_coils(sampling.factor(column).conj()))

    def kernels(self, sampling: Sampling) -> Iterator[tuple[str, Tensor]]:
        """Make the spectra of `MatrixNormal`, each with its name."""
        for name, one, other, part in self._pairs():
            product = self.basis[:, one].conj() * self.basis[:, other]
            weights = sampling.factor(getattr(product, part).contiguous()).mul_(sampling.weights)
            yield name, self.transforms.spectrum(sampling.trajectory, weights)

    def _pairs(self) -> Iterator[tuple[str, int, int, str]]:
        coefficients = range(self.unknowns or 0)
        for one, other in itertools.combinations_with_replacement(coefficients, 2):
            yield f"coefficients-{one}-{other}", one, other, "real"
        if not self.real:
            for one, other in itertools.combinations(coefficients, 2):
                yield f"coefficients-{one}-{other}-imaginary", one, other, "imag"

    def normal(self, kernels: Mapping[str, Tensor], sense: Sense) -> LinearOperator:
        """Return the normal operator on coefficients ``(coefficient, *shape)``."""
        spectra = [kernels[name][0] for name, *_ in self._pairs()]
        return sense(MatrixNormal(spectra, self.unknowns or 0, self.transforms.toeplitz))

    def explicit_normal(self, sampling: Sampling) -> LinearOperator:
        """Return the same as forward and adjoint of all samples, without kernels."""
        if sampling.weights.ndim > 1:  # of the only image
            along = None if sampling.along is None else sampling.along[0]
            sampling = Sampling(sampling.trajectory[0], sampling.weights[0], along)
        forward = BasisForward(self, self.transforms.nufft(sampling.trajectory), sampling)
        return forward.H @ Diagonal(sampling.weights) @ forward

    def images(self, coefficients: Tensor) -> Iterator[Tensor]:
        """Yield the images of coefficients ``(1, coefficient, *shape)``, or these themselves."""
        if self.keeps_coefficients:
            yield from coefficients[0]
            return
        for row in self.basis.to(coefficients.device):
            yield torch.tensordot(row, coefficients[0], dims=1)

    def tables(self) -> Mapping[str, Table]:
        """Return the basis, and the dictionary that it was made for."""
        return self._basis.tables()

    def unknowns_of(self, images: Tensor) -> Tensor:
        """Return the coefficients ``(1, coefficient, *shape)`` whose images are nearest."""
        if not self.keeps_coefficients:
            images = torch.tensordot(self.basis.to(images.device).mH, images, dims=1)
        return images.unsqueeze(0)


class BasisForward(LinearOperator):
    """``sum_k  phi_k F`` of one coil, of coefficients ``(coefficient, *shape)``."""

    def __init__(self, encoding: Subspace, nufft: FourierTransform, sampling: Sampling) -> None:
        domain = (len(encoding.basis[0]), *nufft.domain)
        super().__init__(domain, nufft.codomain, dtype=nufft.dtype, device=nufft.device)
        self._encoding, self._nufft, self._sampling = encoding, nufft, sampling
        self._axis = -len(nufft.domain) - 1

    def _forward(self, x: Tensor) -> Tensor:
        total = x.new_zeros(*x.shape[: self._axis], *self.codomain)
        columns = self._encoding.basis.unbind(1)
        for column, image in zip(columns, x.unbind(self._axis), strict=True):
            total += self._sampling.factor(column) * self._nufft._forward(image)
        return total

    def _adjoint(self, y: Tensor) -> Tensor:
        columns = self._encoding.basis.unbind(1)
        found = [self._nufft._adjoint(y * self._sampling.factor(each).conj()) for each in columns]
        return torch.stack(found, self._axis)
