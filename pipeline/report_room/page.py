"""The report: one self-contained page about all reconstructions of a run, pictures first.

`report_page` arranges what the metrics table, the receipts and the images say; the template
`templates/report.html.j2` says how it looks. The page loads nothing and runs no script.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.accounts import (
    MOST_JOBS,
    Bar,
    duration,
    length,
    longest_jobs,
    memory,
    memory_chart,
    time_bars,
    totals,
)
from pipeline.figures import Figure, Picture, Series, strip, thumbnail, views
from pipeline.pictures import convergence_curves

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_TABLE = 16
_QUALITY = {
    "nrmse": ("NRMSE", ".4f"),
    "nrmse_complex": ("complex NRMSE", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "psnr_db": ("PSNR [dB]", ".2f"),
    "correlation": ("correlation", ".4f"),
    "signal_to_background_db": ("signal to background [dB]", ".1f"),
}


@dataclass(frozen=True)
class Reconstruction:
    """One reconstruction of one dataset, ready for the page.

    Parameters
    ----------
    dataset, name
        Names.
    thumbnail
        For the contact sheet.
    headline
        What it comes down to, in a few short phrases.
    figures
        Pictures with captions.
    quality
        Header and rows of the quality table; empty without images in the metrics.
    quality_note
        What the figures in the table are relative to.
    convergence
        Data URI of the curves; None where nothing iterated.
    convergence_note
        Caption of the curves.
    settings
        Label and value of what it was made with.
    """

    dataset: str
    name: str
    thumbnail: Picture
    headline: tuple[str, ...]
    figures: tuple[Figure, ...]
    quality: tuple[tuple[str, ...], ...]
    quality_note: str
    convergence: str | None
    convergence_note: str
    settings: tuple[tuple[str, str], ...]

    @property
    def anchor(self) -> str:
        """Identifier of its place on the page."""
        return f"{self.dataset}--{self.name}"


@dataclass(frozen=True)
class DatasetSection:
    """What the page shows of one dataset.

    Parameters
    ----------
    name
        Name of the dataset.
    facts
        Label and value of what ingest and calibrate recorded.
    reconstructions
        Its reconstructions whose images can be read.
    time
        Bars of all its stages, drawn to one scale.
    phases
        Name and colour number of each phase in the bars.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    reconstructions: tuple[Reconstruction, ...]
    time: tuple[Bar, ...]
    phases: tuple[tuple[str, int], ...]


def report_page(
    table: "pd.DataFrame",
    receipts: Sequence[Mapping[str, Any]],
    series: Mapping[tuple[str, str], Series],
    problems: Sequence[str],
) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    table
        Metrics of the whole run, see `pipeline.tables`.
    receipts
        Receipts of ingest, calibrate and measure; the last carry the residuals.
    series
        Images by (dataset, reconstruction).
    problems
        One line for each input that is missing or unreadable.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, memory=memory, length_text=length)
    jobs = table[table["kind"] == "job"]
    sections = [
        _dataset_section(name, table[table["dataset"] == name], receipts, series)
        for name in table["dataset"].dropna().unique()
    ]
    scatters = [
        scatter
        for where, title in (("host", "Host memory"), ("device", "Device memory"))
        if (scatter := memory_chart(jobs, where, title)) is not None
    ]
    return environment.get_template("report.html.j2").render(
        sections=sections,
        cards=[one for section in sections for one in section.reconstructions],
        totals=totals(table),
        problems=problems,
        scatters=scatters,
        jobs=longest_jobs(jobs),
        jobs_left_out=max(0, len(jobs) - MOST_JOBS),
        versions=_versions(receipts),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _dataset_section(
    name: str,
    table: "pd.DataFrame",
    receipts: Sequence[Mapping[str, Any]],
    series: Mapping[tuple[str, str], Series],
) -> DatasetSection:
    own = [receipt for receipt in receipts if receipt.get("dataset") == name]
    time, phases = time_bars(table[table["kind"] == "job"])
    return DatasetSection(
        name=name,
        facts=_dataset_facts(own),
        reconstructions=tuple(
            _reconstruction(
                table[table["reconstruction"] == reconstruction],
                _receipt(own, "measure", reconstruction),
                series[name, reconstruction],
            )
            for reconstruction in table["reconstruction"].dropna().unique()
            if (name, reconstruction) in series
        ),
        time=time,
        phases=phases,
    )


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
     "peak_device_bytes", "versions", "device", "threads")
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
            return [(label, " × ".join(_short(one) for one in value))]
        case list():
            return []
        case _:
            return [(label, _short(value))]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _reconstruction(
    table: "pd.DataFrame", measured: Mapping[str, Any], series: Series
) -> Reconstruction:
    jobs, images = table[table["kind"] == "job"], table[table["kind"] == "image"]
    figures = [strip(series)] if series.frames > 1 else []
    quality = _quality_table(images)
    curves = [
        curve
        for block in measured.get("blocks", ())
        for curve in block.get("residuals", ())
        if curve
    ]
    return Reconstruction(
        dataset=table["dataset"].iloc[0],
        name=table["reconstruction"].iloc[0],
        thumbnail=thumbnail(series),
        headline=_headline(jobs, images, series),
        figures=(views(series), *figures),
        quality=quality,
        quality_note=_quality_note(images),
        convergence=convergence_curves(curves) if curves else None,
        convergence_note=_convergence_note(measured, curves),
        settings=_settings(jobs, measured),
    )


