"""The report: one self-contained page about all reconstructions of a run, pictures first.

`report_page` arranges what the metrics table, the receipts and the images say; the template
`templates/report.html.j2`, with one for each of its parts, says how it looks. The page loads
nothing and runs no script.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.sweeps import Sweep
from pipeline.errors import KronufftError
from pipeline.report.accounts import (
    MOST_JOBS,
    STREAM_NOTE,
    Bar,
    longest_jobs,
    memory_chart,
    over_plan,
    time_bars,
    totals,
)
from pipeline.report.failures import Failure
from pipeline.report.reconstructions import Reconstruction, describe_reconstruction, short
from pipeline.report.shown import AnySeries, ShownCalibration
from pipeline.report.sweeps import SweepSheet, sweep_sheets
from pipeline.report.timeline import timeline_chart
from pipeline.report.viewer import viewer_of
from pipeline.report.wording import environment
from pipeline.storage.receipts import warnings_of
from pipeline.storage.sealed import DAMAGE, again, remake, run_command

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DatasetSection:
    """What the page shows of one dataset."""

    name: str
    facts: tuple[tuple[str, str], ...]
    """Label and value of what ingest and calibrate recorded."""
    reconstructions: tuple[Reconstruction, ...]
    """Its reconstructions whose images can be read."""
    sweeps: tuple[SweepSheet, ...]
    """Of several of them."""
    calibration: ShownCalibration
    """What was found before."""
    time: tuple[Bar, ...]
    """Bars of all its stages, drawn to one scale."""
    phases: tuple[tuple[str, int], ...]
    """Name and colour number of each phase in the bars."""


def report_page(
    table: "pd.DataFrame",
    receipts: Sequence[Mapping[str, Any]],
    series: Mapping[tuple[str, str], AnySeries],
    problems: Sequence[str],
    report: Path,
    failures: Sequence[Failure] = (),
    calibrations: Mapping[str, ShownCalibration] | None = None,
    sweeps: Sequence[Sweep] = (),
    logs: Path = Path("logs"),
) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    table
        Metrics of the whole run, see `pipeline.metrics.tables`.
    receipts
        Receipts of ingest, calibrate and measure; the last carry the residuals.
    series
        Images by (dataset, reconstruction).
    problems
        One line for each input that is missing or unreadable.
    report
        Where the page will stand: in the folder of the whole run.
    failures
        Reconstructions that are missing, and why.
    calibrations
        What was found of each dataset before it was reconstructed.
    sweeps
        Reconstructions that are shown together.
    logs
        Folder of the logs.
    """
    jobs = table[table["kind"] == "job"]
    unreadable: list[str] = []
    sections = [
        _dataset_section(
            report.parent / name,
            table[table["dataset"] == name],
            receipts,
            series,
            (calibrations or {}).get(name, ShownCalibration()),
            unreadable,
            sweeps,
            logs,
        )
        for name in table["dataset"].dropna().unique()
    ]
    scatters = [
        scatter
        for where, title in (("host", "Host memory"), ("device", "Device memory"))
        if (scatter := memory_chart(jobs, where, title)) is not None
    ]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            sections=sections,
            cards=[one for section in sections for one in section.reconstructions],
            viewer=viewer_of(report).name,
            totals=totals(table),
            problems=[*problems, *unreadable],
            failures=failures,
            warnings=warnings_of(receipts),
            over_plan=over_plan(jobs),
            stream_note=STREAM_NOTE,
            scatters=scatters,
            timeline=timeline_chart(jobs),
            jobs=longest_jobs(jobs),
            jobs_left_out=max(0, len(jobs) - MOST_JOBS),
            versions=_versions(receipts),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _dataset_section(
    folder: Path,
    table: "pd.DataFrame",
    receipts: Sequence[Mapping[str, Any]],
    series: Mapping[tuple[str, str], AnySeries],
    calibration: ShownCalibration,
    unreadable: list[str],
    sweeps: Sequence[Sweep],
    logs: Path,
) -> DatasetSection:
    """Return what the page shows of a dataset; add to ``unreadable`` what it cannot show."""
    name = folder.name
    own = [receipt for receipt in receipts if receipt.get("dataset") == name]
    time, phases = time_bars(table[table["kind"] == "job"])
    shown = []
    for reconstruction in table["reconstruction"].dropna().unique():
        if (name, reconstruction) not in series:
            continue
        rows = table[table["reconstruction"] == reconstruction]
        measured = _receipt(own, "measure", reconstruction)
        try:
            one = describe_reconstruction(rows, measured, series[name, reconstruction], own)
            made = folder / reconstruction
            shown.append(
                replace(one, files=_files(made), logs=_logs(made, logs), commands=_commands(made))
            )
        except (KronufftError, *DAMAGE) as error:  # one damaged chunk must not hide the others
            image = folder / reconstruction / "image.json"
            which = "damaged"
            if not isinstance(error, KronufftError):
                which += f", or a defect of Kronufft: `kronufft verify {image.parent}` tells which"
            unreadable.append(f"{image}: {which} ({error}); {remake(image)}")
    return DatasetSection(
        name=name,
        facts=_dataset_facts(own),
        reconstructions=tuple(shown),
        sweeps=tuple(sweep_sheets(sweeps, shown, table, own)),
        calibration=calibration,
        time=time,
        phases=phases,
    )


