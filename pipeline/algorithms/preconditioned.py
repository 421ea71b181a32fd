"""The preconditioner that algorithms with conjugate gradients share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pipeline.algorithms.base import Problem, SolverSettings
from pipeline.errors import ConfigError
from pipeline.operators.toeplitz_memory import INVERTED_AT_ONCE, circulant_bytes, padded_shape

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.operators.base import LinearOperator
    from pipeline.solvers.cg import Preconditioner
    from pipeline.solvers.normal import Gram, SingleKernel


class PreconditionedSettings(SolverSettings):
    """An algorithm that solves by conjugate gradients."""

    preconditioner: Literal["auto", "none", "spectrum", "circulant", "kronecker"] = "auto"
    """Preconditioner of the conjugate gradients. `spectrum` is the mean gain of each spatial
    frequency and its Wiener weight, as `calibrate` found them (cg-sense). `kronecker` is used where
    a Kronecker product holds 99 % of the normal operator's energy, else `circulant`, which knows
    the coils where their maps stay in memory and have squares that sum to about one. Of a temporal
    basis both are a circulant matrix between the coefficients. `auto` is
    `spectrum` for cg-sense with `regularization: wiener`, else none."""

    @property
    def single_kernel(self) -> bool:
        """Whether its preconditioner is that of a single Toeplitz kernel, or a matrix of them."""
        return self.preconditioner in ("circulant", "kronecker")

    @property
    def uses_spectrum(self) -> bool:
        """Whether its preconditioner is made of signal and noise."""
        return self.preconditioner == "spectrum"

    def with_preconditioner(
        self, vectors: int, batch: Sequence[int], *, itemsize: int, kernels: int
    ) -> int:
        """Return the bytes of a solver's vectors and of the preconditioner, as of `vectors`."""
        if self.preconditioner in ("auto", "none"):
            return vectors
        if self.preconditioner == "spectrum":
            return vectors + circulant_bytes(batch[1:], itemsize=itemsize, images=0)
        if self.subspace:
            resident, setup = matrix_preconditioner_bytes(batch, itemsize=itemsize, kernels=kernels)
            return max(vectors + resident, setup)
        resident, setup = preconditioner_bytes(
            batch[1:],
            itemsize=itemsize,
            kronecker=self.preconditioner == "kronecker",
            frames=kernels,
        )
        return max(vectors + resident, setup)

    def preconditioner_of(
        self, problem: Problem, shift: Tensor, prior: LinearOperator | None = None
    ) -> Preconditioner | None:
        """Return a preconditioner of ``G + shift + prior``; `None` if the settings want none.

        Raises
        ------
        ConfigError
            If the normal operator is not of a single Toeplitz kernel, nor of a matrix of them.
        DataError
            If it needs the spectrum and that is not known.
        """
        if self.preconditioner in ("auto", "none"):
            return None
        if self.preconditioner == "spectrum":
            regularised, mean = prior is not None, float(shift.mean())
            return problem.known_spectrum().preconditioner(mean, regularised=regularised)
        from pipeline.operators.terms import MatrixNormal
        from pipeline.solvers.circulant_preconditioners import (
            CirculantPreconditioner,
            MatrixCirculantPreconditioner,
        )
        from pipeline.solvers.kronecker_preconditioner import toeplitz_preconditioner
        from pipeline.solvers.normal import ScaledGram

        gram: Gram = problem.normal.gram
        factor = 1.0
        if isinstance(gram, ScaledGram):
            factor, gram = gram.factor, gram.gram
        maps: Tensor | None = getattr(gram, "maps", None)
        kernel: SingleKernel | MatrixNormal | None = getattr(gram, "kernel", None)
        if kernel is None:
            raise ConfigError(
                f"{problem.who}: `preconditioner: {self.preconditioner}` needs a normal operator "
                "of a single Toeplitz kernel: MRI with `normal: toeplitz`, RF pairs with "
                "`model: W`; leave it out"
            )
        shape = kernel.shape
        if isinstance(kernel, MatrixNormal):
            # That of the operator without its factor, times the inverse of that.
            inverse = MatrixCirculantPreconditioner(
                kernel.spectra,
                kernel.domain[0],
                shape,
                regularization=float(shift.mean()) / factor,
                maps=maps,
            )
            return (lambda r: inverse(r).div_(factor)) if factor != 1 else inverse
        spectrum = kernel.spectrum
        if factor != 1:
            spectrum = spectrum * factor
        if spectrum.ndim > len(shape) and len(spectrum) == 1:
            spectrum = spectrum[0]
        framed = spectrum.ndim > len(shape)
        weight: Tensor | float = shift if framed else float(shift.mean())
        circulant = spectrum.shape[-len(shape) :] == shape
        if self.preconditioner == "circulant" or framed or circulant:
            return CirculantPreconditioner(spectrum, shape, regularization=weight, maps=maps)
        return toeplitz_preconditioner(spectrum, shape, regularization=float(weight))


def preconditioner_bytes(
    shape: Sequence[int], *, itemsize: int, kronecker: bool = False, frames: int = 1
) -> tuple[int, int]:
    """Predict the bytes of a preconditioner besides spectrum, input and output, for one coil.

    Parameters
    ----------
    shape, itemsize
        Image axes, and the bytes of a complex number.
    kronecker
        Whether the nearest Kronecker product is looked for (and kept, or not).
    frames
        Number of frames, each with a circulant preconditioner of its own.

    Returns
    -------
    resident, setup : int
        What stays, with the workspace of one application; and the peak while it is made. For the
        Kronecker product that is the kernel on the padded grid, and its cropped copies.
    """
    voxels, padded = math.prod(shape), math.prod(padded_shape(shape))
    means = 8 * max(n * p for n, p in zip(shape, padded_shape(shape), strict=True))
    circulant = frames * 2 * padded * (itemsize // 2) + 6 * means
    if not kronecker:
        return (frames + 1) * voxels * itemsize, circulant
    bases = 16 * sum(int(size) ** 2 for size in shape)
    return 4 * voxels * itemsize + bases, max(circulant, 3 * padded * itemsize + 6 * bases)


def matrix_preconditioner_bytes(
    batch: Sequence[int], *, itemsize: int, kernels: int
) -> tuple[int, int]:
    """Predict the same of a matrix of circulant operators between images ``(image, *shape)``.

    Besides the workspace of an application.
    """
    images, *shape = batch
    voxels, padded = math.prod(shape), math.prod(padded_shape(shape))
    means = 8 * max(n * p for n, p in zip(shape, padded_shape(shape), strict=True))
    inverse = kernels * voxels * (itemsize // 2)
    # Means along one axis and the spectrum of the next one; matrices, and their inverses.
    matrices = 4 * 16 * images**2 * max(INVERTED_AT_ONCE, math.prod(shape[1:]))
    making = max(2 * padded * (itemsize // 2) + 6 * means, 4 * voxels * itemsize, matrices)
    return inverse, inverse + making
