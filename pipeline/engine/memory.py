"""What a job needs, in bytes, from shapes alone.

The peak of a job is what is always there and the largest of its phases; each phase is a sum of
named parts, so that a plan that cannot be made shows its arithmetic. Operators and solvers state
their own workspace; nothing is built and nothing is measured here.
"""

from dataclasses import dataclass

from pipeline.engine.limits import MEGABYTE
from pipeline.engine.parts import Parts, maps_bytes, staged_bytes
from pipeline.engine.solver_memory import solver_vectors
from pipeline.engine.work import MriSizes, PairSizes, Work
from pipeline.mri.model.memory import accumulate_mri, explicit_normal
from pipeline.operators.toeplitz import (
    toeplitz_spectrum_bytes,
    toeplitz_workspace_bytes,
)
from pipeline.rf.model.pair_memory import accumulate_pairs, factors_normal
from pipeline.rf.model.pulse_memory import accumulate_phase_history
from pipeline.storage.chunks import CHUNK_BYTES

# Resident memory of a job before it holds any data: the interpreter and its packages, the pools of
# their threads, and on CUDA the host's part of the context.
_PROCESS_BYTES = 300 * MEGABYTE
_PROCESS_BYTES_WITH_CUDA = 2000 * MEGABYTE
_SMALL_ARRAYS = 18 * MEGABYTE
"""What the heaps of the threads keep of arrays too small to be mapped, in batches of images."""
_ALLOCATOR_SHARE = 40
"""Of what a job holds, the part that is lost between arrays."""
_CHUNKS_WRITTEN = 4
"""Copies of a chunk, or of several, while a result is compressed."""
# What the allocator of a device keeps in unused pieces, and the work areas of its FFT library.
_DEVICE_SLACK = 1.1
_DEVICE_LIBRARIES = 64 * MEGABYTE
"""Of cuBLAS, which takes them at its first product."""


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a job, and the parts of the peak; what it writes [byte]."""

    device_parts: Parts
    host_parts: Parts
    disk_bytes: int

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


def footprint(work: Work) -> Footprint:
    """Predict the peak memory of a job. Pure.

    Parameters
    ----------
    work
        The job.

    Returns
    -------
    Footprint
        On a CPU all of it is the host's.
    """
    phases = _phases(work)
    disk = _share_bytes(work) if work.stage == "accumulate" else work.images * work.voxel_bytes
    if not work.machine.on_device and work.stage != "accumulate":
        phases = _with_images(work, phases)
    largest = max(phases, key=lambda parts: sum(parts.values()))
    compute = {name: size for name, size in largest.items() if size}
    if not work.machine.on_device:
        compute["allocator"] = sum(compute.values()) // _ALLOCATOR_SHARE
        return Footprint({}, {"process": _PROCESS_BYTES, **compute}, disk)
    on_device = {name: int(size * _DEVICE_SLACK) for name, size in compute.items()}
    on_device["workspaces of libraries"] = _DEVICE_LIBRARIES
    host = {"process": _PROCESS_BYTES_WITH_CUDA, **staged_bytes(work), "results": disk}
    return Footprint(on_device, host, disk)


def _with_images(work: Work, phases: list[Parts]) -> list[Parts]:
    """Add what the host holds of finished images: in the last batch its own only at the end."""
    batch, images = work.image_batch * work.voxel_bytes, work.images * work.voxel_bytes
    earlier = {"finished images": images - batch}
    at_the_end = {
        "coil maps": maps_bytes(work),
        "spectra": spectrum_bytes(work) if work.toeplitz and work.solves else 0,
        "last images": 2 * batch,
        "chunks being written": _CHUNKS_WRITTEN * min(CHUNK_BYTES, images),
    }
    return [{**parts, **earlier} for parts in (*phases, at_the_end)]


def _phases(work: Work) -> list[Parts]:
    """Return what is held where the job computes in each of its phases."""
    always = {"right-hand side": work.image_batch * work.unknowns * work.voxel_bytes}
    sizes = work.sizes
    if isinstance(sizes, MriSizes) and sizes.maps:
        always["coil maps"] = maps_bytes(work)
    if work.image_batch > 1 and not work.machine.on_device:
        always["small arrays"] = _SMALL_ARRAYS
    phases: list[Parts] = []
    if work.stage == "sum":
        # The sum so far, and the share that is added to it as it is read and where it is added.
        share = always["right-hand side"] + spectrum_bytes(work)
        phases.append({"shares": 3 * share - always["right-hand side"]})
    else:
        phases += _accumulate(work)
    if work.stage == "accumulate" and work.images > work.image_batch:
        # The shares of the batches before, and at the end of all batches and joined.
        disk = _share_bytes(work)
        earlier = disk - disk * work.image_batch // work.images
        phases = [{**parts, "finished shares": earlier} for parts in phases]
        phases.append({"finished shares": disk if work.machine.on_device else 2 * disk})
    if work.stage != "accumulate" and work.solves:
        phases.append(_solve(work))
    return [{**always, **parts} for parts in phases]


def _accumulate(work: Work) -> list[Parts]:
    if isinstance(work.sizes, MriSizes):
        return accumulate_mri(work)
    if isinstance(work.sizes, PairSizes):
        return accumulate_pairs(work)
    return accumulate_phase_history(work)


def spectrum_bytes(work: Work) -> int:
    """Return the bytes of the kernels' spectra of one image batch."""
    return toeplitz_spectrum_bytes(work.shape, itemsize=work.machine.itemsize, frames=work.kernels)


def _solve(work: Work) -> Parts:
    """Return what solving the normal equations of one image batch needs."""
    machine = work.machine
    batch = (work.image_batch * work.unknowns, *work.shape)
    parts = {
        "solver vectors": solver_vectors(
            work.settings, batch, itemsize=machine.itemsize, kernels=max(1, work.kernels)
        ),
    }
    if not work.toeplitz and isinstance(work.sizes, PairSizes):
        return {**parts, **factors_normal(work)}
    if not work.toeplitz:
        return {**parts, **explicit_normal(work)}
    tiling = machine.product_tiling(work.shape)
    together = 1
    if isinstance(work.sizes, MriSizes) and work.sizes.maps:
        coils = work.sizes.coils
        chosen = machine.on_device or not work.sizes.resident
        together = work.channel_batch if chosen else tiling.coils_at_once(coils)
    product = toeplitz_workspace_bytes(
        work.shape,
        together,
        itemsize=machine.itemsize,
        frames=work.image_batch if isinstance(work.sizes, MriSizes) else 1,
        threads=machine.threads,
        host=tiling.host,
        piece_bytes=tiling.piece_bytes,
    )
    phases = 0
    if not isinstance(work.sizes, MriSizes):
        phased = not isinstance(work.sizes, PairSizes) or work.sizes.phased
        phases = work.kernels * work.voxel_bytes if phased else 0
    return parts | {
        "spectra": spectrum_bytes(work),
        "voxel phases": phases,
        "Toeplitz product": product,
    }


def _share_bytes(work: Work) -> int:
    """Return the bytes of a shard's share: sums and kernels of all images."""
    shared = not isinstance(work.sizes, MriSizes) or work.sizes.shared_trajectory
    spectra = spectrum_bytes(work) if work.makes_kernel else 0
    if not shared:
        spectra = spectra // work.image_batch * work.images
    return work.images * work.unknowns * work.voxel_bytes + spectra
