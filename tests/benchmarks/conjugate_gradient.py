"""Textbook conjugate gradients, for the peers that bring no solver of their own."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np


def conjugate_gradient(
    normal: Callable[[Any], Any], b: Any, iterations: int, damping: float = 0.0
) -> Any:
    """Iterate ``x`` towards ``normal(x) + damping x = b`` from zero.

    Parameters
    ----------
    normal
        The normal operator on ``[frame, ...]``.
    b
        Right-hand side ``[frame, ...]``, a NumPy array or a tensor; frames are independent.
    iterations
        Number of applications of ``normal``.
    damping
        Added to the diagonal of ``normal``.
    """
    return deque(islice(iterates(normal, b, damping), iterations), maxlen=1).pop()


def iterates(
    normal: Callable[[Any], Any],
    b: Any,
    damping: float = 0.0,
    preconditioner: Callable[[Any], Any] = lambda residual: residual,
) -> Iterator[Any]:
    """Yield the iterates without end."""
    x = 0 * b
    residual, direction = b, preconditioner(b)
    energy = _inner(residual, direction)
    while True:
        image = normal(direction) + damping * direction
        step = _broadcast(energy / _inner(direction, image), b)
        x = x + step * direction
        yield x
        residual = residual - step * image
        ahead = preconditioner(residual)
        previous, energy = energy, _inner(residual, ahead)
        direction = ahead + _broadcast(energy / previous, b) * direction


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
