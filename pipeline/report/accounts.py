"""What the jobs of a run took: totals, time by phase, memory and streams, as the report says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.metrics.tables import rows_of
from pipeline.report.charts import memory_scatter
from pipeline.report.quality import Table
from pipeline.report.wording import duration, memory
from pipeline.storage.receipts import STAGES

if TYPE_CHECKING:
    import pandas as pd

MOST_JOBS = 400
"""Jobs that the page lists; all are in the table."""

_COLOURS = 8


@dataclass(frozen=True)
class Bar:
    """Wall time of one stage, split by phase."""

    label: str
    """The stage and its number of jobs."""
    seconds: float
    """Wall time of all its jobs."""
    parts: tuple[tuple[str, float, float, int], ...]
    """(phase, seconds, percent of the longest bar, colour number)."""


def time_bars(jobs: "pd.DataFrame") -> tuple[tuple[Bar, ...], tuple[tuple[str, int], ...]]:
    """Return a bar for each stage of each reconstruction, and the phases' colours."""
    columns = [name for name in jobs if str(name).startswith("seconds_") and jobs[name].sum() > 0]
    # A colour each for those that took longest; the rest is with the others.
    told = set(sorted(columns, key=lambda name: -jobs[name].sum())[:_COLOURS])
    names = [str(name).removeprefix("seconds_") for name in columns if name in told]
    phases = {name: index for index, name in enumerate(names)}
    rank = {stage: index for index, stage in enumerate(STAGES)}
    groups = jobs.fillna({"reconstruction": ""}).groupby(["reconstruction", "stage"], sort=False)
    entries = sorted(
        ((str(reconstruction), str(stage), group) for (reconstruction, stage), group in groups),
        key=lambda entry: (entry[0], rank.get(entry[1], len(rank))),
    )
    longest = max((float(group["seconds"].sum()) for *_, group in entries), default=0.0) or 1.0
    bars = []
    for reconstruction, stage, group in entries:
        seconds = float(group["seconds"].sum())
        parts = [
            (phase, spent, 100 * spent / longest, index)
            for phase, index in phases.items()
            if (spent := float(group[f"seconds_{phase}"].sum())) > 0
        ]
        rest = seconds - sum(part[1] for part in parts)
        if rest > 0:
            parts.append(("other", rest, 100 * rest / longest, _COLOURS))
        count = f", {len(group)} jobs" if len(group) > 1 else ""
        label = f"{reconstruction} · {stage}{count}" if reconstruction else f"{stage}{count}"
        bars.append(Bar(label, seconds, tuple(parts)))
    return tuple(bars), (*phases.items(), ("other", _COLOURS))


def memory_chart(jobs: "pd.DataFrame", where: str, title: str) -> tuple[str, str, str] | None:
    """Return title, picture and caption of predicted against measured memory."""
    predicted, measured = f"predicted_{where}_mb", f"peak_{where}_mb"
    known = jobs[jobs[predicted].notna() & jobs[measured].notna()]
    if known.empty:
        return None
    # Of what all reconstructions of a dataset share, pandas would drop the rows.
    names = known["dataset"] + (" · " + known["reconstruction"]).fillna("")
    groups = {
        str(name): list(zip(group[predicted], group[measured], strict=True))
        for name, group in known.groupby(names, sort=False)
    }
    if len(groups) > 6:
        groups = {"all jobs": [pair for group in groups.values() for pair in group]}
    # Ingest keeps to a setting of its own.
    limits = known.loc[known["stage"] != "ingest", f"limit_{where}_mb"].dropna()
    limit = float(limits.min()) if len(limits) else None
    over = int((known[measured] > known[predicted]).sum())
    closest = float((known[measured] / known[predicted]).max())
    caption = (
        f"{len(known)} {'job' if len(known) == 1 else 'jobs'}; the fullest used {closest:.0%} of "
        f"what was planned for it, {over or 'none'} used more (shaded)."
    )
    if limit:
        caption += f" The limit of all but ingest is {memory(limit)}."
    return title, memory_scatter(groups, limit), caption


def over_plan(jobs: "pd.DataFrame") -> list[str]:
    """Return a line for each stage of a reconstruction whose jobs took more memory than planned."""
    told = []
    for where in ("host", "device"):
        predicted, measured = f"predicted_{where}_mb", f"peak_{where}_mb"
        over: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for job in rows_of([jobs[jobs[measured] > jobs[predicted]]]):
            names = (job["dataset"], job.get("reconstruction", ""), job["stage"])
            over.setdefault(names, []).append(job)
        for who, group in over.items():
            worst = max(group, key=lambda job: job[measured] / job[predicted])
            count = f"{len(group)} jobs" if len(group) > 1 else "a job"
            told.append(
                f"{' · '.join(filter(None, who))}: {count} took up to {memory(worst[measured])} of "
                f"{where} memory, planned were {memory(worst[predicted])}"
            )
    return told


def totals(table: "pd.DataFrame") -> tuple[tuple[str, str], ...]:
    """Return (value, what it counts) for the whole metrics table."""
    jobs = table[table["kind"] == "job"]
    made = table[["dataset", "reconstruction"]].dropna().drop_duplicates()
    counts = {
        "dataset": table["dataset"].nunique(),
        "reconstruction": len(made),
        "image": int((table["kind"] == "image").sum()),
        "job": len(jobs),
    }
    found = [(str(count), name if count == 1 else f"{name}s") for name, count in counts.items()]
    found.append((duration(float(jobs["seconds"].sum())), "of work"))
    for where in ("host", "device"):
        if jobs[f"peak_{where}_mb"].notna().any():
            found.append((memory(float(jobs[f"peak_{where}_mb"].max())), f"{where} peak"))
    return tuple(found)


def longest_jobs(jobs: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the longest jobs, without empty cells, in the order of the table."""
    return rows_of([jobs.nlargest(MOST_JOBS, "seconds").sort_index()])


STREAMED = ("read", "copy", "compute", "stall")
STREAM_NOTE = (
    "Seconds of the jobs together. A reader decodes the next tile and copies it while the present "
    "one computes: waited is what of that computing did not hide."
)


def stream_table(streaming: Mapping[str, Any]) -> Table:
    """Return a table of one row of what `pipeline.metrics.streams.stream_totals` found."""
    if not streaming:
        return ()
    megabytes, seconds = streaming["bytes"] / 1e6, streaming["read_seconds"]
    return (
        ("read", "copied", "computed", "waited", "data", "rate", "hidden"),
        (
            *(duration(streaming[f"{name}_seconds"]) for name in STREAMED),
            memory(megabytes),
            f"{memory(megabytes / seconds)}/s" if seconds > 0 else "",
            f"{streaming['overlap']:.0%}",
        ),
    )
