"""What the tiles of RF data need while they are summed. Pure."""

import math

from pipeline.operators.contraction import KroneckerTiling
from pipeline.operators.nufft import nufft_workspace_bytes
from pipeline.operators.plane_wave import plane_wave_spectrum_workspace_bytes
from pipeline.operators.toeplitz import toeplitz_spectrum_bytes
from pipeline.planning.mri_memory import kernel_bytes
from pipeline.planning.parts import Parts, Phases, reading_bytes
from pipeline.planning.work import PairSizes, PhaseHistorySizes, Work
from pipeline.streaming.stream import TILES_AT_ONCE

_VOXEL_PHASE = 80
"""Bytes a voxel while its phase is made: positions, path lengths and phases in double precision."""


def accumulate_pairs(work: Work) -> Phases:
    """Return what pairs of antenna arrays need: factors of some frequencies of one pair."""
    sizes, machine = work.sizes, work.machine
    assert isinstance(sizes, PairSizes)
    itemsize = machine.itemsize
    frequencies = work.readout_batch
    columns = sum(rows * voxels for rows, voxels in zip(sizes.rows, work.shape, strict=False))
    single = toeplitz_spectrum_bytes(work.shape, itemsize=itemsize)
    makes_kernel = work.toeplitz and work.makes_kernel
    held = work.kernels if makes_kernel else 0
    tiling = KroneckerTiling(
        sizes.rows,
        work.shape,
        blocks=frequencies,
        images=1,
        itemsize=itemsize,
        tile_bytes=2**28 if machine.on_device else 2**23,
    )
    samples = frequencies * sizes.samples
    always = {
        "right-hand side": work.voxel_bytes,
        "k-space tiles": TILES_AT_ONCE * samples * 8,
        "reading": 0 if machine.on_device else reading_bytes(work),
        "spectra": held * single,
        "voxel phases": work.kernels * work.voxel_bytes if sizes.phased and work.toeplitz else 0,
    }
    gather: Parts = {
        # In double precision, as exponentials of phases, and in the precision of the job.
        "Kronecker factors": frequencies * columns * (32 + itemsize),
        "Kronecker product": tiling.workspace_bytes + work.voxel_bytes,
        "samples": 2 * samples * itemsize,
        "voxel phase as made": _VOXEL_PHASE * math.prod(work.shape) if sizes.phased else 0,
    }
    if not makes_kernel:
        return always, [gather]
    kernel: Parts = {
        "plane-wave kernel": plane_wave_spectrum_workspace_bytes(
            work.shape, sizes.rows, frequencies, itemsize=itemsize
        )
        + single
    }
    return always, [gather, kernel]


def accumulate_phase_history(work: Work) -> Phases:
    """Return what a phase history needs: the pulses of one sub-aperture."""
    sizes, machine = work.sizes, work.machine
    assert isinstance(sizes, PhaseHistorySizes)
    samples = work.tile_samples
    single = toeplitz_spectrum_bytes(work.shape, itemsize=machine.itemsize)
    makes_kernel = work.toeplitz and work.makes_kernel
    library = machine.library(work.shape, machine.tolerance, machine.dtype)
    axes = len(work.shape)
    always = {
        "right-hand side": work.voxel_bytes,
        "k-space tiles": TILES_AT_ONCE * samples * (16 + machine.itemsize),
        "reading": 0 if machine.on_device else reading_bytes(work),
        "trajectory": samples * axes * (16 + machine.itemsize // 2),
        "spectra": work.kernels * single if makes_kernel else 0,
        "voxel phases": max(1, work.kernels) * work.voxel_bytes,
        "voxel phase as made": _VOXEL_PHASE * math.prod(work.shape),
    }
    gather: Parts = {
        "gridded": 2 * work.voxel_bytes,
        "NUFFT": nufft_workspace_bytes(
            work.shape,
            samples,
            1,
            backend=library,
            tolerance=machine.tolerance,
            itemsize=machine.itemsize,
            threads=machine.threads,
        ),
    }
    if not makes_kernel:
        return always, [gather]
    return always, [gather, {"Toeplitz kernel": kernel_bytes(work, samples) + single}]
