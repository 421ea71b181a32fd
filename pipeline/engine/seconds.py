"""Predicted wall time of a job, from operation counts and the machine's rates. Pure.

It decides how many images or which part of a measurement make a job of bearable length, and how
much time to ask a scheduler for. It does not decide what is computed.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat

from pipeline.config.reconstruction import ReconstructionSettings
from pipeline.engine.work import MriSizes, PairSizes, Work
from pipeline.mri.model.memory import KERNEL_TOLERANCE
from pipeline.operators.contraction import contraction_flops
from pipeline.operators.nufft_backends import choose_oversampling
from pipeline.operators.toeplitz import kernel_pieces, padded_shape
from pipeline.rf.model.normal_costs import LATENCY, TILE_LATENCIES

_SINGLE = 3e-6


class Rates(BaseModel):
    """What a machine sustains with all threads of a job; `kronufft tune` measures them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spread: PositiveFloat
    """Grid points that gridding and interpolation update a second: samples times the width of the
    kernel to the power of the axes."""
    sort: PositiveFloat
    """Samples a second that are sorted before they are gridded."""
    fft: PositiveFloat
    """Operations a second of transforms of a gridding grid, ``5 n log2 n`` of a complex one."""
    toeplitz: PositiveFloat
    """Operations a second of Toeplitz products, each counted as two transforms of the padded
    array."""
    gemm: PositiveFloat
    """Operations a second of complex matrix products."""
    memory: PositiveFloat
    """Bytes a second between memory and processor, of passes over images."""
    read: PositiveFloat
    """Bytes a second from storage to the device."""
    start: PositiveFloat
    """Seconds that a job takes besides, imports excluded: opening files, canary, writing."""

    @classmethod
    def host(cls, threads: int) -> "Rates":
        """Return the rates of a CPU: what was measured on two cores of an AMD EPYC, by thread."""
        many = min(threads, 16)
        return cls(
            spread=4e9 * many,
            sort=8.5e6 * many,
            fft=1.1e10 * many,
            toeplitz=3.5e10 * many,
            gemm=5e10 * many,
            memory=4e9 * min(threads, 8),
            read=1e9,
            start=0.5,
        )

    @classmethod
    def device(cls) -> "Rates":
        """Return the rates of a data-centre GPU: from data sheets, not measured."""
        return cls(
            spread=5e11,
            sort=5e9,
            fft=1e12,
            toeplitz=1.5e12,
            gemm=2e13,
            memory=1.5e12,
            read=1.5e9,
            start=3.0,
        )


def predicted_phases(work: Work, rates: Rates) -> Mapping[str, float]:
    """Return the predicted seconds of each phase of a job, named as in its receipt."""
    phases = {"start": rates.start}
    scale = work.machine.itemsize / 8
    if work.stage == "sum":
        share = 8 * math.prod(padded_shape(work.shape)) // 2 + work.voxel_bytes
        phases["sum shares"] = work.images * work.shards * share * scale / rates.read
    else:
        fraction = work.channels * work.readouts / (work.sizes.channels * work.sizes.readouts)
        phases["read"] = work.images * fraction * work.sizes.bytes_per_image / rates.read
        right, kernel = _accumulation(work, rates)
        phases["right_hand_side"] = right * scale
        phases["kernel"] = kernel * scale
    if work.stage != "accumulate" and work.solves:
        products = work.images * applications(work.settings)
        phases["solve"] = products * _application(work, rates) * scale
    phases["write"] = work.images * work.voxel_bytes / rates.read
    return phases


def predicted_seconds(work: Work, rates: Rates) -> float:
    """Return the predicted wall time of a job [s]."""
    return sum(predicted_phases(work, rates).values())


def accumulating_seconds(work: Work, rates: Rates) -> float:
    """Return the part of the time of a job that shards share [s]."""
    phases = predicted_phases(work, rates)
    return sum(phases.get(name, 0.0) for name in ("read", "right_hand_side", "kernel"))


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
    # What single precision can reach: a backend is not asked for more.
    asked = max(tolerance, _SINGLE) if itemsize == 8 else tolerance
    points = samples * math.prod(kernel_width(asked, factor) for factor in oversampling)
    grid = math.prod(factor * size for factor, size in zip(oversampling, shape, strict=True))
    return points, fft_flops(grid)


def transform_seconds(work: Work, samples: float, rates: Rates) -> tuple[float, float]:
    """Return the seconds to grid so many samples of an image, and of the transform of the grid."""
    machine = work.machine
    points, flops = transform_work(
        work.shape,
        samples,
        tolerance=machine.asked,
        oversampling=machine.image_oversampling(work.shape),
        itemsize=machine.itemsize,
    )
    return points / rates.spread, flops / rates.fft


