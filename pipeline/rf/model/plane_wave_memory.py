"""Sizes and memory of what `plane_wave` makes, without torch."""

import math
from collections.abc import Sequence

from pipeline.operators.toeplitz_memory import padded_shape

_CHUNK = 2**26
"""Bytes of the arrays of those blocks that are added at a time."""


def half_shape(padded: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a Hermitian array without its redundant half."""
    return (*padded[:-1], padded[-1] // 2 + 1)


def voxel_groups(size: int) -> tuple[int, int]:
    """Return how many neighbours a group of voxels has, and how many groups there are."""
    fine = math.isqrt(size - 1) + 1
    return fine, -(-size // fine)


def _block_bytes(shape: Sequence[int], rows: Sequence[int]) -> int:
    """Return the bytes of the arrays of one block: phasors, kernels and their products."""
    padded = padded_shape(shape)
    lengths = half_shape(padded)
    phasors = max(
        # A phase, its negative, a one and a complex number each; both sets are alive.
        m * 2 * (math.isqrt(n - 1) + 1) * (3 * 8 + 16)
        for n, m in zip(shape, rows, strict=True)
    )
    kernels = 3 * sum(lengths)
    products = 2 * math.prod(lengths[1:]) if len(shape) > 2 else 0
    return phasors + 16 * (kernels + products)


def blocks_at_once(shape: Sequence[int], rows: Sequence[int], blocks: int) -> int:
    """Return how many blocks are added at a time."""
    return min(blocks, max(1, _CHUNK // _block_bytes(shape, rows)))


def plane_wave_factor_workspace_bytes(rows: int, size: int, *, itemsize: int) -> int:
    """Predict the bytes that `plane_wave_factor` needs besides its arguments and the factor.

    ``rows`` are those of all blocks, ``itemsize`` is of the factor: 8 or 16.
    """
    fine, coarse = voxel_groups(size)
    # A phase, its negative, a one and a complex number each for those in work; both sets stay.
    return rows * (max(fine, coarse) * (3 * 8 + 16) + (fine + coarse) * itemsize + size * itemsize)


def plane_wave_spectrum_workspace_bytes(
    shape: Sequence[int], rows: Sequence[int], blocks: int, *, itemsize: int
) -> int:
    """Predict the bytes of `plane_wave_spectrum` besides its arguments and the spectrum.

    ``rows`` are those of each factor, ``itemsize`` is of the operator's precision: 8 or 16.
    """
    half = math.prod(half_shape(padded_shape(shape)))
    adding = blocks_at_once(shape, rows, blocks) * _block_bytes(shape, rows)
    # Afterwards the rounded copy, and then the transform's own copy instead of the first one.
    return 16 * half + max(adding, itemsize * half)
