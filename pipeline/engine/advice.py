"""Changes that would make an impossible plan possible, found by trying them. Pure."""

import math
from collections.abc import Iterator
from dataclasses import replace

from pipeline.engine.limits import MEGABYTE
from pipeline.engine.memory import footprint
from pipeline.engine.plan import Request, plan_jobs
from pipeline.engine.table import PlanRow
from pipeline.engine.tiles import Limits, smallest_tiles
from pipeline.engine.work import MriSizes, Work
from pipeline.errors import PlanError

_LEAST_SHRINKING = 0.3


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
    if isinstance(work.sizes, MriSizes):
        yield from _other_mri_settings(request, work.sizes)


def _higher_limits(request: Request) -> Iterator[str]:
    """Yield the least limit with which the plan can be made."""
    least = smallest_tiles(request.work)
    need = footprint(least)
    limits = request.limits
    device = math.ceil(need.device_bytes / MEGABYTE)
    host = math.ceil(need.host_bytes / MEGABYTE)
    raised = Limits(
        max(limits.device_mb, device) if limits.device_mb else 0, max(limits.host_mb, host)
    )
    # A block may need more than its smallest tile, such as the sum of shares.
    for _ in range(20):
        if _fits(replace(request, limits=raised)):
            break
        raised = Limits(math.ceil(raised.device_mb * 1.05), math.ceil(raised.host_mb * 1.05))
    else:
        return
    parts = []
    if raised.device_mb > limits.device_mb:
        parts.append(f"memory.device_mb: {raised.device_mb}")
    if raised.host_mb > limits.host_mb:
        parts.append(f"memory.host_mb: {raised.host_mb}")
    if parts:
        yield " with ".join(parts)


def _other_mri_settings(request: Request, sizes: MriSizes) -> Iterator[str]:
    work = request.work
    if work.settings.normal == "explicit" and work.solves:
        toeplitz = work.settings.model_copy(update={"normal": "toeplitz"})
        if _fits(replace(request, work=replace(work, settings=toeplitz))):
            yield "normal: toeplitz"
    smaller = _largest_matrix(request)
    if smaller:
        yield f"shape: [{', '.join(map(str, smaller))}]"
    if sizes.maps:
        # As `calibration` would compress them: the number of coils that fit.
        for coils in range(sizes.coils - 1, 0, -1):
            fewer = replace(sizes, coils=coils)
            if _fits(replace(request, work=replace(work, sizes=fewer, channels=coils))):
                yield f"{coils} of the {sizes.coils} coils"
                break


def _largest_matrix(request: Request) -> tuple[int, ...] | None:
    """Return the largest matrix of the same proportions, in steps of a fiftieth, that fits."""
    whole = request.work.shape
    for step in range(49, int(50 * _LEAST_SHRINKING), -1):
        shape = tuple(max(2, size * step // 50 // 2 * 2) for size in whole)
        if _fits(replace(request, work=replace(request.work, shape=shape))):
            return shape
    return None


def _fits(request: Request) -> bool:
    one: Work = replace(request.work, images=1)
    try:
        plan_jobs(replace(request, work=one))
    except PlanError:
        return False
    return True
