"""The preconditioner that algorithms with conjugate gradients share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pipeline.algorithms.base import Problem, SolverSettings
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.operators.toeplitz import Toeplitz
    from pipeline.solvers.cg import Preconditioner
    from pipeline.solvers.normal import Gram


class PreconditionedSettings(SolverSettings):
    """An algorithm that solves by conjugate gradients."""

    preconditioner: Literal["none", "circulant", "kronecker"] = "none"
    """Preconditioner of the conjugate gradients. `kronecker` is used where a Kronecker product
    holds 99 % of the normal operator's energy, else `circulant`."""

    def with_preconditioner(
        self, vectors: int, batch: Sequence[int], *, itemsize: int, kernels: int
    ) -> int:
        """Return the bytes of a solver's vectors and of the preconditioner, as of `vectors`."""
        if self.preconditioner == "none":
            return vectors
        from pipeline.solvers.preconditioners import preconditioner_bytes

        resident, setup = preconditioner_bytes(
            batch[1:],
            itemsize=itemsize,
            kronecker=self.preconditioner == "kronecker",
            frames=kernels,
        )
        return max(vectors + resident, setup)

    def preconditioner_of(self, problem: Problem, shift: Tensor) -> Preconditioner | None:
        """Return a preconditioner of ``G + shift``; `None` if the settings want none.

        Raises
        ------
        ConfigError
            If the normal operator is not of a single Toeplitz kernel.
        """
        if self.preconditioner == "none":
            return None
        from pipeline.solvers.preconditioners import (
            CirculantPreconditioner,
            toeplitz_preconditioner,
        )

        toeplitz = _toeplitz_of(problem.normal.gram)
        if toeplitz is None:
            raise ConfigError(
                f"{problem.who}: `preconditioner: {self.preconditioner}` needs a normal operator "
                "of a single Toeplitz kernel: MRI with `normal: toeplitz`, RF pairs with "
                "`model: W`; leave it out"
            )
        spectrum, shape = toeplitz.spectrum, toeplitz.shape
        if toeplitz.frames and len(spectrum) == 1:
            spectrum = spectrum[0]
        framed = spectrum.ndim > len(shape)
        weight: Tensor | float = shift if framed else float(shift.mean())
        if self.preconditioner == "circulant" or framed:
            return CirculantPreconditioner(spectrum, shape, regularization=weight)
        return toeplitz_preconditioner(spectrum, shape, regularization=float(weight))


def _toeplitz_of(gram: Gram) -> Toeplitz | None:
    """Return the one-coil Toeplitz operator that a normal operator is made of, if it is one."""
    from pipeline.operators.sense import SenseNormal
    from pipeline.operators.toeplitz import Toeplitz

    operator = gram.normal if isinstance(gram, SenseNormal) else gram
    return operator if isinstance(operator, Toeplitz) else None
