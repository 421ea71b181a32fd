"""What a reconstruct job needs, in bytes, from shapes alone.

The peak of a job is what is always there and the largest of its phases; each phase is a sum of
named parts, so that a plan that cannot be made shows its arithmetic. Operators and solvers state
their own workspace; nothing is built and nothing is measured here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pipeline.operators.convolution import Tiling
from pipeline.operators.nufft import choose_backend, nufft_workspace_bytes, parallel_transforms
from pipeline.operators.toeplitz import (
    padded_shape,
    toeplitz_spectrum_bytes,
    toeplitz_spectrum_workspace_bytes,
    toeplitz_workspace_bytes,
)
from pipeline.solvers.cg import conjugate_gradient_bytes

MEGABYTE = 10**6

# Resident memory of a job before it holds any data: the interpreter and its packages, the pools of
# their threads, and on CUDA the host's part of the context.
_PROCESS_BYTES = 300 * MEGABYTE
_PROCESS_BYTES_WITH_CUDA = 2000 * MEGABYTE
# What the allocator of a device keeps in unused pieces, and the work areas of its FFT library.
_DEVICE_SLACK = 1.1

Parts = Mapping[str, int]


@dataclass(frozen=True)
class Work:
    """What decides the memory and the time of a reconstruct job."""

    shape: tuple[int, ...]
    """Image matrix."""
    coils: int
    samples: int
    """Samples of one image and one coil."""
    channels: int
    """Coils, or pairs of antenna arrays."""
    readouts: int
    """Readouts, frequencies or pulses of one image."""
    images: int
    """Images of the block."""
    image_batch: int
    coil_batch: int
    shared_trajectory: bool
    """Whether all images have the same samples."""
    maps: bool
    """Whether there are coil maps."""
    algorithm: str
    normal: str
    """``toeplitz`` or ``explicit``."""
    iterations: int
    backend: str
    tolerance: float
    itemsize: int
    """Bytes of a complex number: 8 or 16."""
    on_device: bool
    """Whether a CUDA device computes, with memory of its own."""
    threads: int
    deterministic: bool = False
    factor_numbers: int = 0
    """Numbers in the Kronecker factors of the largest RF pair, made in double precision."""
    kernels: int = 0
    """Sub-apertures of an RF phase history, whose voxel phases and Toeplitz kernels stay for the
    whole solve; 0 for MRI, whose images have one kernel each."""


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a job, and the parts of the peak [byte]."""

    device_parts: Parts
    host_parts: Parts

    @property
    def device_bytes(self) -> int:
        """Peak of device memory; 0 on a CPU."""
        return sum(self.device_parts.values())

    @property
    def host_bytes(self) -> int:
        """Peak of resident memory."""
        return sum(self.host_parts.values())

    def dominant(self) -> str:
        """Name the largest part: the device's where there is one."""
        parts = self.device_parts or self.host_parts
        return max(parts, key=lambda name: parts[name])