def _kernel_seconds(work: Work, samples: float, tiles: int, rates: Rates) -> float:
    """Return the seconds to make the kernel of one trajectory."""
    machine = work.machine
    library = machine.library(work.shape, KERNEL_TOLERANCE, torch.complex128)
    axes = len(work.shape)
    oversampling = choose_oversampling(library, KERNEL_TOLERANCE, machine.dtype, axes)
    pieces = kernel_pieces(work.shape, oversampling, machine.itemsize)
    points, flops = transform_work(
        (*(2 * size for size in work.shape[:-1]), work.shape[-1]),
        samples,
        tolerance=KERNEL_TOLERANCE,
        oversampling=(oversampling,) * axes,
        itemsize=machine.itemsize,
    )
    flops += fft_flops(math.prod(padded_shape(work.shape))) / 2
    return samples / rates.sort + pieces * points / rates.spread + tiles * flops / rates.fft


def _accumulation(work: Work, rates: Rates) -> tuple[float, float]:
    """Return the seconds of right-hand side and kernel of all images."""
    sizes = work.sizes
    tiles = -(-work.readouts // work.readout_batch)
    if isinstance(sizes, PairSizes):
        blocks = work.channels * work.readouts
        flops = blocks * contraction_flops(sizes.rows, work.shape)
        columns = sum(m * n for m, n in zip(sizes.rows, work.shape, strict=True))
        right = flops / rates.gemm + 100 * blocks * columns / rates.memory
        half = math.prod(padded_shape(work.shape)) / 2
        kernel = blocks * 16 * half / rates.gemm + work.channels * 5 * 16 * half / rates.memory
        return work.images * right, work.images * kernel * work.toeplitz
    samples = float(work.readouts * sizes.samples)
    gridding, transform = transform_seconds(work, samples, rates)
    passes = work.channels if isinstance(sizes, MriSizes) else 1
    if not isinstance(sizes, MriSizes):
        tiles = sizes.apertures
    image_passes = 6 * work.voxel_bytes / rates.memory
    right = samples / rates.sort + passes * (gridding + tiles * (transform + image_passes))
    if not (work.toeplitz and work.makes_kernel):
        return work.images * right, 0.0
    kernel = _kernel_seconds(work, samples, tiles, rates)
    shared = isinstance(sizes, MriSizes) and sizes.shared_trajectory
    return work.images * right, (1 if shared else work.images) * kernel


def applications(settings: ReconstructionSettings) -> int:
    """Return how often an algorithm applies the normal operator to one image, at most."""
    match settings.algorithm:
        case "omp":
            return 2 * (settings.points or 1)
        case "admm":
            # Conjugate gradients that begin where they were end after some of their iterations.
            return settings.iterations * -(-settings.inner_iterations // 2)
        case "unrolled":
            return 10
    return settings.iterations + (settings.iterations // 2 if settings.debias else 0)


def _application(work: Work, rates: Rates) -> float:
    """Return the seconds of one application of the normal operator, and of the solver's part."""
    sizes = work.sizes
    vectors = 20 * work.unknowns * work.voxel_bytes / rates.memory
    if isinstance(sizes, PairSizes) and sizes.form == "factors":
        blocks = sizes.pairs * sizes.readouts
        columns = sum(m * n for m, n in zip(sizes.rows, work.shape, strict=True))
        product = 2 * blocks * contraction_flops(sizes.rows, work.shape) / rates.gemm
        product += sizes.pairs * TILE_LATENCIES * LATENCY
        if sizes.voxel_phase == "frequency":
            columns += math.prod(work.shape)
        making = 0 if sizes.resident else 50 * blocks * columns / rates.memory
        reading = sizes.reads_factors and not sizes.resident
        return product + max(making, reading * 8 * blocks * columns / rates.read) + vectors
    if not work.toeplitz:
        samples = float(sizes.readouts * sizes.samples)
        gridding, transform = transform_seconds(work, samples, rates)
        return 2 * sizes.channels * (gridding + transform) + vectors
    if isinstance(sizes, MriSizes):
        products = sizes.coils
        if sizes.maps and not sizes.resident:
            streaming = sizes.coils * work.voxel_bytes / rates.read / work.image_batch
            return max(streaming, products * toeplitz_flops(work.shape) / rates.toeplitz) + vectors
    elif isinstance(sizes, PairSizes):
        products = 1 if sizes.form == "collapsed" else sizes.pairs
    else:
        products = sizes.apertures
    return products * (LATENCY + toeplitz_flops(work.shape) / rates.toeplitz) + vectors


def toeplitz_flops(shape: Sequence[int]) -> float:
    """Return the operations that one Toeplitz product is counted as."""
    return 2 * fft_flops(math.prod(padded_shape(shape)))


def fft_flops(points: float) -> float:
    """Return the operations of a complex transform of so many points, all axes."""
    return 5 * points * math.log2(max(points, 2))
