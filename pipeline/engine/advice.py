"""Changes that would make an impossible plan possible, found by trying them. Pure."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from pipeline.engine.memory import footprint
from pipeline.engine.plan import Request, plan_jobs
from pipeline.engine.table import PlanRow
from pipeline.engine.tiles import Limits, smallest_tiles
from pipeline.errors import PlanError


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
    least = smallest_tiles(request.work)
    need = footprint(least)
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
    parts = []
    if raised.device_mb > limits.device_mb:
        parts.append(f"memory.device_mb: {raised.device_mb}")
    if raised.host_mb > limits.host_mb:
        parts.append(f"memory.host_mb: {raised.host_mb}")
    if parts:
        yield " with ".join(parts)


def _fits(request: Request) -> bool:
    one = replace(request.work, images=1)
    try:
        plan_jobs(replace(request, work=one))
    except PlanError:
        return False
    return True