def _headline(jobs: "pd.DataFrame", images: "pd.DataFrame", series: Series) -> tuple[str, ...]:
    made = jobs[jobs["stage"] == "reconstruct"]
    shape = series.images.shape[1:] if series.images.shape[1] > 1 else series.images.shape[2:]
    words = [" × ".join(str(size) for size in shape)]
    if series.frames > 1:
        words.append(f"{series.frames} frames")
    if made["coils"].notna().any():
        coils = int(made["coils"].max())
        words.append("1 coil" if coils == 1 else f"{coils} coils")
    if made["samples"].notna().any():
        words.append(f"{int(made['samples'].max()):,} samples".replace(",", "\u202f"))
    words.append(duration(float(jobs["seconds"].sum())))
    if made["peak_host_mb"].notna().any():
        words.append(memory(float(made[["peak_host_mb", "peak_device_mb"]].max().max())))
    if images["nrmse"].notna().any():
        words.append(f"NRMSE {images['nrmse'].median():.3f}")
    return tuple(words)


def _quality_table(images: "pd.DataFrame") -> tuple[tuple[str, ...], ...]:
    """Return header and rows: each frame of a short series, a summary of a long one."""
    columns = {name: text for name, text in _QUALITY.items() if images[name].notna().any()}
    if not columns:
        return ()
    if len(columns) > 1:  # a weak figure, worth its place only where there is no better one
        columns.pop("signal_to_background_db", None)
    header = ("frame", *(title for title, _ in columns.values()))
    if len(images) <= _LONGEST_TABLE:
        chosen = {str(int(row["frame"])): row for _, row in images.iterrows()}
    else:
        numbers = images[list(columns)]
        chosen = {
            "median": numbers.median(),
            "smallest": numbers.min(),
            "largest": numbers.max(),
        }
    return (
        header,
        *(
            (name, *(_number(row[column], style) for column, (_, style) in columns.items()))
            for name, row in chosen.items()
        ),
    )


def _number(value: Any, style: str) -> str:
    if not isinstance(value, float) or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, style)


def _quality_note(images: "pd.DataFrame") -> str:
    references = images["reference"].dropna().unique()
    if not len(references):
        return "No reference to compare with."
    against = str(references[0])
    if len(references) > 1:
        against = f"first image: {against}; the others likewise"
    return (
        f"Against the dataset's reference ({against}). NRMSE, PSNR and SSIM are of magnitudes "
        "after one real scale factor; SSIM has a 7 × 7 window and the reference's maximum as its "
        "range; correlation is Pearson's over all voxels."
    )


def _convergence_note(measured: Mapping[str, Any], curves: Sequence[Sequence[float]]) -> str:
    if not curves:
        return ""
    block = measured["blocks"][0]
    images = "1 image" if len(curves) == 1 else f"{len(curves)} images and their median"
    text = f"Residual of the normal equations relative to their right-hand side, {images}"
    if "regularization" in block:
        text += f", Tikhonov weight {block['regularization']:g}"
    return f"{text}, {max(map(len, curves))} iterations."


def _settings(jobs: "pd.DataFrame", measured: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the settings that all blocks share, and the canary's worst figures."""
    blocks = measured.get("blocks", ())
    settings: list[tuple[str, str]] = []
    for key in (
        "algorithm",
        "regularization",
        "iterations",
        "normal",
        "backend",
        "device",
        "threads",
    ):
        values = dict.fromkeys(_short(block[key]) for block in blocks if block.get(key) is not None)
        if values:
            settings.append((key, ", ".join(values)))
    if "frames_per_image" in measured:
        settings.append(("measured frames in an image", str(measured["frames_per_image"])))
    settings.append(("blocks", str(len(blocks))))
    for column, label in (
        ("adjoint_error", "canary: adjoint test"),
        ("forward_error", "canary: against the exact sum"),
    ):
        if jobs[column].notna().any():
            settings.append((label, f"{jobs[column].max():.1e}"))
    return tuple(settings)


def _versions(receipts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for receipt in receipts:
        for package, version in receipt.get("versions", {}).items():
            found.setdefault(package, {})[version] = None
    return [(package, ", ".join(versions)) for package, versions in sorted(found.items())]
