"""Sizes of Toeplitz operators, and what they take, in bytes. Pure, and without torch."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.operators.nufft_accuracy import Backend, choose_oversampling, smallest_tolerance
from pipeline.operators.nufft_memory import good_size, nufft_workspace_bytes
from pipeline.operators.tiling import Tiling

KERNEL_TOLERANCE = 1e-6
"""Relative l2 error of a kernel; that of the operator is up to 20 times larger in 3D."""

INVERTED_AT_ONCE = 2**14
"""Frequencies whose matrices between images a preconditioner inverts together."""

_GRID_LIMIT = 2**28
"""Bytes of the FFT grid above which the kernel is computed in pieces."""


def padded_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axes of the spectrum: fast FFT lengths of ``2 N - 1`` or more."""
    return tuple(good_size(2 * int(size) - 1) for size in shape)


def kernel_box(shape: Sequence[int], pieces: int) -> tuple[int, ...]:
    """Return the box of which `pieces` (1, 2, 4) cover the half kernel; even sizes are faster."""
    sizes = [2 * size for size in shape[:-1]] + [shape[-1]]
    for axis in range(len(shape) - 1):
        if pieces > 1:
            sizes[axis] = shape[axis]
            pieces //= 2
    return tuple(sizes)


def kernel_pieces(shape: Sequence[int], oversampling: float, itemsize: int) -> int:
    """Return in how many boxes the kernel is computed: 1, 2 or, in 3D, 4."""
    grid = itemsize * math.prod(2 * n * oversampling for n in shape) / 2
    pieces = 1
    while grid / pieces > _GRID_LIMIT and pieces < 2 ** (len(shape) - 1):
        pieces *= 2
    return pieces


def toeplitz_spectrum_bytes(shape: Sequence[int], *, itemsize: int, frames: int = 1) -> int:
    """Return the bytes of the spectra, real numbers of half of `itemsize`."""
    return frames * math.prod(padded_shape(shape)) * (itemsize // 2)


def toeplitz_spectrum_workspace_bytes(
    shape: Sequence[int], samples: int, *, backend: Backend, itemsize: int = 8, threads: int = 1
) -> int:
    """Predict the bytes that `toeplitz_spectrum` needs for one frame besides input and spectra.

    `backend` is the library of the NUFFT, `itemsize` that of a complex number of the spectrum's
    precision.
    """
    tolerance = KERNEL_TOLERANCE
    dtype = np.dtype(np.complex64) if itemsize == 8 else np.dtype(np.complex128)
    if tolerance < smallest_tolerance(backend, shape, dtype):
        itemsize, dtype = 16, np.dtype(np.complex128)
    oversampling = choose_oversampling(backend, tolerance, dtype, len(shape))
    box = kernel_box(shape, kernel_pieces(shape, oversampling, itemsize))
    padded = padded_shape(shape)
    half = math.prod(padded[:-1]) * (padded[-1] // 2 + 1) * itemsize
    transform, _ = nufft_workspace_bytes(
        box,
        samples,
        1,
        backend=backend,
        tolerance=tolerance,
        itemsize=itemsize,
        threads=threads,
    )
    # Also weights, shifted weights and the trajectory with its sign changed.
    gridding = transform + math.prod(box) * itemsize + samples * itemsize * (3 + len(shape)) // 2
    return int(1.05 * (half + max(gridding, toeplitz_spectrum_bytes(shape, itemsize=itemsize))))


def matrix_normal_bytes(tiling: Tiling, images: int, threads: int) -> int:
    """Predict the bytes of `MatrixNormal` besides spectra, input and output."""
    total = images * tiling.image_bytes
    if tiling.host:
        # Of each worker: transforms of all terms, their parts, what comes of them.
        plane = math.prod(tiling.padded[1:]) * tiling.itemsize
        slab = 4 * images * tiling.planes(2 * images) * plane
        columns = (tiling.padded[0] + tiling.shape[0]) * tiling.columns() * tiling.itemsize
        return total + threads * (slab + columns + 2**21)
    return (
        total + 8 * images * tiling.planes(images) * math.prod(tiling.padded[1:]) * tiling.itemsize
    )


def circulant_bytes(shape: Sequence[int], *, itemsize: int, images: int = 1) -> int:
    """Return the bytes that the operator keeps, and those of its result for so many images."""
    return (images * itemsize + itemsize // 2) * math.prod(shape)
