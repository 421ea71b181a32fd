"""Circulant preconditioners of Toeplitz normal operators.

They are made from the spectrum that `pipeline.operators.toeplitz` convolves with, and are applied
to images of shape ``(..., *shape)``. They approximate ``(G + regularization)^-1`` and serve
`conjugate_gradient` and, with ``rho`` for the regularisation, `admm`.

References
----------
.. [1] T. F. Chan, "An optimal circulant preconditioner for Toeplitz systems", SIAM J. Sci. Stat.
   Comput. 9, 766-771 (1988).
.. [2] T. F. Chan, J. A. Olkin, "Circulant preconditioners for Toeplitz-block matrices", Numer.
   Algorithms 6, 89-101 (1994).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator
from pipeline.operators.circulant import Circulant
from pipeline.operators.sense import SenseNormal
from pipeline.operators.terms import MatrixNormal
from pipeline.operators.toeplitz import Toeplitz
from pipeline.operators.toeplitz_memory import INVERTED_AT_ONCE, padded_shape
from pipeline.pieces import pieces

_NORMALISED = 2.0
"""By how much the squares of maps may sum to more, or less, than one."""


class CirculantPreconditioner:
    """The inverse of the circulant operator nearest to a Toeplitz one in Frobenius norm [1]_.

    Parameters
    ----------
    spectrum
        Real, ``([frame,] *padded_shape(shape))``; or ``([frame,] *shape)`` of an operator that is
        circulant already.
    shape
        Image axes.
    regularization
        Tikhonov weight of the system; added to the eigenvalues. One number, or one for each frame.
    floor
        Smallest eigenvalue that is inverted, relative to the largest: what lies below was hardly
        measured, and its eigenvalue is not to be relied on.
    maps
        Complex ``(coil, *shape)``: those of a `SenseNormal` of the Toeplitz operator, the system.
        Where their squares sum to about one, ``sum_c conj(S_c) C^-1 S_c`` stands in place of
        ``C^-1``, with a circulant ``C`` as the operator meets waves that the maps have multiplied.

    Attributes
    ----------
    eigenvalues
        Real, ``([frame,] *shape)``, in FFT order: those of the circulant operator.

    Notes
    -----
    An eigenvalue is the Rayleigh quotient of the Toeplitz operator with a Fourier vector, so it is
    never negative. As a function of the padded spectrum it is a Fejér mean, which is separable: one
    real matrix an axis, and no complex array on the padded grid.
    """

    def __init__(
        self,
        spectrum: torch.Tensor,
        shape: Sequence[int],
        *,
        regularization: float | torch.Tensor = 0.0,
        floor: float = 1e-3,
        maps: torch.Tensor | None = None,
    ) -> None:
        self.axes = tuple(range(-len(shape), 0))
        check_spectrum(spectrum, shape, "CirculantPreconditioner")
        values = _circulant(spectrum, shape)
        if maps is not None and not _normalised(maps):
            maps = None
        if maps is not None:
            values = _met(values, _meeting(maps))
        self.eigenvalues = values.clamp_(min=0)
        inverse = reciprocals(self.eigenvalues, regularization, floor, self.axes)
        self._inverse: LinearOperator = Circulant(inverse, shape)
        if maps is not None:
            scaled = inverse.div_(math.prod(shape))  # as the transforms are unscaled
            self._inverse = SenseNormal(Toeplitz(scaled, shape), maps)

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        """Apply the preconditioner to images ``(..., [frame,] *shape)``."""
        return self._inverse(r)


class MatrixCirculantPreconditioner:
    """The inverse of the circulant operators nearest to a matrix of Toeplitz ones [2]_.

    Together they are a Hermitian matrix between the images at each spatial frequency.

    Parameters
    ----------
    spectra, images
        Of the `MatrixNormal`; see there.
    shape
        Image axes.
    regularization
        Tikhonov weight of the system.
    floor
        What is added to eigenvalues at least, relative to the largest; as of
        `CirculantPreconditioner`.
    maps
        Complex ``(coil, *shape)`` of the system, where it is a `SenseNormal` of the matrix. Where
        their squares sum to about one, eigenvalues are those that the operator has for waves which
        the maps have multiplied. Images pass no maps: what these would save in iterations is less
        than a product more with each coil takes.

    Notes
    -----
    Applied to images ``(..., image, *shape)``.
    """

    def __init__(
        self,
        spectra: Sequence[torch.Tensor],
        images: int,
        shape: Sequence[int],
        *,
        regularization: float = 0.0,
        floor: float = 1e-3,
        maps: torch.Tensor | None = None,
    ) -> None:
        meeting = None if maps is None or not _normalised(maps) else _meeting(maps)
        values = []
        for spectrum in spectra:
            check_spectrum(spectrum, shape, "MatrixCirculantPreconditioner")
            found = _circulant(spectrum, shape)
            values.append(found if meeting is None else _met(found, meeting))
        del meeting
        places = [(one, other) for one in range(images) for other in range(one, images)]
        largest = max(
            float(value.max())
            for value, (one, other) in zip(values, places, strict=False)
            if one == other
        )
        # Nothing measured, nothing to precondition.
        weight = max(regularization, floor * largest) or 1.0
        dtype = torch.complex128 if len(spectra) > len(places) else torch.float64
        planes = max(1, INVERTED_AT_ONCE // math.prod(shape[1:]))
        for some in pieces(int(shape[0]), planes):
            matrix = values[0].new_zeros(*values[0][some].shape, images, images, dtype=dtype)
            upper = iter(values)
            for one, other in places:
                matrix[..., one, other] = matrix[..., other, one] = next(upper)[some].to(dtype)
            for (one, other), value in zip(_apart(places), upper, strict=False):
                matrix[..., one, other] += 1j * value[some]
                matrix[..., other, one] -= 1j * value[some]
            matrix.diagonal(dim1=-2, dim2=-1).add_(weight)
            # As the transforms are unscaled.
            inverse = torch.linalg.inv(matrix).div_(math.prod(shape))
            upper = iter(values)
            for one, other in places:
                next(upper)[some] = inverse[..., one, other].real
            for (one, other), value in zip(_apart(places), upper, strict=False):
                value[some] = inverse[..., one, other].imag
        self._inverse = MatrixNormal(values, images, lambda each: Toeplitz(each, shape))

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        """Apply the preconditioner."""
        return self._inverse(r)


def _apart(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(one, other) for one, other in places if one < other]


def _circulant(spectrum: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the eigenvalues of the nearest circulant operator, ``([frame,] *shape)``."""
    values = spectrum.detach()
    for axis, size in zip(range(-len(shape), 0), shape, strict=True):
        means = _fejer_means(int(size), values.shape[axis], values)
        values = torch.tensordot(values, means, dims=([axis], [1])).movedim(-1, axis)
    return values


