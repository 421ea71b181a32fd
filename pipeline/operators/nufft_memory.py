"""What a NUFFT takes beside its input and output, in bytes. Pure, and without torch."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.operators.nufft_accuracy import Backend, PerAxis, choose_oversampling, per_axis

SMALL_IMAGE = 2**18
"""Voxels below which whole transforms are shared between threads, rather than each one split."""

_GROUPED = 2**29
"""Bytes of FFT grids that are filled together, where a sample serves many transforms at once."""


def good_size(size: int) -> int:
    """Return the least length of at least `size` whose largest prime factor is 7 or less.

    Such lengths are fast in every library, and the answer does not depend on the machine.
    """
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


def grouped_grids(grid: int) -> int:
    """Return how many transforms, each with a grid of so many bytes, triton does in one call."""
    return max(1, _GROUPED // grid)


def parallel_transforms(
    shape: Sequence[int],
    frames: int,
    coils: int,
    *,
    backend: Backend,
    threads: int,
    deterministic: bool,
) -> int:
    """Return how many transforms run at a time, each on one thread; 1 where each uses them all."""
    if backend in ("cufinufft", "triton", "torchkbnufft"):
        return 1
    if deterministic or (math.prod(shape) <= SMALL_IMAGE and frames * coils >= threads):
        return min(threads, frames * coils)
    return 1


def nufft_workspace_bytes(
    shape: Sequence[int],
    samples: int,
    transforms: int,
    *,
    backend: Backend,
    tolerance: float,
    itemsize: int,
    frames: int = 1,
    threads: int = 1,
    workers: int = 1,
    oversampling: PerAxis = None,
) -> tuple[int, int]:
    """Predict what a `NUFFT` holds besides its input and output; builds nothing.

    Parameters
    ----------
    samples, transforms
        Of one trajectory; the transforms of one call are coils times batch.
    itemsize
        Bytes of a complex number: 8 or 16.
    frames
        Number of trajectories.
    workers
        Transforms that run at a time (`parallel_transforms`).

    Returns
    -------
    working, resident
        Bytes while it transforms, of plans and FFT grids, and between two calls.
    """
    if oversampling is None:
        dtype = np.dtype(np.complex64 if itemsize == 8 else np.complex128)
        oversampling = choose_oversampling(backend, tolerance, dtype, len(shape))
    factors = per_axis(oversampling, len(shape))
    grid = math.prod(math.ceil(f * n) for f, n in zip(factors, shape, strict=True)) * itemsize
    coordinates = len(shape) * samples * itemsize // 2
    plans = frames * min(transforms, -(-workers // frames))
    small = math.prod(shape) <= SMALL_IMAGE
    if backend == "ducc0":
        kept = coordinates + 4 * samples
        # While it sorts, a plan holds the coordinates as given and keys of its own.
        sorting = (plans - 1) * kept + 2 * coordinates + 16 * samples
        return max(sorting, plans * kept + int(1.1 * workers * grid)), plans * kept
    if backend == "finufft":
        # Several small images at a time, one for each thread.
        at_once = min(transforms, threads) if small and workers == 1 else workers
        converted = frames * coordinates if itemsize == 16 else 0
        # The allocator keeps grids of up to 32 MiB for the next one, which may not fit into them.
        reserve = min(grid, 2**25)
        working = converted + int(1.1 * (plans * 8 * samples + 1.1 * at_once * grid + reserve))
        return working, plans * 8 * samples + converted
    if backend == "cufinufft":
        # Plans of both directions keep their grids, and cuFFT a work area of the same size.
        at_once = min(transforms, 8) if small else 1
        plan = 8 * samples + 2 * at_once * grid
        return frames * (coordinates + 2 * plan), frames * (coordinates + plan)
    if backend == "triton":
        grid = itemsize * math.prod(
            good_size(math.ceil(f * n)) for f, n in zip(factors, shape, strict=True)
        )
        # Of each sample three grid points, three distances and its place in the order.
        plan = samples * (12 + 3 * itemsize // 2 + 8)
        # Sorting holds them twice, and coordinates, keys, their order and as much to work in.
        sorting = coordinates + samples * (12 + 3 * itemsize // 2 + 56)
        # What is transformed, what comes of it, and a work area of cuFFT's.
        grids = 3 * min(transforms, grouped_grids(grid)) * grid
        return frames * plan + max(sorting, grids), frames * plan
    # torchkbnufft: indices, coefficients and products of every sample are tensors of their own.
    interpolation = samples * itemsize // 8 * (60 + 100 * len(shape) + 124 * transforms)
    return int(2.3 * transforms * grid) + 3 * math.prod(shape) * itemsize + interpolation, 0


def grid_fourier_bytes(
    shape: Sequence[int], samples: int, transforms: int, *, itemsize: int, frames: int = 1
) -> tuple[int, int]:
    """Predict what a `GridFourier` holds besides its input and output.

    Parameters are those of `nufft_workspace_bytes`, and so is what
    is returned: bytes while it transforms, and between two calls.
    """
    resident = frames * samples * (8 + itemsize)
    # While it is made: cycles and index in double precision.
    making = frames * samples * (8 * (3 * len(shape) + 3) + itemsize)
    working = transforms * frames * 2 * (math.prod(shape) + samples) * itemsize
    return max(making, resident + working), resident
