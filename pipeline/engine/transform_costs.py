"""Bytes and seconds of the transforms that forward models are made of. Pure."""

import math
from collections.abc import Sequence

from pipeline.engine.rates import Rates, fft_flops, toeplitz_flops
from pipeline.engine.work import STORED_NUMBER, Parts, Work
from pipeline.operators.nufft_accuracy import LEAST_ASKED, choose_oversampling
from pipeline.operators.nufft_memory import (
    grid_fourier_bytes,
    nufft_workspace_bytes,
    parallel_transforms,
)
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz_memory import (
    KERNEL_TOLERANCE,
    kernel_pieces,
    padded_shape,
    toeplitz_spectrum_bytes,
    toeplitz_spectrum_workspace_bytes,
)

_TRANSFORMS_A_TILE = 10
"""Gridding should take so many times as long as the transform of the grid that each tile needs."""


def nufft_bytes(
    work: Work, samples: int, channels: int = 1, *, trajectories: int = 1, as_coils: bool = True
) -> tuple[int, int]:
    """Return what the transform of a tile needs while it runs, and what it holds between calls.

    Channels that are passed as a batch, not ``as_coils``, are transformed one after the other.
    """
    machine = work.machine
    if work.model.on_grid:
        return grid_fourier_bytes(
            work.shape,
            samples,
            channels * work.image_batch // trajectories,
            itemsize=machine.itemsize,
            frames=trajectories,
        )
    library = machine.image_library(work.shape)
    workers = parallel_transforms(
        work.shape,
        trajectories,
        channels if as_coils else 1,
        backend=library,
        threads=machine.threads,
        deterministic=machine.deterministic,
    )
    return nufft_workspace_bytes(
        work.shape,
        samples,
        channels * work.image_batch // trajectories,
        backend=library,
        tolerance=machine.image_nufft.tolerance,
        itemsize=machine.itemsize,
        frames=trajectories,
        threads=machine.threads,
        workers=workers,
        oversampling=machine.image_oversampling(work.shape),
    )


def kernel_bytes(work: Work, samples: int) -> int:
    """Return what making the kernel of a tile needs besides its spectrum."""
    machine = work.machine
    if work.model.on_grid:
        return grid_fourier_bytes(work.shape, samples, 0, itemsize=machine.itemsize)[0]
    return toeplitz_spectrum_workspace_bytes(
        work.shape,
        samples,
        backend=machine.kernel_library(work.shape),
        itemsize=machine.itemsize,
        threads=machine.threads,
    )


def spectrum_bytes(work: Work, kernels: int) -> int:
    """Return the bytes of the spectra of so many kernels."""
    if work.model.on_grid:
        return kernels * work.voxel_bytes // 2
    return toeplitz_spectrum_bytes(work.shape, itemsize=work.machine.itemsize, frames=kernels)


def convolution_bytes(work: Work, together: int, frames: int = 1) -> Parts:
    """Return what products with the kernels need, of so many channels and images at once."""
    tiling = product_tiling(work)
    product = tiling.workspace_bytes(together, frames, work.machine.threads)
    return {"spectra": spectrum_bytes(work, work.kernels), "Toeplitz product": product}


def product_tiling(work: Work) -> Tiling:
    """Return the pieces in which a product with a kernel is computed."""
    return work.machine.product_tiling(work.shape, on_grid=work.model.on_grid)


def product_flops(work: Work) -> float:
    """Return the operations that one product with a kernel is counted as."""
    if work.model.on_grid:
        return 2 * fft_flops(math.prod(work.shape))
    return toeplitz_flops(work.shape)


def kernel_width(tolerance: float, oversampling: float) -> int:
    """Return the points per axis of a gridding kernel of this tolerance [1]_.

    References
    ----------
    .. [1] A. H. Barnett, "Aliasing error of the exp(beta sqrt(1 - z^2)) kernel in the nonuniform
       fast Fourier transform", Appl. Comput. Harmon. Anal. 51, 1-16 (2021), equation 3.
    """
    decay = math.pi * math.sqrt(1 - 1 / oversampling)
    return max(2, math.ceil(math.log(3 / tolerance) / decay))


def transform_work(
    shape: Sequence[int],
    samples: float,
    *,
    tolerance: float,
    oversampling: Sequence[float],
    itemsize: int,
) -> tuple[float, float]:
    """Return the grid points that gridding so many samples updates, and the grid's operations."""
    asked = max(tolerance, LEAST_ASKED) if itemsize == 8 else tolerance
    points = samples * math.prod(kernel_width(asked, factor) for factor in oversampling)
    grid = math.prod(factor * size for factor, size in zip(oversampling, shape, strict=True))
    return points, fft_flops(grid)


def transform_seconds(work: Work, samples: float, rates: Rates) -> tuple[float, float]:
    """Return the seconds to grid so many samples of an image, and of the transform of the grid."""
    machine = work.machine
    if work.model.on_grid:
        return samples / rates.sort, fft_flops(math.prod(work.shape)) / rates.fft
    points, flops = transform_work(
        work.shape,
        samples,
        tolerance=machine.image_nufft.tolerance,
        oversampling=machine.image_oversampling(work.shape),
        itemsize=machine.itemsize,
    )
    return points / rates.spread, flops / rates.fft


def kernel_seconds(work: Work, samples: float, tiles: int, rates: Rates) -> float:
    """Return the seconds to make the kernel of one trajectory."""
    machine = work.machine
    if work.model.on_grid:
        return samples / rates.sort
    library = machine.kernel_library(work.shape)
    axes = len(work.shape)
    oversampling = choose_oversampling(library, KERNEL_TOLERANCE, machine.precision, axes)
    pieces = kernel_pieces(work.shape, oversampling, machine.itemsize)
    points, flops = transform_work(
        (*(2 * size for size in work.shape[:-1]), work.shape[-1]),
        samples,
        tolerance=KERNEL_TOLERANCE,
        oversampling=(oversampling,) * axes,
        itemsize=machine.itemsize,
    )
    flops += fft_flops(math.prod(padded_shape(work.shape))) / 2
    # The weights of all samples get phases for each piece, which takes as long as sorting them.
    ordered = (1 + pieces) * samples / rates.sort
    return ordered + pieces * points / rates.spread + tiles * flops / rates.fft


def gridding_seconds(
    work: Work, *, channels: int, tiles: int, trajectories: int, rates: Rates
) -> tuple[float, float]:
    """Return the seconds of right-hand side and kernels of all images, from scattered samples.

    ``channels`` are transforms of the same samples, ``tiles`` those of an image, ``trajectories``
    those of all images.
    """
    samples = float(work.readouts * work.model.samples)
    gridding, transform = transform_seconds(work, samples, rates)
    passes = 6 * work.voxel_bytes / rates.memory
    weighing = 12 * STORED_NUMBER * samples / rates.memory
    right = samples / rates.sort + channels * (weighing + gridding + tiles * (transform + passes))
    kernels = trajectories * work.makes_kernels
    kernel = kernels * kernel_seconds(work, samples, tiles, rates) if kernels else 0.0
    return work.images * right, kernel


def gridding_tile(work: Work, transforms: int, rates: Rates) -> tuple[int, int]:
    """Return the bytes of a readout in a tile, and the fewest readouts that pay."""
    samples = work.model.samples
    gridding, transform = transform_seconds(work, float(samples), rates)
    enough = math.ceil(_TRANSFORMS_A_TILE * transform / gridding)
    return samples * transforms * STORED_NUMBER, enough
