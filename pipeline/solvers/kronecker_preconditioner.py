"""The Kronecker product nearest to a Toeplitz operator, as its preconditioner.

References
----------
.. [1] C. F. Van Loan, N. Pitsianis, "Approximation with Kronecker products", in Linear Algebra for
   Large Scale and Real-Time Applications, Kluwer, 293-314 (1993).
.. [2] J. Kamm, J. G. Nagy, "Optimal Kronecker product approximation of block Toeplitz matrices",
   SIAM J. Matrix Anal. Appl. 22, 155-172 (2000).
"""

import math
from collections.abc import Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.kronecker import Kronecker
from pipeline.solvers.circulant_preconditioners import (
    CirculantPreconditioner,
    check_spectrum,
    reciprocals,
)

_SWEEPS = 10
"""Most alternating updates of the factors in 3D; in 2D the start is the solution already."""

_SETTLED = 1e-6
"""Relative change of the product's norm at which the updates end."""

_NEGLIGIBLE = 1e-3
"""Eigenvalues relative to what is added to them that make no difference."""


class KroneckerPreconditioner:
    """The inverse of the Kronecker product nearest to a Toeplitz operator [1]_, [2]_.

    The parameters are those of `CirculantPreconditioner`, for a single frame.

    Attributes
    ----------
    energy
        Share of the squared Frobenius norm that the product holds, 0 to 1. Above 0.99 it is the
        better preconditioner, because it has no wrap-around; below, the circulant one is.
    factors
        Hermitian Toeplitz matrices ``(n_i, n_i)``.
    rank
        Eigenvectors that are told apart; the others have eigenvalues of no account.

    Notes
    -----
    Lag ``d`` occurs ``prod(N_i - |d_i|)`` times in the matrix, so the nearest Kronecker product is
    the nearest product of one vector an axis to the kernel times the root of that: a singular value
    decomposition in 2D, alternating least squares from the leading vectors in 3D.
    """

    def __init__(
        self,
        spectrum: torch.Tensor,
        shape: Sequence[int],
        *,
        regularization: float = 0.0,
        floor: float = 1e-3,
    ) -> None:
        check_spectrum(spectrum, shape, "KroneckerPreconditioner")
        if spectrum.ndim != len(shape):
            raise ShapeError(
                f"KroneckerPreconditioner: found a spectrum of shape {tuple(spectrum.shape)}, but "
                "it takes a single frame."
            )
        kernel = _weighted_kernel(spectrum.detach(), shape)
        total = float(torch.linalg.vector_norm(kernel)) ** 2
        vectors, size = _nearest_product(kernel)
        self.energy = size**2 / total if total > 0 else 1.0
        self.factors = [
            _hermitian_toeplitz(vector, int(n)) for vector, n in zip(vectors, shape, strict=True)
        ]
        self.factors[0] = self.factors[0] * size
        parts = [torch.linalg.eigh(factor) for factor in self.factors]
        largest = math.prod(float(values[-1]) for values, _ in parts)
        # Vectors whose eigenvalues vanish beside what is added to them are not needed one by one.
        small = _NEGLIGIBLE * max(regularization, floor * largest)
        eigenvalues = torch.ones((), dtype=torch.float64, device=spectrum.device)
        bases = []
        for values, basis in parts:
            kept = values * largest >= small * values[-1]
            eigenvalues = eigenvalues[..., None] * values[kept]
            bases.append(basis[:, kept].mH.to(spectrum.dtype.to_complex()))
        self._analysis = Kronecker(bases)
        self.rank = math.prod(self._analysis.codomain)
        axes = tuple(range(-len(shape), 0))
        # The largest eigenvalue is kept, so that the floor is as if none were left out.
        inverse = reciprocals(eigenvalues.clamp(min=0), regularization, floor, axes)
        whole = self._analysis.codomain == self._analysis.domain
        least = max(regularization, floor * (largest + regularization))
        self._elsewhere = 0.0 if whole else 1 / least
        self._beyond_elsewhere = (inverse - self._elsewhere).to(spectrum.dtype)

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        """Apply the preconditioner to images ``(..., *shape)``."""
        inside = self._analysis.adjoint(self._analysis(r).mul_(self._beyond_elsewhere))
        return inside.add_(r, alpha=self._elsewhere) if self._elsewhere else inside


