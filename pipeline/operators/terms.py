"""Normal operators of a sum of terms, each a factor of the voxels before a transform."""

import torch
from torch import Tensor

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.toeplitz import Toeplitz


class TermsNormal(LinearOperator):
    """``sum_lm C_l^H T_lm C_m``: Toeplitz operators between factors of the voxels.

    Where measurements are a sum of terms, as with a field map in segments, each pair of terms has
    an operator ``T_lm``; where each term measures by itself, as a pair of antenna arrays does, only
    those with ``l = m`` are there.

    Parameters
    ----------
    factors
        ``C_l``: complex tensor of shape ``(term, *shape)``, dimensionless.
    toeplitz
        The operators in place of the frames of a `Toeplitz`: for each image ``T_ll`` of every term,
        and if there are others real and imaginary part of the spectrum of each ``T_lm`` with
        ``l < m``, row by row: those of the real and of the imaginary part of its weights.
    images
        Size of the image axis where each image has operators of its own; `None` for no such axis.

    Notes
    -----
    Maps ``([image,] *shape)`` to the same; self-adjoint, repeats bit by bit. Factors are multiplied
    and results added inside the transforms. Terms that do not meet are applied one at a time, so
    that the memory beside the operator's own data is that of a single convolution; terms that do
    take one transform each way, and the memory of a convolution for each.
    """

    def __init__(self, factors: Tensor, toeplitz: Toeplitz, images: int | None = None) -> None:
        terms, shape = len(factors), toeplitz.shape
        allowed = tuple((count * (images or 1),) for count in (terms, terms**2))
        fits = factors.shape[1:] == shape and toeplitz.frames in allowed
        if not fits or toeplitz.coils is not None:
            raise ShapeError(
                f"TermsNormal: found factors of shape {tuple(factors.shape)} and {toeplitz!r}; "
                f"needed are (term, *shape), and kernels of shape {allowed[0]} or {allowed[1]}."
            )
        if (factors.dtype, factors.device) != (toeplitz.dtype, toeplitz.device):
            raise ShapeError(
                f"TermsNormal: found factors of {factors.dtype} on {factors.device}, but kernels "
                f"of {toeplitz.dtype} on {toeplitz.device}; convert or move one of them."
            )
        domain = shape if images is None else (images, *shape)
        super().__init__(domain, domain, dtype=toeplitz.dtype, device=toeplitz.device)
        self.factors = factors.detach().resolve_conj().resolve_neg().contiguous()
        self.toeplitz = toeplitz
        self._kernels = [slice(0, toeplitz.frames[0])]
        if images is not None:
            count = toeplitz.frames[0] // images
            self._kernels = [slice(first * count, (first + 1) * count) for first in range(images)]

    def _forward(self, x: Tensor) -> Tensor:
        shape = (-1, len(self._kernels), *self.toeplitz.shape)
        batch = x.detach().resolve_conj().resolve_neg().contiguous().view(shape)
        result = torch.empty_like(batch)
        for images, totals in zip(batch, result, strict=True):
            for image, kernels, total in zip(images, self._kernels, totals, strict=True):
                self.toeplitz.convolution.combine_terms(image, self.factors, kernels, out=total)
        return result.view(x.shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)
