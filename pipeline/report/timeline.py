"""When each job ran, beside which others."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.report.charts import INK, SERIES, empty_figure, svg_source
from pipeline.report.wording import duration
from pipeline.storage.receipts import STAGES

if TYPE_CHECKING:
    import pandas as pd

_GAP, _SHORTEST_GAP = 0.25, 30.0
"""Part of the time that jobs took together, and seconds: where none ran for longer, the time is cut
out."""
_MOST_LANES = 40


@dataclass(frozen=True)
class _Span:
    start: float
    """Since the first job began, without what is cut out [s]."""
    seconds: float
    stage: str
    lane: int


def timeline_chart(jobs: "pd.DataFrame") -> tuple[str, str] | None:
    """Return a picture of all jobs over time, and its caption; None where fewer than two ran."""
    known = jobs[jobs["started"].notna() & jobs["seconds"].notna()]
    if len(known) < 2:
        return None
    spans, cuts = _laid_out(known)
    lanes = max(span.lane for span in spans) + 1
    if lanes > _MOST_LANES:
        return None
    figure, axes = empty_figure(11.0, 0.7 + 0.24 * lanes)
    stages = [stage for stage in STAGES if any(span.stage == stage for span in spans)]
    for colour, stage in zip((*SERIES, "#9aa0a8"), stages, strict=False):
        own = [span for span in spans if span.stage == stage]
        axes.barh(
            [span.lane for span in own], [span.seconds for span in own], 0.8,
            [span.start for span in own], color=colour, label=stage, edgecolor="white",
            linewidth=0.3,
        )  # fmt: skip
    for cut in cuts:
        axes.axvline(cut, color=INK, linewidth=1.0, linestyle=(0, (1, 2)), alpha=0.7)
    axes.set_yticks(range(lanes), [str(lane + 1) for lane in range(lanes)])
    axes.set(ylim=(lanes - 0.4, -0.6), xlim=(0, max(span.start + span.seconds for span in spans)))
    axes.set_xlabel("time [s]")
    axes.set_ylabel("side by side")
    figure.legend(frameon=False, labelcolor=INK, fontsize=8, loc="outside upper right", ncols=8)
    busy, end = sum(span.seconds for span in spans), max(s.start + s.seconds for s in spans)
    caption = (
        f"Each bar is a job. {len(spans)} jobs took {duration(busy)} together, within "
        f"{duration(end)}; up to {lanes} ran side by side."
    )
    if cuts:
        caption += " Where a line is dotted, nothing ran for a while, and the time is left out."
    return svg_source(figure), caption


def _laid_out(jobs: "pd.DataFrame") -> tuple[list[_Span], list[float]]:
    """Return the jobs in the order they began, each in the first free lane, and where time is cut.

    Starts are known to the second only.
    """
    starts = (jobs["started"] - jobs["started"].min()).dt.total_seconds().to_numpy()
    seconds = jobs["seconds"].to_numpy(float)
    longest_gap = max(_SHORTEST_GAP, _GAP * seconds.sum())
    left_out = end = 0.0
    spans: list[_Span] = []
    cuts: list[float] = []
    free: list[float] = []
    for index in np.argsort(starts, kind="stable"):
        if starts[index] - end > longest_gap:
            left_out += starts[index] - end - longest_gap
            cuts.append(starts[index] - left_out - longest_gap / 2)
        end = max(end, starts[index] + seconds[index])
        start = float(starts[index] - left_out)
        lane = _free_lane(free, start)
        free[lane] = start + float(seconds[index])
        spans.append(_Span(start, float(seconds[index]), str(jobs["stage"].iloc[index]), lane))
    return spans, cuts


def _free_lane(free: list[float], start: float) -> int:
    """Return the first lane whose jobs have ended, or a new one."""
    for lane, ended in enumerate(free):
        if ended <= start + 1.0:
            return lane
    free.append(0.0)
    return len(free) - 1
