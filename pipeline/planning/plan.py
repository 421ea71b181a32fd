"""Cut a reconstruction into blocks that fit the memory limits. Pure functions, no I/O.

A block is what one job reconstructs. Inside it, images go to the device a batch at a time and coils
a tile at a time. The plan takes the largest batches that fit and then as few blocks as the limits,
and a job of bearable length, allow.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.errors import PlanError
from pipeline.planning.memory import MEGABYTE, Footprint, Work, footprint
from pipeline.planning.seconds import predicted_seconds
from pipeline.planning.table import PlanRow

_SECONDS_PER_BLOCK = 600.0
_IMAGES_AT_ONCE = 64
# Beyond this a larger tile only costs memory: transforms no longer overlap more work.
_TILE_BYTES_ON_CPU = 64 * MEGABYTE
_SCHEDULER_MB = 200
_MINUTES_TO_SPARE = 5


@dataclass(frozen=True)
class Limits:
    """What one job may use [MB]; ``device_mb`` is 0 where it computes on a CPU."""

    device_mb: int
    host_mb: int

    def hold(self, need: Footprint) -> bool:
        """Tell whether ``need`` fits."""
        on_device = not self.device_mb or need.device_bytes <= self.device_mb * MEGABYTE
        return on_device and need.host_bytes <= self.host_mb * MEGABYTE


def _halvings(largest: int) -> Iterator[int]:
    """Yield ``largest``, its half, and so on down to one."""
    while largest > 1:
        yield largest
        largest = math.ceil(largest / 2)
    yield 1


def _batches(work: Work, images: int) -> Iterator[Work]:
    """Yield the work with ever smaller batches of images and then of coils."""
    tile = math.prod(work.shape) * work.itemsize
    coils, batch = work.coils, min(images, _IMAGES_AT_ONCE)
    if not work.on_device:
        coils = max(1, min(coils, _TILE_BYTES_ON_CPU // tile))
        batch = max(1, min(batch, _TILE_BYTES_ON_CPU // (tile * coils)))
    for image_batch in _halvings(batch):
        yield replace(work, image_batch=image_batch, coil_batch=coils)
    for coil_batch in list(_halvings(coils))[1:]:
        yield replace(work, image_batch=1, coil_batch=coil_batch)


def plan_blocks(work: Work, *, images: int, limits: Limits, who: str) -> list[PlanRow]:
    """Plan the blocks of one reconstruction.

    Parameters
    ----------
    work
        What is to be computed; its batch sizes and block size are chosen here.
    images
        Number of images in all.
    limits
        Memory that one job may use.
    who
        Dataset and reconstruction, for the message of an error.

    Returns
    -------
    list of PlanRow
        In the order of the images.

    Raises
    ------
    PlanError
        If one image with one coil at a time does not fit: with the arithmetic, and what to change.
    """
    chosen = next(
        (
            candidate
            for candidate in _batches(work, images)
            if limits.hold(footprint(replace(candidate, images=candidate.image_batch)))
        ),
        None,
    )
    if chosen is None:
        least = replace(work, images=1, image_batch=1, coil_batch=1)
        raise PlanError(_refusal(who, footprint(least), limits))
    per_image = predicted_seconds(replace(chosen, images=1))
    size = min(images, max(chosen.image_batch, int(_SECONDS_PER_BLOCK / per_image)))
    while not limits.hold(footprint(replace(chosen, images=size))):
        size = max(chosen.image_batch, size // 2)
    blocks = math.ceil(images / size)
    size = math.ceil(images / blocks)  # evenly, not one small block at the end
    rows = []
    for index in range(blocks):
        first = index * size
        block = replace(chosen, images=min(size, images - first))
        block = replace(block, image_batch=min(block.image_batch, block.images))
        rows.append(_row(f"{index:04d}", first, block, limits))
    return rows


def _row(name: str, first_image: int, work: Work, limits: Limits) -> PlanRow:
    need = footprint(work)
    seconds = predicted_seconds(work)
    host_mb = math.ceil(need.host_bytes / MEGABYTE)
    return PlanRow(
        stage="reconstruct",
        block=name,
        shard="",
        first_image=first_image,
        images=work.images,
        first_channel=0,
        channels=work.channels,
        first_readout=0,
        readouts=work.readouts,
        image_batch=work.image_batch,
        coil_batch=work.coil_batch,
        readout_batch=work.readouts,
        device_mb=math.ceil(need.device_bytes / MEGABYTE),
        host_mb=host_mb,
        disk_mb=math.ceil(work.images * math.prod(work.shape) * work.itemsize / MEGABYTE),
        seconds=round(seconds, 1),
        limit_device_mb=limits.device_mb,
        limit_host_mb=limits.host_mb,
        mem_mb=host_mb + _SCHEDULER_MB,
        runtime=_MINUTES_TO_SPARE + math.ceil(3 * seconds / 60),
        dominant=need.dominant(),
    )


def _refusal(who: str, need: Footprint, limits: Limits) -> str:
    lines = []
    for setting, found, allowed, parts in (
        ("memory.device_mb", need.device_bytes, limits.device_mb, need.device_parts),
        ("memory.host_mb", need.host_bytes, limits.host_mb, need.host_parts),
    ):
        if not allowed or found <= allowed * MEGABYTE:
            continue
        largest = sorted(parts.items(), key=lambda part: -part[1])
        sums = " + ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in largest)
        lines.append(
            f"one image with one coil at a time needs {math.ceil(found / MEGABYTE)} MB, but "
            f"{setting} is {allowed} MB ({sums} MB)"
        )
    return (
        f"{who}: {'; '.join(lines)}. Raise the limit, reconstruct on a smaller matrix "
        "(`shape`), or join fewer frames (`frames_per_image`)"
    )