def _phases(work: Work) -> tuple[Parts, list[Parts]]:
    """Return what is always held where the job computes, and what each phase adds."""
    voxels = math.prod(work.shape) * work.itemsize
    axes = len(work.shape)
    trajectories = 1 if work.shared_trajectory else work.image_batch
    transforms = work.coil_batch * (work.image_batch if work.shared_trajectory else 1)
    tile_samples = work.image_batch * work.coil_batch * work.samples
    library = choose_backend(
        work.shape,
        torch.device("cuda" if work.on_device else "cpu"),
        work.backend,
        tolerance=work.tolerance,
        dtype=torch.complex64 if work.itemsize == 8 else torch.complex128,
        deterministic=work.deterministic,
    )
    nufft = nufft_workspace_bytes(
        work.shape,
        work.samples,
        transforms,
        backend=library,
        tolerance=work.tolerance,
        itemsize=work.itemsize,
        frames=trajectories,
        threads=work.threads,
        workers=parallel_transforms(
            work.shape,
            trajectories,
            work.coil_batch,
            backend=library,
            threads=work.threads,
            deterministic=work.deterministic,
        ),
    )
    kernels = 1 if work.algorithm == "matched-filter" else work.kernels
    always = {
        "coil maps": work.coils * voxels if work.maps else 0,
        "voxel phases": 0 if not work.kernels else voxels * kernels,
        "trajectory and weights": trajectories * work.samples * (axes + 1) * work.itemsize // 2,
        "right-hand side": work.image_batch * voxels,
    }
    # Trajectories and weights on their way from float32 on disk to the precision of the job.
    sample = {
        "trajectory as read": work.image_batch * work.samples * (16 * axes + 20),
        # Positions, path lengths and phases in double precision.
        "voxel phase as made": 80 * math.prod(work.shape) if work.kernels else 0,
    }
    gather = {
        # In the precision of the job, and one coil as it is read; in double also as stored.
        "k-space tile": tile_samples * (work.itemsize if work.itemsize == 8 else 24)
        + work.samples * 16,
        "gridded coils": work.image_batch * (work.coil_batch + 1) * voxels,
        "NUFFT": nufft,
        "Kronecker factors": work.factor_numbers * (32 + work.itemsize),
    }
    if work.algorithm in ("gridding", "matched-filter"):
        return always, [sample, gather]
    vectors = conjugate_gradient_bytes((work.image_batch, *work.shape), itemsize=work.itemsize)
    if work.normal == "explicit":
        normal = {
            "explicit normal operator": nufft
            + 2 * work.image_batch * work.coil_batch * voxels
            + 2 * tile_samples * work.itemsize,
        }
        return always, [sample, gather, {"solver vectors": vectors, **normal}]
    spectra = toeplitz_spectrum_bytes(
        work.shape, itemsize=work.itemsize, frames=max(trajectories, work.kernels)
    )
    kernel_library = choose_backend(
        work.shape,
        torch.device("cuda" if work.on_device else "cpu"),
        work.backend,
        tolerance=1e-6,
        dtype=torch.complex128,
        deterministic=work.deterministic,
    )
    kernel = toeplitz_spectrum_workspace_bytes(
        work.shape,
        work.samples,
        backend=kernel_library,
        itemsize=work.itemsize,
        threads=work.threads,
    )
    tiling = Tiling(work.shape, padded_shape(work.shape), work.itemsize, not work.on_device)
    coils = work.coil_batch if work.on_device else tiling.coils_at_once(work.coils)
    return always, [
        sample,
        gather,
        # Spectra of several frames are made one by one and then stacked.
        {"Toeplitz kernel": kernel, "spectra": spectra * (1 if trajectories == 1 else 2)},
        {
            "spectra": spectra,
            "solver vectors": vectors,
            "Toeplitz product": toeplitz_workspace_bytes(
                work.shape,
                coils if work.maps else 1,
                itemsize=work.itemsize,
                frames=work.image_batch,
                threads=work.threads,
                host=not work.on_device,
            ),
        },
    ]


def footprint(work: Work) -> Footprint:
    """Predict the peak memory of a reconstruct job. Pure.

    Parameters
    ----------
    work
        The job.

    Returns
    -------
    Footprint
        On a CPU all of it is the host's.
    """
    always, phases = _phases(work)
    largest = max(phases, key=lambda parts: sum(parts.values()))
    compute = {**always, **largest}
    voxels = math.prod(work.shape)
    # The finished images, and the mask that checks them for values that are not finite.
    images = {"finished images": work.images * voxels * (work.itemsize + 2)}
    if not work.on_device:
        return Footprint({}, {"process": _PROCESS_BYTES, **compute, **images})
    tile = work.image_batch * work.coil_batch * work.samples * 8
    staging = {
        "k-space as read": 2 * tile,
        "trajectory as read": 2 * work.image_batch * work.samples * (len(work.shape) + 1) * 8,
        "coil maps as read": 2 * work.coils * voxels * 8 if work.maps else 0,
    }
    on_device = {name: int(size * _DEVICE_SLACK) for name, size in compute.items()}
    return Footprint(on_device, {"process": _PROCESS_BYTES_WITH_CUDA, **staging, **images})
