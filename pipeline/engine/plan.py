"""Cut a reconstruction into jobs that fit the memory limits. Pure functions, no I/O.

A block is what one job reconstructs. Inside it, images go to the device a batch at a time, and the
measurement a tile at a time. The plan takes the largest useful tiles that fit, then as few blocks
as the limits, and a job of bearable length, allow. Where reading and gridding a single image takes
longer than that, its measurement is cut into shards, each with a job of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.engine.limits import MEGABYTE
from pipeline.engine.memory import footprint, written_bytes
from pipeline.engine.needs import requested_mb
from pipeline.engine.rates import Rates
from pipeline.engine.seconds import accumulating_seconds, predicted_seconds
from pipeline.engine.shards import shard_ranges
from pipeline.engine.table import PlanRow
from pipeline.engine.tiles import Limits, choose_tiles, smallest_tiles
from pipeline.engine.work import ModelCosts, Work
from pipeline.errors import PlanError

_BEARABLE_SECONDS = 600.0
_MINUTES_TO_SPARE = 5
_MARGIN = 3
"""Times the predicted seconds that a scheduler is asked for."""


@dataclass(frozen=True)
class Request:
    """What is to be planned.

    Attributes
    ----------
    work
        All images, in one job; its tiles are chosen here.
    limits
        Memory that one job may use.
    rates
        Of the machine.
    shards
        Jobs that share the measurement of a block.
    block_images
        Images that one job reconstructs at most.
    who
        Dataset and reconstruction, for the message of an error.
    others
        Other ways to run the same work, slower but in less memory, the fastest first.
    notes
        Lines for the log, on what was chosen and why.
    """

    work: Work
    limits: Limits
    rates: Rates
    shards: Literal["auto"] | int = "auto"
    block_images: Literal["auto"] | int = "auto"
    who: str = "plan"
    others: tuple[ModelCosts, ...] = ()
    notes: tuple[str, ...] = ()


def plan_jobs(request: Request) -> list[PlanRow]:
    """Plan the jobs of one reconstruction.

    Returns
    -------
    list of PlanRow
        Block after block in the order of the images; the shards of a block before itself.

    Raises
    ------
    PlanError
        If one image with one channel and one readout at a time does not fit: with the arithmetic.
    """
    work, limits, rates = request.work, request.limits, request.rates
    choices = (work, *(replace(work, model=model) for model in request.others))
    tiled = (choose_tiles(choice, limits, rates) for choice in choices)
    whole = next((found for found in tiled if found is not None), None)
    if whole is None:
        work = choices[-1]
        raise PlanError(f"{request.who}: {refusal(work, limits)}")
    size = _block_size(whole, request)
    blocks = math.ceil(work.images / size)
    size = math.ceil(work.images / blocks)  # evenly, not one small block at the end
    shards = _shard_count(replace(whole, images=size), request)
    while shards > 1 and size > 1 and not _shards_fit(_block(whole, size), shards, request):
        size = math.ceil(size / 2)
    rows: list[PlanRow] = []
    for index, first in enumerate(range(0, work.images, size)):
        block = _block(whole, min(size, work.images - first))
        rows += _block_rows(f"{index:04d}", first, block, shards, request)
    return rows


def _block(work: Work, images: int) -> Work:
    return replace(work, images=images, image_batch=min(work.image_batch, images))


def _block_size(work: Work, request: Request) -> int:
    """Return how many images one job reconstructs."""
    one = replace(work, images=1)
    per_image = predicted_seconds(one, request.rates) - request.rates.start
    size = min(work.images, max(work.image_batch, int(_BEARABLE_SECONDS / max(per_image, 1e-9))))
    while size > work.image_batch and not request.limits.hold(
        footprint(replace(work, images=size))
    ):
        size = max(work.image_batch, size // 2)
    return size if request.block_images == "auto" else min(size, request.block_images)


def _shard_count(block: Work, request: Request) -> int:
    """Return into how many shards a block is cut."""
    if request.shards != "auto":
        return request.shards
    seconds = accumulating_seconds(block, request.rates)
    return max(1, min(block.model.most_shards, math.ceil(seconds / _BEARABLE_SECONDS)))


def _shards_fit(block: Work, shards: int, request: Request) -> bool:
    """Tell whether each shard of a block fits, and their sum."""
    pieces = [work for work, _ in _shards(block, shards)]
    return all(choose_tiles(work, request.limits, request.rates) is not None for work in pieces)


def _shards(block: Work, shards: int) -> list[tuple[Work, tuple[range, range] | None]]:
    """Return the shards of a block with their channels and readouts, and last their sum."""
    model = block.model
    pieces = shard_ranges(model.channels, model.readouts, shards, cut_readouts=model.cuts_readouts)
    accumulated = [
        replace(
            block,
            stage="accumulate",
            channels=len(channels),
            readouts=len(readouts),
            makes_kernel=channels.start == 0 or not model.kernel_of_first_channel,
        )
        for channels, readouts in pieces
    ]
    total = replace(block, stage="sum", shards=shards)
    return [*zip(accumulated, pieces, strict=True), (total, None)]


def _block_rows(
    name: str, first_image: int, block: Work, shards: int, request: Request
) -> list[PlanRow]:
    if shards == 1:
        return [_row(block, request, name, first_image)]
    rows = []
    for index, (work, ranges) in enumerate(_shards(block, shards)):
        shard = "" if ranges is None else f"{index:03d}"
        tiled = choose_tiles(work, request.limits, request.rates)
        if tiled is None:
            what = f"{request.who} block {name}" + (f" shard {shard}" if shard else "")
            raise PlanError(f"{what}: {refusal(work, request.limits)}")
        rows.append(_row(tiled, request, name, first_image, shard, ranges))
    return rows


def _row(
    work: Work,
    request: Request,
    block: str,
    first_image: int,
    shard: str = "",
    ranges: tuple[range, range] | None = None,
) -> PlanRow:
    need = footprint(work)
    seconds = predicted_seconds(work, request.rates)
    channels, readouts = ranges or (range(work.channels), range(work.readouts))
    return PlanRow(
        stage="accumulate" if shard else "reconstruct",
        block=block,
        shard=shard,
        first_image=first_image,
        images=work.images,
        first_channel=channels.start,
        channels=len(channels),
        first_readout=readouts.start,
        readouts=len(readouts),
        image_batch=min(work.image_batch, work.images),
        coil_batch=work.channel_batch,
        readout_batch=work.readout_batch,
        **work.model.columns,
        transforms=work.machine.choice,
        device_mb=need.device_mb,
        host_mb=need.host_mb,
        disk_mb=math.ceil(written_bytes(work) / MEGABYTE),
        seconds=round(seconds, 1),
        limit_device_mb=request.limits.device_mb,
        limit_host_mb=request.limits.host_mb,
        mem_mb=requested_mb(need.host_mb),
        runtime=_MINUTES_TO_SPARE + math.ceil(_MARGIN * seconds / 60),
        dominant=need.dominant(),
    )


def refusal(work: Work, limits: Limits) -> str:
    """Return why the smallest tiles do not fit, with the arithmetic."""
    need = footprint(smallest_tiles(work))
    lines = []
    for setting, found, allowed, parts in (
        ("memory.device_mb", need.device_bytes, limits.device_mb, need.device),
        ("memory.host_mb", need.host_bytes, limits.host_mb, need.host),
    ):
        if not allowed or found <= allowed * MEGABYTE:
            continue
        largest = sorted(parts.items(), key=lambda part: -part[1])
        sums = " + ".join(f"{name} {size / MEGABYTE:.0f}" for name, size in largest)
        lines.append(
            "one image, one channel and one readout at a time needs "
            f"{math.ceil(found / MEGABYTE)} MB, but {setting} is {allowed} MB ({sums} MB)"
        )
    return "; ".join(lines)


def total_disk_mb(rows: Sequence[PlanRow]) -> int:
    """Return what all jobs write together [MB]."""
    return sum(row.disk_mb for row in rows)