def _weighted_kernel(spectrum: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the kernel at lags ``1 - N .. N - 1`` an axis, times the root of their numbers."""
    axes = tuple(range(spectrum.ndim))
    kernel = torch.fft.ifftn(spectrum, dim=axes, norm="forward")
    for axis, size in enumerate(shape):
        lags = torch.arange(1 - int(size), int(size), device=spectrum.device)
        roots = (int(size) - lags.abs()).to(spectrum.dtype).sqrt()
        kernel = kernel.index_select(axis, lags % kernel.shape[axis])
        kernel.mul_(roots.reshape(-1, *(1,) * (kernel.ndim - axis - 1)))
    weighted: torch.Tensor = kernel
    return weighted


def _nearest_product(kernel: torch.Tensor) -> tuple[list[torch.Tensor], float]:
    """Return unit vectors in double precision whose outer product, times a size, is nearest."""
    vectors = []
    for axis in range(kernel.ndim):
        unfolded = kernel.movedim(axis, 0).flatten(1)
        squared = (unfolded @ unfolded.mH).to(torch.complex128)
        vectors.append(torch.linalg.eigh(squared).eigenvectors[:, -1])
    size, last = torch.zeros(()), 0.0
    for _ in range(1 if kernel.ndim == 1 else _SWEEPS):
        for axis in range(kernel.ndim):
            rest = kernel
            # From the last axis to the first, so that the numbers of the others stay.
            for other in reversed(range(kernel.ndim)):
                if other != axis:
                    vector = vectors[other].conj().to(kernel.dtype)
                    rest = torch.tensordot(rest, vector, dims=([other], [0]))
            rest = rest.to(torch.complex128)
            size = torch.linalg.vector_norm(rest)
            vectors[axis] = rest / torch.where(size > 0, size, 1.0)
        settled, last = float(size) <= (1 + _SETTLED) * last, float(size)
        if settled:
            break
    # The phases of the vectors cancel in their product; take each as near to Hermitian as it gets.
    return [_without_phase(vector) for vector in vectors], float(size)


def _without_phase(vector: torch.Tensor) -> torch.Tensor:
    """Multiply a vector over lags by the phase with which ``v[-d] = conj(v[d])``, ``v[0] > 0``."""
    asymmetry = torch.sum(vector * vector.flip(0))
    vector = vector * torch.polar(torch.ones_like(asymmetry.real), -asymmetry.angle() / 2)
    middle = vector[len(vector) // 2].real
    return vector * (-1.0 if float(middle) < 0 else 1.0)


def _hermitian_toeplitz(vector: torch.Tensor, size: int) -> torch.Tensor:
    """Return the matrix with ``vector / sqrt(N - |d|)`` on its diagonals, made Hermitian."""
    lags = torch.arange(1 - size, size, dtype=torch.float64, device=vector.device)
    diagonals = vector / (size - lags.abs()).sqrt()
    diagonals = (diagonals + diagonals.flip(0).conj()) / 2
    index = torch.arange(size, device=vector.device)
    matrix: torch.Tensor = diagonals[index[:, None] - index[None, :] + size - 1]
    return matrix


def toeplitz_preconditioner(
    spectrum: torch.Tensor,
    shape: Sequence[int],
    *,
    regularization: float = 0.0,
    floor: float = 1e-3,
    energy: float = 0.99,
) -> CirculantPreconditioner | KroneckerPreconditioner:
    """Return the nearest Kronecker product if it holds enough of the energy, else the circulant.

    The parameters are those of the preconditioners; several frames are always circulant.
    """
    if spectrum.ndim == len(shape):
        nearest = KroneckerPreconditioner(
            spectrum, shape, regularization=regularization, floor=floor
        )
        if nearest.energy > energy:
            return nearest
    return CirculantPreconditioner(spectrum, shape, regularization=regularization, floor=floor)
