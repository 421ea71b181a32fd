"""What pairs of antenna arrays need while they are summed and while they are solved. Pure."""

import math

from pipeline.engine.parts import Parts, reading_bytes
from pipeline.engine.stream import TILES_AT_ONCE
from pipeline.engine.work import PairSizes, Work
from pipeline.operators.contraction import KroneckerTiling, usual_tile_bytes
from pipeline.operators.toeplitz import toeplitz_spectrum_bytes
from pipeline.rf.model.plane_wave import (
    plane_wave_factor_workspace_bytes,
    plane_wave_spectrum_workspace_bytes,
)

_PATHS = 56
"""Bytes a voxel while its path is computed, in double precision."""

_STORED_NUMBER = 8
"""Measurements and factors are stored as complex64."""


def accumulate_pairs(work: Work) -> list[Parts]:
    """Return what each phase needs while the tiles of pairs are summed."""
    sizes = _sizes(work)
    itemsize = work.machine.itemsize
    samples = work.readout_batch * sizes.samples
    blocks = work.channels * work.readouts
    common = {
        "unknowns of other pairs": (work.unknowns - 1) * work.voxel_bytes,
        "resident factors": resident_factor_bytes(work, blocks),
    }
    gather: Parts = {
        **common,
        "k-space tiles": TILES_AT_ONCE * samples * _STORED_NUMBER,
        "reading": 0 if work.machine.on_device else reading_bytes(work),
        "samples": 2 * samples * itemsize,
        **_factor_tiles(work),
    }
    if not (work.toeplitz and work.makes_kernel):
        return [gather]
    single = toeplitz_spectrum_bytes(work.shape, itemsize=itemsize)
    made_together = blocks if sizes.form == "collapsed" else work.readouts
    kernel: Parts = {
        **common,
        "wavenumbers": 2 * 8 * made_together * sum(sizes.rows),
        "spectra": work.kernels * single,
        "plane-wave kernel": plane_wave_spectrum_workspace_bytes(
            work.shape, sizes.rows, made_together, itemsize=itemsize
        )
        + single,
    }
    return [gather, kernel]


def factors_normal(work: Work) -> Parts:
    """Return what one application of the normal operator needs that goes through the factors."""
    sizes = _sizes(work)
    samples = work.readout_batch * sizes.samples * work.machine.itemsize
    blocks = sizes.pairs * sizes.readouts
    return {
        "resident factors": resident_factor_bytes(work, blocks),
        "measured": 2 * samples,
        "images": 2 * work.unknowns * work.voxel_bytes,
        **_factor_tiles(work),
    }


def resident_factor_bytes(work: Work, blocks: int) -> int:
    """Return the bytes of factors and voxel phases that stay, of so many pairs and frequencies."""
    sizes = _sizes(work)
    if not sizes.resident:
        return 0
    held = blocks * _columns(work) * work.machine.itemsize
    pairs = -(-blocks // sizes.readouts)
    phases = {"none": 0, "pair": pairs, "frequency": blocks}[sizes.voxel_phase]
    return held + phases * work.voxel_bytes


def _factor_tiles(work: Work) -> Parts:
    """Return what the factors of one tile need, as made or read, and their product."""
    sizes = _sizes(work)
    itemsize, frequencies = work.machine.itemsize, work.readout_batch
    made = 0 if sizes.resident else frequencies * _columns(work) * itemsize
    making = max(
        plane_wave_factor_workspace_bytes(frequencies * rows, voxels, itemsize=itemsize)
        for rows, voxels in zip(sizes.rows, work.shape, strict=True)
    )
    if sizes.reads_factors:
        making = TILES_AT_ONCE * frequencies * _columns(work) * _STORED_NUMBER
    phases = {"none": 0, "pair": 1, "frequency": frequencies}[sizes.voxel_phase]
    if sizes.narrowband:
        rows, blocks = (*sizes.rows[:-1], frequencies), 1
    else:
        rows, blocks = sizes.rows, frequencies
    if sizes.voxel_phase == "frequency":
        product = 3 * frequencies * work.voxel_bytes
    else:
        product = KroneckerTiling(
            rows,
            work.shape,
            blocks=blocks,
            images=1,
            itemsize=itemsize,
            tile_bytes=usual_tile_bytes(
                rows, work.shape, itemsize, on_device=work.machine.on_device
            ),
        ).workspace_bytes
    return {
        "Kronecker factors": made + making,
        "voxel phases": phases * work.voxel_bytes,
        "voxel phase as made": _PATHS * math.prod(work.shape) if sizes.phased else 0,
        "Kronecker product": product + 2 * work.voxel_bytes,
    }


def _columns(work: Work) -> int:
    """Return the numbers in the factors of one frequency of one pair."""
    return sum(rows * voxels for rows, voxels in zip(_sizes(work).rows, work.shape, strict=True))


def _sizes(work: Work) -> PairSizes:
    assert isinstance(work.sizes, PairSizes)
    return work.sizes
