"""What the tiles of MRI data need while they are summed. Pure."""

import math

import torch

from pipeline.engine.parts import POSITIONS_AT_ONCE, Parts, reading_bytes, tile_bytes
from pipeline.engine.stream import TILES_AT_ONCE
from pipeline.engine.work import MriSizes, Work
from pipeline.operators.nufft import (
    nufft_resident_bytes,
    nufft_workspace_bytes,
    parallel_transforms,
)
from pipeline.operators.toeplitz import toeplitz_spectrum_bytes, toeplitz_spectrum_workspace_bytes
from pipeline.storage.chunks import CHUNK_BYTES

KERNEL_TOLERANCE = 1e-6
_CANARY_SAMPLES = 16384


def _trajectories(work: Work) -> int:
    assert isinstance(work.sizes, MriSizes)
    return 1 if work.sizes.shared_trajectory else work.image_batch


def _position_bytes(work: Work) -> int:
    """Return the bytes of trajectory and weights of one tile, as they are read."""
    real = work.machine.itemsize // 2
    return _trajectories(work) * work.tile_samples * (4 * len(work.shape) + real)


def nufft_bytes(
    work: Work, samples: int, channels: int, *, as_coils: bool = True
) -> tuple[int, int]:
    """Return what the transform of a tile needs while it runs, and what it holds between calls.

    Channels that are passed as a batch, not ``as_coils``, are transformed one after the other.
    """
    machine = work.machine
    trajectories = _trajectories(work)
    library = machine.image_library(work.shape)
    transforms = channels * (work.image_batch if trajectories == 1 else 1)
    workers = parallel_transforms(
        work.shape,
        trajectories,
        channels if as_coils else 1,
        backend=library,
        threads=machine.threads,
        deterministic=machine.deterministic,
    )
    sizes = {
        "backend": library,
        "tolerance": machine.asked,
        "oversampling": machine.image_oversampling(work.shape),
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
    library = machine.library(work.shape, KERNEL_TOLERANCE, torch.complex128)
    return toeplitz_spectrum_workspace_bytes(
        work.shape,
        samples,
        backend=library,
        itemsize=machine.itemsize,
        threads=machine.threads,
    )


def accumulate_mri(work: Work) -> list[Parts]:
    """Return what each phase needs while tiles are summed.

    While a tile is in work the next one is read, if there is one.
    """
    machine, sizes = work.machine, work.sizes
    assert isinstance(sizes, MriSizes)
    voxels = work.voxel_bytes
    double = machine.itemsize == 16
    trajectories = _trajectories(work)
    samples = trajectories * work.tile_samples
    tile, positions = tile_bytes(work), _position_bytes(work)
    ranges = -(-work.readouts // work.readout_batch)
    tiles = ranges * -(-work.channels // work.channel_batch)
    working, resident = nufft_bytes(work, work.tile_samples, work.channel_batch)
    single = toeplitz_spectrum_bytes(work.shape, itemsize=machine.itemsize)
    makes_kernel = work.toeplitz and work.makes_kernel
    summed = trajectories * single if makes_kernel and ranges > 1 else 0
    next_positions = positions if ranges > 1 else 0
    reading = reading_bytes(work) if tiles > 1 else 0
    if ranges > 1:
        # A piece of the stored trajectory, its magnitudes and what they are compared with.
        piece = min(work.tile_samples, max(POSITIONS_AT_ONCE, sizes.samples))
        stored = piece * (9 * len(work.shape) + 4) + 2 * CHUNK_BYTES
        reading = max(reading, stored)
    common = {
        "positions": positions + (samples * 8 * len(work.shape) if double else 0) + next_positions,
        "reading": 0 if machine.on_device else reading,
    }
    gridded = work.image_batch * work.channel_batch * voxels
    gather: dict[str, int] = {
        **common,
        "k-space tiles": (min(tiles, TILES_AT_ONCE) + 2 * double) * tile,
        "weights": samples * machine.itemsize // 2,
        "gridded coils": gridded + work.image_batch * voxels,
        # Then, in the place of its grids, the coils times the conjugates of their maps.
        "NUFFT": max(working, resident + gridded),
        "spectra": summed,
    }
    if sizes.squares and ranges > 1:
        gather["sums of coils"] = gridded
    canary: Parts = {
        **common,
        "k-space tiles": min(tiles, TILES_AT_ONCE) * tile,
        "canary": _canary_bytes(work),
    }
    if not makes_kernel:
        return [canary, gather]
    kernel: Parts = {
        **common,
        "k-space tiles": tile if ranges > 1 else 0,
        "Toeplitz kernel": kernel_bytes(work, work.tile_samples),
        # Spectra of several images are made one by one and then stacked.
        "spectra": single * (1 if trajectories == 1 else 2 * trajectories) + summed,
    }
    return [canary, gather, kernel]


def _canary_bytes(work: Work) -> int:
    """Return what comparing a few samples with the exact sum needs.

    An image and its copy in double precision, the adjoint, the transform's grid, and an order of
    all samples to choose from.
    """
    trajectories = _trajectories(work)
    working, _ = nufft_bytes(work, min(work.tile_samples, _CANARY_SAMPLES), 1)
    double = 16 * math.prod(work.shape)
    return double + 2 * trajectories * work.voxel_bytes + working + 8 * work.tile_samples


def explicit_normal(work: Work) -> Parts:
    """Return what forward and adjoint need while equations are solved: all samples at once."""
    sizes = work.sizes
    assert isinstance(sizes, MriSizes)
    samples = sizes.readouts * sizes.samples
    channels = work.channel_batch if sizes.maps else 1
    working, resident = nufft_bytes(work, samples, channels, as_coils=False)
    real = work.machine.itemsize // 2
    positions = _trajectories(work) * samples * (4 * len(work.shape) + real)
    if work.machine.itemsize == 16:
        positions += _trajectories(work) * samples * 8 * len(work.shape)
    # Times the maps, and what comes of it; of several batches also the one before.
    copies = 3 if channels < sizes.coils else 2
    coils = copies * work.image_batch * channels * work.voxel_bytes
    measured = 2 * work.image_batch * channels * samples * work.machine.itemsize
    if work.machine.image_library(work.shape) in ("ducc0", "finufft"):
        # Points are sorted before there are images or samples; then only grids come on top.
        grids, _ = nufft_bytes(work, 0, channels, as_coils=False)
        working = max(working - coils - measured, int(1.1 * resident) + grids)
    return {"trajectory": positions, "NUFFT": working, "coils": coils, "samples": measured}
