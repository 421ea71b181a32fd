"""What a job needs, in bytes, from shapes alone.

The peak of a job is what is always there and the largest of its phases; each phase is a sum of
named parts, so that a plan that cannot be made shows its arithmetic. Forward models, operators and
solvers state their own workspace; nothing is built and nothing is measured here.
"""

from dataclasses import replace

from pipeline.engine import processes
from pipeline.engine.limits import MEGABYTE
from pipeline.engine.needs import TILES_AT_ONCE, Need, largest
from pipeline.engine.transform_costs import spectrum_bytes
from pipeline.engine.work import STORED_NUMBER, Parts, Work
from pipeline.storage.chunks import CHUNK_BYTES

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


def footprint(work: Work) -> Need:
    """Predict the peak memory of a job; on a CPU all of it is the host's. Pure."""
    phases = _phases(work)
    if not work.machine.on_device and work.stage != "accumulate":
        phases = _with_images(work, phases)
    compute = largest(phases)
    if not work.machine.on_device:
        compute["allocator"] = sum(compute.values()) // _ALLOCATOR_SHARE
        return Need({"process": processes.RECONSTRUCT, **compute})
    on_device = {name: int(size * _DEVICE_SLACK) for name, size in compute.items()}
    on_device["workspaces of libraries"] = _DEVICE_LIBRARIES
    staged = {**_staged(work), "results": written_bytes(work)}
    if work.on_host:
        staged |= _series_on_host(work)
    return Need({"process": processes.CUDA, **staged}, on_device)


def written_bytes(work: Work) -> int:
    """Return the bytes of the file that a job writes: images, or sums and kernels of a shard."""
    if work.stage != "accumulate":
        return work.result_bytes
    whole = replace(work, image_batch=work.images)
    spectra = spectrum_bytes(work, whole.kernels) if work.makes_kernel else 0
    return work.images * work.unknown_bytes + spectra


def reading_bytes(work: Work) -> int:
    """Return what the reader needs besides the tiles: one readout range of one channel, a chunk."""
    return work.tile_samples * STORED_NUMBER + CHUNK_BYTES


def _staged(work: Work) -> dict[str, int]:
    """Return what passes through the host of a job that computes on a device."""
    parts = {f"{name} as read": size for name, size in work.model.held(work).items()}
    if work.stage != "sum":
        # As read and in pinned memory; and what reading itself needs.
        tile = work.tile_bytes + work.model.position_bytes(work)
        parts["tiles as read"] = TILES_AT_ONCE * tile + 4 * CHUNK_BYTES
    return parts


def _series_on_host(work: Work) -> Parts:
    """Return what the host holds of a series whose images pass through the device."""
    if work.stage == "accumulate":  # batches, and then all of them joined
        return {"results": 2 * written_bytes(work)}
    tile = work.image_batch * work.unknown_bytes + _spectra_as_they_pass(work)
    return {
        "right-hand side": work.images * work.unknown_bytes,
        "spectra": _spectra_as_they_pass(replace(work, image_batch=work.images)),
        "solver vectors": _vector_bytes(work, work.images),
        # In pinned memory, of which powers of two are taken.
        "images as they pass": 2 * TILES_AT_ONCE * tile,
    }


def _spectra_as_they_pass(work: Work) -> int:
    """Return the bytes of the spectra of a tile of images, unless all images share them."""
    everything, one = (replace(work, image_batch=count) for count in (work.images, 1))
    return spectrum_bytes(work, work.kernels) if everything.kernels > one.kernels else 0


def _vector_bytes(work: Work, images: int, *, at_work: bool = False) -> int:
    """Return what the solver holds of so many images, and what it begins with.

    At any time, or while the normal operator is ``at_work``.
    """
    held = replace(work, image_batch=images)
    vectors_of = work.settings.vectors_at_work if at_work else work.settings.vectors
    vectors = vectors_of(
        (images * work.model.unknowns, *work.shape),
        itemsize=work.machine.itemsize,
        kernels=max(1, held.kernels),
    )
    if work.settings.starts_from is None:
        return vectors
    sums = images * work.unknown_bytes
    # Images as they are read, as they are the solver's, and a chunk; then beside its vectors.
    both = images * work.outputs * work.voxel_bytes + sums
    return max(vectors + sums, 2 * both + CHUNK_BYTES)


def _with_images(work: Work, phases: list[Parts]) -> list[Parts]:
    """Add what the host holds of finished images: in the last batch its own only at the end."""
    images = work.result_bytes
    batch = images * work.image_batch // work.images
    # Of a series one image at a time is made of its unknowns.
    sums = work.image_batch * work.unknown_bytes + (work.voxel_bytes if work.joint else 0)
    earlier = {"finished images": 0 if work.joint else images - batch}
    at_the_end = {
        **work.model.held(work),
        "spectra": spectrum_bytes(work, work.kernels),
        "last images": batch + sums,
        "chunks being written": _CHUNKS_WRITTEN * min(CHUNK_BYTES, images),
    }
    return [{**parts, **earlier} for parts in (*phases, at_the_end)]


def _phases(work: Work) -> list[Parts]:
    """Return what is held where the job computes in each of its phases."""
    sums = work.image_batch * work.unknown_bytes
    always = {"right-hand side": sums, **work.model.held(work)}
    if work.image_batch > 1 and not work.machine.on_device:
        always["small arrays"] = _SMALL_ARRAYS
    phases: list[Parts] = []
    if work.stage == "sum":
        # The sum so far, and the share that is added to it as it is read and where it is added.
        share = sums + spectrum_bytes(work, work.kernels)
        phases.append({"shares": 3 * share - sums})
    else:
        phases += work.model.accumulate(work)
    if work.stage == "accumulate" and work.images > work.image_batch and not work.on_host:
        # The shares of the batches before, and at the end of all batches and joined.
        disk = written_bytes(work)
        earlier = disk - disk * work.image_batch // work.images
        phases = [{**parts, "finished shares": earlier} for parts in phases]
        phases.append({"finished shares": disk if work.machine.on_device else 2 * disk})
    if work.stage != "accumulate" and work.settings.solves:
        if work.on_host:
            # What comes of a tile is counted as the right-hand side was, which is gone by then.
            passing = {"images as they pass": TILES_AT_ONCE * sums + _spectra_as_they_pass(work)}
            phases.append({**passing, **work.model.normal(work)})
        else:
            at_work = _vector_bytes(work, work.image_batch, at_work=True)
            phases.append({"solver vectors": at_work, **work.model.normal(work)})
            vectors = _vector_bytes(work, work.image_batch)
            phases.append({"solver vectors": vectors, **work.model.resting(work)})
    return [{**always, **parts} for parts in phases]
