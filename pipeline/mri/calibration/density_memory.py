"""What density weights need while they are computed. Pure, and without torch.

Temporaries that a formula cannot name were measured.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from pipeline.config.transforms import NufftSettings
from pipeline.operators.nufft_accuracy import smallest_tolerance
from pipeline.operators.nufft_memory import nufft_resident_bytes, nufft_workspace_bytes
from pipeline.storage.acquired import Acquired
from pipeline.storage.blocks import image_chunks

_SLAB_SAMPLES = 2**18
"""Samples of which radial weights are computed together."""
_RADIAL_BYTES = 200
"""Bytes a sample while radial weights are computed."""
READOUT_BYTES = 250
"""Bytes a readout that radial weights hold: directions, ends, angles, and their order."""

Parts = dict[str, int]
"""Bytes by what they are for."""


def density_phases(
    acquired: Acquired, nufft: NufftSettings, method: str, threads: int, on_device: bool
) -> list[tuple[Parts, Parts]]:
    """Return what computing the weights of one frame needs, and writing some of its readouts."""
    readouts, samples = acquired.readouts, acquired.samples
    chunk = image_chunks((readouts, samples), 4)[0] * samples
    written = {"density: weights as written": 4 * chunk}
    if method == "source":
        return [({**written, "density: weights as read": 8 * chunk}, {})]
    slab = min(readouts, max(1, _SLAB_SAMPLES // samples)) * samples
    radial = {
        "density: readouts": READOUT_BYTES * readouts,
        "density: slab of readouts": _RADIAL_BYTES * slab,
    }
    if method == "radial":
        # In double precision, in single precision, and as they are written.
        return [({**radial, **written, "density: weights": 12 * chunk}, {})]
    number = readouts * samples
    whole = {"trajectory": 4 * len(acquired.shape) * number}
    own = acquired.own_trajectory and acquired.frames > 1
    if method == "stack-of-stars":
        # A plane of spokes is copied; planes are taken for as many as the matrix has.
        one = number // min(acquired.shape[0], readouts)
        radial["density: slab of readouts"] = _RADIAL_BYTES * min(slab, one)
        earlier = {"density: weights of the frame before": 8 * number if own else 0}
        checking = {"density: heights": 12 * number}
        weighting = {"density: weights": 8 * number, "density: plane": 28 * one, **radial}
        return [({**whole, **earlier, **parts}, {}) for parts in (checking, weighting)]
    earlier = {"density: weights of the frame before": 4 * number if own else 0}
    phases = pipe_menon_phases(acquired.shape, number, nufft, threads, on_device)
    if on_device:
        points = {"trajectory as points": whole["trajectory"]}
        return [({**whole, **earlier, **points}, parts) for parts in phases]
    return [({**whole, **earlier, **parts}, {}) for parts in phases]


def pipe_menon_phases(
    shape: Sequence[int], samples: int, nufft: NufftSettings, threads: int, on_device: bool
) -> list[Parts]:
    """Return what Pipe-Menon's iteration holds where it computes, on a grid twice the matrix."""
    doubled = tuple(2 * size for size in shape)
    voxels, axes = math.prod(doubled), len(shape)
    library = nufft_library(doubled, nufft, on_device)
    sizes = {
        "backend": library,
        "tolerance": nufft.tolerance,
        "itemsize": 8,
        "oversampling": nufft.oversampling,
    }
    working = nufft_workspace_bytes(doubled, samples, 1, threads=threads, **sizes)  # type: ignore[arg-type]
    resident = nufft_resident_bytes(doubled, samples, 1, **sizes)  # type: ignore[arg-type]
    common = {"trajectory as points": 4 * axes * samples, "density: window": 4 * voxels}
    iterate = {
        **common,
        "density: NUFFT on the doubled matrix": working,
        "density: image on the doubled matrix": 8 * voxels,
        "density: weights": 24 * samples,
    }
    # The transform of the object that the last factor is found with, in double precision.
    scale = {
        **common,
        "density: NUFFT on the doubled matrix": resident,
        "trajectory in double precision": 8 * axes * samples,
        "density: weights": (4 + 32) * samples,
    }
    return [iterate, scale]


def nufft_library(shape: Sequence[int], nufft: NufftSettings, on_device: bool) -> str:
    """Return the NUFFT library that a job will use, as far as this machine knows."""
    if nufft.backend != "auto":
        return nufft.backend
    if on_device:
        return "cufinufft"
    reaches = nufft.tolerance >= smallest_tolerance("ducc0", shape, np.dtype(np.complex64))
    return "ducc0" if reaches and find_spec("ducc0") else "finufft"