def _logs(folder: Path, logs: Path) -> str:
    """Return the way from the page to the logs of a reconstruction's blocks, if there are any."""
    own = logs / "reconstruct" / folder.parent.name / folder.name
    return os.path.relpath(own, folder.parents[1]) if own.is_dir() else ""


def _commands(folder: Path) -> tuple[str, ...]:
    """Return the commands of a reconstruction, for the folder that the run was started in."""
    return (
        f"kronufft show {shlex.quote(str(folder))}",
        again(run_command(), "--forceall", folder / "image.json"),
    )


def _files(folder: Path) -> tuple[str, ...]:
    """Return the names of what a reconstruction has left for its users."""
    if not folder.is_dir():
        return ()
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return tuple(sorted(name for name in names if name not in _OF_THE_WORKFLOW))


_OF_THE_WORKFLOW = ("blocks", "shares", "receipts", "image.json", "metrics.parquet")


def _receipt(
    receipts: Sequence[Mapping[str, Any]], stage: str, reconstruction: str | None = None
) -> Mapping[str, Any]:
    for receipt in receipts:
        if receipt.get("stage") == stage and receipt.get("reconstruction") == reconstruction:
            return receipt
    return {}


def _dataset_facts(receipts: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Return what ingest and calibrate recorded that is a single value."""
    facts = []
    for stage in ("ingest", "calibrate"):
        for key, value in _receipt(receipts, stage).items():
            if key not in _ABOUT_THE_JOB:
                facts += _described(key, value)
    return tuple(facts)


_ABOUT_THE_JOB = frozenset(
    ("stage", "dataset", "reconstruction", "started", "seconds", "phases", "peak_host_bytes",
     "peak_device_bytes", "predicted_host_bytes", "limit_host_bytes", "predicted_device_bytes",
     "limit_device_bytes", "versions", "device", "threads", "inputs", "code", "git",
     "platform", "command", "run", "checksum", "warnings")
)  # fmt: skip


def _described(key: str, value: Any) -> list[tuple[str, str]]:
    """Return a recorded value as label and text; nested values as several."""
    label = key.replace("_", " ")
    match value:
        case None | "" | [] | {}:
            return []
        case dict():
            return [
                (f"{label}, {inner}", text)
                for name, one in value.items()
                for inner, text in _described(str(name), one)
            ]
        case list() if len(value) <= 4 and not any(isinstance(one, list | dict) for one in value):
            return [(label, " × ".join(short(one) for one in value))]
        case list():
            return []
        case _:
            return [(label, short(value))]


def _versions(receipts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for receipt in receipts:
        for package, version in receipt.get("versions", {}).items():
            found.setdefault(package, {})[version] = None
    return [(package, ", ".join(versions)) for package, versions in sorted(found.items())]
