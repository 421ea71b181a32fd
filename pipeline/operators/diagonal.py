"""Multiplication by given values: density weights, masks, phases."""

from collections.abc import Sequence

import torch

from pipeline.errors import ShapeError
from pipeline.operators.base import LinearOperator


class Diagonal(LinearOperator):
    """Multiply element by element.

    Parameters
    ----------
    values
        Real or complex tensor that broadcasts to `domain`: weights of shape ``(frame, 1, sample)``
        serve a domain ``(frame, coil, sample)``. Dimensionless.
    domain
        Shape of inputs and outputs; `values`' own shape if not given.
    """

    def __init__(self, values: torch.Tensor, domain: Sequence[int] | None = None) -> None:
        shape = tuple(values.shape if domain is None else domain)
        sizes = zip(reversed(values.shape), reversed(shape), strict=False)
        if values.ndim > len(shape) or any(size not in (1, whole) for size, whole in sizes):
            raise ShapeError(
                f"Diagonal: values of shape {tuple(values.shape)} do not broadcast to {shape}."
            )
        super().__init__(shape, shape, dtype=values.dtype.to_complex(), device=values.device)
        self.values = values

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.values

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.values.conj()
