"""Normal operators of several terms, and of several images that are measured together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz


class TermsNormal(LinearOperator):
    """``sum_l C_l^H T_l C_l``: Toeplitz operators between factors of the voxels.

    For terms that measure each by itself, as pairs of antenna arrays do.

    Parameters
    ----------
    factors
        ``C_l``: complex tensor of shape ``(term, *shape)``, dimensionless.
    toeplitz
        The operators ``T_l`` of all terms, in place of the frames of a `Toeplitz`.

    Notes
    -----
    Maps ``shape`` to the same; self-adjoint, repeats bit by bit. Factors are multiplied
    and results added inside the transforms. Terms are applied one at a time, so that the memory
    beside the operator's own data is that of a single convolution.
    """

    def __init__(self, factors: Tensor, toeplitz: Toeplitz) -> None:
        shape, allowed = toeplitz.shape, (len(factors),)
        fits = factors.shape[1:] == shape and toeplitz.frames == allowed
        if not fits or toeplitz.coils is not None:
            raise ShapeError(
                f"TermsNormal: found factors of shape {tuple(factors.shape)} and {toeplitz!r}; "
                f"needed are (term, *shape), and kernels of shape {allowed}."
            )
        if (factors.dtype, factors.device) != (toeplitz.dtype, toeplitz.device):
            raise ShapeError(
                f"TermsNormal: found factors of {factors.dtype} on {factors.device}, but kernels "
                f"of {toeplitz.dtype} on {toeplitz.device}; convert or move one of them."
            )
        super().__init__(shape, shape, dtype=toeplitz.dtype, device=toeplitz.device)
        self.factors = factors.detach().resolve_conj().resolve_neg().contiguous()
        self.toeplitz = toeplitz

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.detach().resolve_conj().resolve_neg().contiguous().view(-1, *self.domain)
        result = torch.empty_like(batch)
        for image, total in zip(batch, result, strict=True):
            self.toeplitz.convolution.combine_terms(image, self.factors, out=total)
        return result.view(x.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)


class MatrixNormal(LinearOperator):
    """``(G x)_k = sum_l T_kl x_l``: a Hermitian matrix of Toeplitz operators between images.

    Where a sample is a sum of several images with a factor each, as of a temporal basis.

    Parameters
    ----------
    spectra
        Real tensors ``padded``: for each pair of images ``k <= l``, row by row, the spectrum of the
        real part of its weights; then, where weights are complex, for each pair ``k < l`` that of
        the imaginary part.
    images
        How many.
    toeplitz
        Returns the operator of one spectrum.

    Notes
    -----
    Maps ``(image, *shape)`` to the same; self-adjoint, repeats bit by bit. Each image takes one
    transform each way, and the matrix is multiplied in between, a piece at a time.
    """

    def __init__(
        self, spectra: Sequence[Tensor], images: int, toeplitz: Callable[[Tensor], Toeplitz]
    ) -> None:
        pairs = images * (images + 1) // 2
        if len(spectra) not in (pairs, images**2):
            raise ShapeError(
                f"MatrixNormal: found {len(spectra)} spectra for {images} images; needed are "
                f"{pairs}, or with imaginary parts {images**2}."
            )
        self.spectra = [each.detach() for each in spectra]
        self._one = toeplitz(spectra[0])
        self.shape = self._one.shape
        domain = (images, *self.shape)
        super().__init__(domain, domain, dtype=self._one.dtype, device=self._one.device)

    def _forward(self, x: Tensor) -> Tensor:
        batch = x.detach().resolve_conj().resolve_neg().contiguous().view(-1, *self.domain)
        result = torch.empty_like(batch)
        for images, mixed in zip(batch, result, strict=True):
            self._one.convolution.mix(images, self.spectra, out=mixed)
        return result.view(x.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    @property
    def kernel(self) -> MatrixNormal:
        """The kernels of one coil, which preconditioners ask a normal operator for."""
        return self
