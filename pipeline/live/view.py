"""The picture of a run on a terminal."""

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.live.jobs import Jobs, Whose, name_of
from pipeline.storage.receipts import STAGES

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_ROWS = 12
"""Of jobs, and of datasets: what does not fit a terminal is counted."""

_BAR = 24

# Colours that a terminal of sixteen has as well.
_bar = partial(ProgressBar, complete_style="cyan", pulse_style="cyan", finished_style="green")


def clock(seconds: float) -> str:
    """Return minutes and seconds, or hours and minutes."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}:{left:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


def shown(jobs: Jobs, memory: Mapping[str, float]) -> "RenderableType":
    """Return the picture; `memory` is what the job of each log has resident [MB]."""
    now = time.monotonic()
    parts: list[RenderableType] = [_head(jobs, now), _bars(jobs)]
    if jobs.running:
        parts.append(_running(jobs, memory, now))
    if jobs.shown():
        parts.append(_datasets(jobs))
    return Group(*parts)


def _head(jobs: Jobs, now: float) -> Text:
    told = [f"{jobs.finished} of {jobs.total} jobs", clock(now - jobs.began)]
    if (left := jobs.seconds_left(now)) is not None:
        told.append(f"about {clock(left)} left of what is planned")
    if jobs.failed:
        told.append(f"{len(jobs.failed)} failed")
    return Text("kronufft: " + ", ".join(told), style="bold", no_wrap=True, overflow="ellipsis")


def _bars(jobs: Jobs) -> Table:
    table = Table.grid(padding=(0, 1))
    for stage in _stages(jobs.expected):
        done, expected = jobs.done[stage], jobs.expected[stage]
        failed = sum(job.stage == stage for job, _ in jobs.failed.values())
        table.add_row(
            stage,
            _bar(total=expected, completed=done, width=_BAR),
            Text(f"{done}/{expected}", justify="right"),
            Text(f"{failed} failed", style="red") if failed else "",
        )
    return table


def _running(jobs: Jobs, memory: Mapping[str, float], now: float) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    for name, options in (
        *(("running", {}), ("stage", {}), ("cores", {"justify": "right"})),
        *(("MB of planned", {"justify": "right"}), ("time", {"justify": "right"})),
        ("its log says", {"ratio": 1}),
    ):
        table.add_column(name, no_wrap=True, overflow="ellipsis", **options)
    running = list(jobs.running.values())
    for job in running[:_MOST_ROWS]:
        taken = memory.get(str(job.log))
        table.add_row(
            job.name,
            f"{job.stage} {job.part}".strip(),
            str(job.threads),
            f"{'–' if taken is None else round(taken)} of {round(job.mem_mb or 0)}",
            clock(now - job.began),
            Text(job.said(), style="cyan"),
        )
    _count_rest(table, len(running))
    return table


def _datasets(jobs: Jobs) -> Table:
    """Return a row for each reconstruction of each dataset, with a bar for each of its stages."""
    stages = [stage for stage in _stages(jobs.expected) if stage in STAGES]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", *stages):
        table.add_column(name, no_wrap=True)
    shown = jobs.shown()
    # The last ones, which began last.
    for whose in shown[-_MOST_ROWS:]:
        failed = {job.stage for job, _ in jobs.failed.values() if job.whose == whose}
        table.add_row(
            name_of(whose),
            *(
                Text("failed", style="red") if stage in failed else _cell(jobs, whose, stage)
                for stage in stages
            ),
        )
    _count_rest(table, len(shown))
    return table


def _cell(jobs: Jobs, whose: Whose, stage: str) -> "RenderableType":
    done = jobs.part_done(whose, stage)
    if done is None:
        return ""
    waits = not done and jobs.runs(whose, stage)
    return _bar(total=1.0, completed=done, width=len(stage), pulse=waits)


def _stages(expected: Mapping[str, int]) -> list[str]:
    return [stage for stage in (*STAGES, "report") if expected[stage]]


def _count_rest(table: Table, rows: int) -> None:
    if rows > _MOST_ROWS:
        table.add_row(Text(f"and {rows - _MOST_ROWS} more", style="dim"))
