"""What the pulses of a phase history need while they are summed. Pure."""

import math

from pipeline.engine.parts import Parts, reading_bytes
from pipeline.engine.stream import TILES_AT_ONCE
from pipeline.engine.work import PhaseHistorySizes, Work
from pipeline.mri.model.memory import kernel_bytes
from pipeline.operators.nufft import nufft_workspace_bytes
from pipeline.operators.toeplitz import toeplitz_spectrum_bytes

_VOXEL_PHASE = 80
"""Bytes a voxel while its phase is made: positions, path lengths and phases in double precision."""


def accumulate_phase_history(work: Work) -> list[Parts]:
    """Return what a phase history needs: the pulses of one sub-aperture."""
    sizes, machine = work.sizes, work.machine
    assert isinstance(sizes, PhaseHistorySizes)
    samples = work.tile_samples
    single = toeplitz_spectrum_bytes(work.shape, itemsize=machine.itemsize)
    makes_kernel = work.toeplitz and work.makes_kernel
    library = machine.image_library(work.shape)
    axes = len(work.shape)
    common = {
        "k-space tiles": TILES_AT_ONCE * samples * (16 + machine.itemsize),
        "reading": 0 if machine.on_device else reading_bytes(work),
        "trajectory": samples * axes * (16 + machine.itemsize // 2),
        "spectra": work.kernels * single if makes_kernel else 0,
        "voxel phases": max(1, work.kernels) * work.voxel_bytes,
        "voxel phase as made": _VOXEL_PHASE * math.prod(work.shape),
    }
    gather: Parts = {
        **common,
        "gridded": 2 * work.voxel_bytes,
        "NUFFT": nufft_workspace_bytes(
            work.shape,
            samples,
            1,
            backend=library,
            tolerance=machine.asked,
            oversampling=machine.image_oversampling(work.shape),
            itemsize=machine.itemsize,
            threads=machine.threads,
        ),
    }
    if not makes_kernel:
        return [gather]
    return [gather, {**common, "Toeplitz kernel": kernel_bytes(work, samples) + single}]
