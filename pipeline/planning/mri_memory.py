"""What the tiles of MRI data need while they are summed. Pure."""

import torch

from pipeline.operators.nufft import (
    nufft_resident_bytes,
    nufft_workspace_bytes,
    parallel_transforms,
)
from pipeline.operators.nufft_backends import smallest_tolerance
from pipeline.operators.toeplitz import toeplitz_spectrum_bytes, toeplitz_spectrum_workspace_bytes
from pipeline.planning.parts import Parts, Phases, reading_bytes, tile_bytes
from pipeline.planning.work import MriSizes, Work
from pipeline.streaming.stream import TILES_AT_ONCE

KERNEL_TOLERANCE = 1e-6


def _trajectories(work: Work) -> int:
    assert isinstance(work.sizes, MriSizes)
    return 1 if work.sizes.shared_trajectory else work.image_batch


def _position_bytes(work: Work) -> int:
    """Return the bytes of trajectory and weights of one tile, as they are read."""
    real = work.machine.itemsize // 2
    return _trajectories(work) * work.tile_samples * (4 * len(work.shape) + real)


def nufft_bytes(work: Work, samples: int, channels: int) -> tuple[int, int]:
    """Return what the transform of a tile needs while it runs, and what it holds between calls."""
    machine = work.machine
    trajectories = _trajectories(work)
    library = machine.library(work.shape, machine.tolerance, machine.dtype)
    transforms = channels * (work.image_batch if trajectories == 1 else 1)
    workers = parallel_transforms(
        work.shape,
        trajectories,
        channels,
        backend=library,
        threads=machine.threads,
        deterministic=machine.deterministic,
    )
    sizes = {
        "backend": library,
        "tolerance": machine.tolerance,
        "itemsize": machine.itemsize,
        "frames": trajectories,
        "workers": workers,
    }
    working = nufft_workspace_bytes(
        work.shape,
        samples,
        transforms,
        threads=machine.threads,
        **sizes,  # type: ignore[arg-type]
    )
    return working, nufft_resident_bytes(work.shape, samples, transforms, **sizes)  # type: ignore[arg-type]


def kernel_bytes(work: Work, samples: int) -> int:
    """Return what making the kernel of a tile needs besides its spectrum."""
    machine = work.machine
    try_single = work.machine.dtype
    dtype = try_single
    library = machine.library(work.shape, KERNEL_TOLERANCE, torch.complex128)
    if smallest_tolerance(library, work.shape, dtype) > KERNEL_TOLERANCE:
        dtype = torch.complex128
    return toeplitz_spectrum_workspace_bytes(
        work.shape,
        samples,
        backend=library,
        itemsize=machine.itemsize,
        threads=machine.threads,
    )


def accumulate_mri(work: Work) -> Phases:
    """Return what is held while tiles are summed, and what each phase adds.

    Two tiles are there at any moment: the one in work, and the one that is being read.
    """
    machine, sizes = work.machine, work.sizes
    assert isinstance(sizes, MriSizes)
    voxels = work.voxel_bytes
    double = machine.itemsize == 16
    tile, positions = tile_bytes(work), _position_bytes(work)
    working, resident = nufft_bytes(work, work.tile_samples, work.channel_batch)
    # One trajectory in work, one on its way, and while that is made the stored one and its copy.
    reading = reading_bytes(work) + work.tile_samples * 4 * (2 * len(work.shape) + 2)
    always = {
        "right-hand side": work.image_batch * voxels,
        "k-space tiles": TILES_AT_ONCE * tile,
        "positions": TILES_AT_ONCE * positions
        + (_trajectories(work) * work.tile_samples * 8 * len(work.shape) if double else 0),
    }
    if not machine.on_device:
        always["reading"] = reading
    single = toeplitz_spectrum_bytes(work.shape, itemsize=machine.itemsize)
    frames = _trajectories(work)
    tiles = -(-work.readouts // work.readout_batch)
    makes_kernel = work.toeplitz and work.makes_kernel
    summed = frames * single if makes_kernel and (tiles > 1 or sizes.shared_trajectory) else 0
    squares = work.channel_batch * work.image_batch * voxels if sizes.squares else 0
    gather: Parts = {
        "gridded coils": work.image_batch * (work.channel_batch + 1) * voxels + squares,
        "NUFFT": working,
        "tile in double precision": 2 * tile if double else 0,
        "weights": _trajectories(work) * work.tile_samples * machine.itemsize // 2,
        "spectra": summed,
    }
    if not makes_kernel:
        return always, [gather]
    kernel: Parts = {
        "Toeplitz kernel": kernel_bytes(work, work.tile_samples),
        # Spectra of several images are made one by one and then stacked.
        "spectra": single * (1 if frames == 1 else 2 * frames) + (summed if tiles > 1 else 0),
        "NUFFT": resident,
    }
    return always, [gather, kernel]


def explicit_normal(work: Work) -> Parts:
    """Return what forward and adjoint need while equations are solved: all samples at once."""
    sizes = work.sizes
    assert isinstance(sizes, MriSizes)
    samples = sizes.readouts * sizes.samples
    channels = work.channel_batch if sizes.maps else 1
    working, _ = nufft_bytes(work, samples, channels)
    real = work.machine.itemsize // 2
    positions = _trajectories(work) * samples * (4 * len(work.shape) + real)
    if work.machine.itemsize == 16:
        positions += _trajectories(work) * samples * 8 * len(work.shape)
    return {
        "trajectory": positions,
        "NUFFT": working,
        "coils": 3 * work.image_batch * channels * work.voxel_bytes,
        "samples": 2 * work.image_batch * channels * samples * work.machine.itemsize,
    }
