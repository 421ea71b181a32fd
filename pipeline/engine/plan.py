"""Cut a reconstruction into jobs that fit the memory limits. Pure functions, no I/O.

A block is what one job reconstructs. Inside it, images go to the device a batch at a time, and the
measurement a tile at a time. The plan takes the largest useful tiles that fit, then as few blocks
as the limits, and a job of bearable length, allow. Where reading and gridding a single image takes
longer than that, its measurement is cut into shards, each with a job of its own.

Channels are cut first: every coil has the same samples, so that the first range of channels makes
the kernel once for all, and a share of the others is an image and no more. Readouts are cut only
where there are more shards than channels: each range of readouts then needs a kernel of its own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from pipeline.engine.limits import MEGABYTE, Limits
from pipeline.engine.memory import footprint, written_bytes
from pipeline.engine.needs import excesses, requested_mb
from pipeline.engine.rates import Rates
from pipeline.engine.seconds import accumulating_seconds, predicted_seconds
from pipeline.engine.table import PlanRow
from pipeline.engine.tiles import choose_tiles, smallest_tiles
from pipeline.engine.work import ModelCosts, Work
from pipeline.errors import PlanError

_BEARABLE_SECONDS = 600.0
_MINUTES_TO_SPARE = 5
_MARGIN = 3
"""Times the predicted seconds that a scheduler is asked for."""


@dataclass(frozen=True)
class Request:
    """What is to be planned."""

    work: Work
    """All images, in one job; its tiles are chosen here."""
    limits: Limits
    rates: Rates
    shards: Literal["auto"] | int = "auto"
    """Jobs that share the measurement of a block."""
    block_images: Literal["auto"] | int = "auto"
    """Images that one job reconstructs at most."""
    who: str = "plan"
    """Dataset and reconstruction, for the message of an error."""
    others: tuple[ModelCosts, ...] = ()
    """Other ways to run the same work, slower but in less memory, the fastest first."""
    notes: tuple[str, ...] = ()
    """Lines for the log, on what was chosen and why."""


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
        raise PlanError(f"{request.who}: {_refusal(choices[-1], limits)}")
    together = min(work.images, whole.model.images_together or work.images)
    size = min(_block_size(whole, request), together)
    blocks = math.ceil(together / size)
    size = math.ceil(together / blocks)  # evenly, not one small block at the end
    shards = _shard_count(replace(whole, images=size), request)
    cuts = shards > 1 and not whole.joint
    while cuts and size > 1 and not _shards_fit(_block(whole, size), shards, request):
        size = math.ceil(size / 2)
    rows: list[PlanRow] = []
    starts = (
        (first, min(size, start + together - first, work.images - first))
        for start in range(0, work.images, together)
        for first in range(start, min(start + together, work.images), size)
    )
    for index, (first, images) in enumerate(starts):
        block = _block(whole, images)
        rows += _block_rows(f"{index:04d}", first, block, shards, request)
    return rows


def _block(work: Work, images: int) -> Work:
    return replace(work, images=images, image_batch=min(work.image_batch, images))


def _block_size(work: Work, request: Request) -> int:
    """Return how many images one job reconstructs."""
    if work.joint:
        return work.images
    one = replace(work, images=1)
    per_image = predicted_seconds(one, request.rates) - request.rates.start
    size = min(work.images, max(work.image_batch, int(_BEARABLE_SECONDS / max(per_image, 1e-9))))
    while size > work.image_batch and not footprint(replace(work, images=size)).fits(
        request.limits
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


def shard_ranges(
    channels: int, readouts: int, shards: int, *, cut_readouts: bool = True
) -> list[tuple[range, range]]:
    """Return the channels and readouts of each shard of the measurement of one image.

    They cover every readout of every channel once, in order. Ranges of channels of the same
    readouts differ by one channel at most, and so do those of readouts by one readout. Readouts may
    not be cut where the squares of coil images are added: a coil's image must be whole before it
    is squared. Raises `PlanError` if there are fewer pieces than shards.

    Examples
    --------
    >>> shard_ranges(8, 100, 3)
    [(range(0, 3), range(0, 100)), (range(3, 6), range(0, 100)), (range(6, 8), range(0, 100))]
    >>> shard_ranges(1, 100, 2)
    [(range(0, 1), range(0, 50)), (range(0, 1), range(50, 100))]
    """
    most = channels * (readouts if cut_readouts else 1)
    if not 1 <= shards <= most:
        whole = f"{channels} channels" + (f" of {readouts} readouts" if cut_readouts else "")
        why = "" if cut_readouts else " (without coil maps a coil's readouts stay together)"
        raise PlanError(
            f"memory.shards: {shards} shards, but {whole} are at most {most} pieces{why}; "
            "ask for fewer"
        )
    rows = -(-shards // channels)
    pieces = []
    for part, columns in zip(_even_ranges(readouts, rows), _even_ranges(shards, rows), strict=True):
        pieces += [(some, part) for some in _even_ranges(channels, len(columns))]
    return pieces


def _even_ranges(total: int, pieces: int) -> Iterator[range]:
    """Cut ``range(total)`` into consecutive ranges of almost the same length."""
    short, longer = divmod(total, pieces)
    first = 0
    for piece in range(pieces):
        last = first + short + (piece < longer)
        yield range(first, last)
        first = last


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
            raise PlanError(f"{what}: {_refusal(work, request.limits)}")
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
        images=work.images * work.outputs,
        first_channel=channels.start,
        channels=len(channels),
        first_readout=readouts.start,
        readouts=len(readouts),
        image_batch=min(work.image_batch, work.images),
        coil_batch=work.channel_batch,
        readout_batch=work.readout_batch,
        **work.model.columns,
        on_host=work.on_host,
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


def _refusal(work: Work, limits: Limits) -> str:
    """Return why the smallest tiles do not fit, with the arithmetic."""
    found = excesses(footprint(smallest_tiles(work)), limits)
    who = "one image, one channel and one readout at a time"
    return "; ".join(f"{who} {arithmetic}" for _, _, arithmetic in found)


def plan_or_advise(request: Request) -> list[PlanRow]:
    """Plan as `plan_jobs` does; say what would help where that fails.

    Raises
    ------
    PlanError
        With the arithmetic of what does not fit, and changes that were tried and do fit.
    """
    try:
        return plan_jobs(request)
    except PlanError as error:
        advice = list(changes(request))
        if not advice:
            raise
        raise PlanError(f"{error}. Each of these would fit: {'; '.join(advice)}") from None


def changes(request: Request) -> Iterator[str]:
    """Yield single changes of limits or settings with which the plan can be made."""
    yield from _higher_limits(request)
    work = request.work
    if work.machine.itemsize == 16:
        single = replace(work, machine=replace(work.machine, itemsize=8))
        if _fits(replace(request, work=single)):
            yield "compute.precision: single"
    if work.machine.deterministic:
        free = replace(work, machine=replace(work.machine, deterministic=False))
        if _fits(replace(request, work=free)):
            yield "compute.deterministic: false"
    for group in work.model.other_settings(work):
        fitting = (told for told, other in group if _fits(replace(request, work=other)))
        yield from islice(fitting, 1)


def _higher_limits(request: Request) -> Iterator[str]:
    """Yield the least limit with which the plan can be made."""
    need = footprint(smallest_tiles(request.work))
    limits = request.limits
    raised = Limits(
        max(limits.device_mb, need.device_mb) if limits.device_mb else 0,
        max(limits.host_mb, need.host_mb),
    )
    # A block may need more than its smallest tile, such as the sum of shares.
    for _ in range(20):
        if _fits(replace(request, limits=raised)):
            break
        raised = Limits(math.ceil(raised.device_mb * 1.05), math.ceil(raised.host_mb * 1.05))
    else:
        return
    both = zip(limits._fields, limits, raised, strict=True)
    parts = [f"memory.{name}: {more}" for name, now, more in both if more > now]
    if parts:
        yield " with ".join(parts)


def _fits(request: Request) -> bool:
    one = request.work if request.work.joint else replace(request.work, images=1)
    try:
        plan_jobs(replace(request, work=one))
    except PlanError:
        return False
    return True
