"""Textbook conjugate gradients, for the peers that bring no solver of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np


def conjugate_gradient(normal: Callable[[Any], Any], b: Any, iterations: int) -> Any:
    """Iterate ``x`` towards ``normal(x) = b`` from zero.

    Parameters
    ----------
    normal
        The normal operator on ``[frame, ...]``.
    b
        Right-hand side ``[frame, ...]``, a NumPy array or a tensor; frames are independent.
    iterations
        Number of applications of ``normal``.
    """
    x = 0 * b
    residual, direction = b, b
    energy = _inner(residual, residual)
    for _ in range(iterations):
        image = normal(direction)
        step = _broadcast(energy / _inner(direction, image), b)
        x = x + step * direction
        residual = residual - step * image
        previous, energy = energy, _inner(residual, residual)
        direction = residual + _broadcast(energy / previous, b) * direction
    return x


def _inner(a: Any, b: Any) -> Any:
    """Return the real inner product of each frame, summed in double precision."""
    if isinstance(a, np.ndarray):
        return np.array(
            [np.sum((p.conj() * q).real, dtype=np.float64) for p, q in zip(a, b, strict=True)]
        )
    return (a.conj() * b).real.flatten(1).double().sum(1)


def _broadcast(factor: Any, array: Any) -> Any:
    """Give one factor a frame the rank of ``array`` and its precision."""
    factor = factor.reshape(-1, *(1 for _ in array.shape[1:]))
    return (
        factor.astype(array.real.dtype)
        if isinstance(array, np.ndarray)
        else factor.to(array.real.dtype)
    )