def _meeting(maps: torch.Tensor) -> torch.Tensor:
    """Return by what to multiply the transform of eigenvalues, to average them over a wave.

    One that the maps have multiplied: with the spectrum of the maps.
    """
    power = torch.zeros(maps.shape[1:], dtype=maps.dtype.to_real(), device=maps.device)
    for one in maps:
        power += torch.fft.fftn(one).abs().square_()
    shifted: torch.Tensor = torch.fft.fftn(power / power.sum()).conj()
    return shifted


def _met(values: torch.Tensor, meeting: torch.Tensor) -> torch.Tensor:
    """Return eigenvalues as they are for waves that the maps of `_meeting` have multiplied."""
    axes = tuple(range(-meeting.ndim, 0))
    averaged = torch.fft.fftn(values, dim=axes).mul_(meeting)
    found: torch.Tensor = torch.fft.ifftn(averaged, dim=axes).real.contiguous()
    return found


def _normalised(maps: torch.Tensor) -> bool:
    squares = sum(one.abs().square_() for one in maps)
    assert isinstance(squares, torch.Tensor)
    return bool(squares.min() > 1 / _NORMALISED) and bool(squares.max() < _NORMALISED)


def _fejer_means(size: int, padded: int, like: torch.Tensor) -> torch.Tensor:
    """Return the real matrix from an axis of the padded spectrum to circulant eigenvalues."""
    double: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
    # lambda_j = sum_d (1 - |d| / N) t_d exp(-2 pi i j d / N),  t_d = sum_p s_p exp(2 pi i p d / P),
    # and the sum over d is Fejér's kernel at theta = 2 pi (p / P - j / N).
    half = torch.pi * (
        torch.arange(padded, **double) / padded - torch.arange(size, **double)[:, None] / size
    )
    sines = torch.sin(half)
    ratio = torch.sin(size * half) / torch.where(sines.abs() > 1e-12, sines, 1.0)
    means = torch.where(sines.abs() > 1e-12, ratio**2 / size, float(size))
    return means.to(like.dtype)


def reciprocals(
    eigenvalues: torch.Tensor,
    regularization: float | torch.Tensor,
    floor: float,
    axes: tuple[int, ...],
) -> torch.Tensor:
    """Return the reciprocals of shifted eigenvalues, none larger than the floor allows.

    Parameters
    ----------
    eigenvalues
        Real, ``([frame,] *shape)``, not negative.
    regularization, floor
        As of `CirculantPreconditioner`.
    axes
        Those of an image.
    """
    if isinstance(regularization, torch.Tensor):
        regularization = regularization.to(eigenvalues)[(..., *(None,) * len(axes))]
    shifted = eigenvalues + regularization
    largest = shifted.amax(dim=axes, keepdim=True)
    # Nothing measured, nothing to precondition.
    inverse = torch.where(largest > 0, 1 / torch.maximum(shifted, floor * largest), 1.0)
    return inverse


def check_spectrum(spectrum: torch.Tensor, shape: Sequence[int], who: str) -> None:
    """Raise a `ShapeError` unless a spectrum is real, ``([frame,] *padded)`` or ``*shape``."""
    expected = padded_shape(shape)
    found = tuple(spectrum.shape[-len(expected) :])
    if spectrum.is_complex() or found not in (expected, tuple(shape)):
        raise ShapeError(
            f"{who}: found a spectrum of shape {tuple(spectrum.shape)} and {spectrum.dtype}; the "
            f"matrix {tuple(shape)} needs a real one of shape ([frame,] {expected})."
        )
