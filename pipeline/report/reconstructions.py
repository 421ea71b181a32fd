"""What the page shows of one reconstruction: its images, convergence, settings."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.algorithms.registry import settings_class
from pipeline.report.accounts import stream_table
from pipeline.report.charts import convergence_curves
from pipeline.report.methods import Methods, methods_of
from pipeline.report.quality import Table
from pipeline.report.shown import AnySeries, Shown
from pipeline.report.wording import duration, memory

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reconstruction:
    """One reconstruction of one dataset, ready for the page."""

    dataset: str
    name: str
    headline: tuple[str, ...]
    """What it comes down to, in a few short phrases."""
    shown: Shown
    """Pictures and tables of its images."""
    streaming: Table
    """Table of what jobs streamed."""
    convergence: str | None
    """Data URI of the curves; None where nothing iterated."""
    convergence_note: str
    """Caption of the curves."""
    settings: tuple[tuple[str, str], ...]
    """Label and value of what it was made with."""
    methods: Methods
    """What a paper says of it."""
    files: tuple[str, ...] = ()
    """Names in its folder."""
    logs: str = ""
    """Where the logs of its jobs are, seen from the page; empty where there are none."""
    commands: tuple[str, ...] = ()
    """That show where it comes from, and make it again."""

    @property
    def anchor(self) -> str:
        """Identifier of its place on the page."""
        return f"{self.dataset}--{self.name}"


_SHARED_SETTINGS = (
    "algorithm", "regularization", "iterations", "operator_evaluations", "fusion", "model",
    "sub_apertures", "normal", "backend", "device", "threads",
)  # fmt: skip


def short(value: Any) -> str:
    """Return a value as text, numbers to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def describe_reconstruction(
    table: "pd.DataFrame",
    measured: Mapping[str, Any],
    series: AnySeries,
    receipts: Sequence[Mapping[str, Any]] = (),
) -> Reconstruction:
    """Return what its rows of the metrics, its receipt of `measure` and its images show.

    ``receipts`` are those of its dataset.
    """
    jobs, images = table[table["kind"] == "job"], table[table["kind"] == "image"]
    curves = [
        curve
        for block in measured.get("blocks", ())
        for curve in block.get("residuals", ())
        if curve
    ]
    return Reconstruction(
        dataset=table["dataset"].iloc[0],
        name=table["reconstruction"].iloc[0],
        headline=_headline(jobs, images, series),
        shown=series.shown(table, measured),
        streaming=stream_table(measured.get("streaming", {})),
        convergence=convergence_curves(curves, _watched(measured)[0]) if curves else None,
        convergence_note=_convergence_note(measured, curves),
        settings=_settings(jobs, measured),
        methods=methods_of(receipts, measured),
    )


def _headline(jobs: "pd.DataFrame", images: "pd.DataFrame", series: AnySeries) -> tuple[str, ...]:
    made = jobs[jobs["stage"] == "reconstruct"]
    shape = series.images.shape[1:] if series.images.shape[1] > 1 else series.images.shape[2:]
    words = [" × ".join(str(size) for size in shape)]
    if series.frames > 1:
        words.append(f"{series.frames} {series.along}s")
    if made["coils"].notna().any():
        coils = int(made["coils"].max())
        words.append("1 coil" if coils == 1 else f"{coils} coils")
    if made["samples"].notna().any():
        words.append(f"{int(made['samples'].max()):,} samples".replace(",", "\u202f"))
    words.append(duration(float(jobs["seconds"].sum())))
    if made["peak_host_mb"].notna().any():
        words.append(memory(float(made[["peak_host_mb", "peak_device_mb"]].max().max())))
    return (*words, *quality_words(images))


def quality_words(images: "pd.DataFrame") -> tuple[str, ...]:
    """Return how far images are from their data and from what they should be."""
    words = []
    if images["misfit"].notna().any():
        noise = images["expected_misfit"].median()
        of_noise = "" if math.isnan(noise) else f", noise {noise:.2g}"
        words.append(f"misfit {images['misfit'].median():.2g}{of_noise}")
    if images["nmse_db"].notna().any():
        words.append(f"NMSE {images['nmse_db'].median():.1f} dB")
    elif images["nrmse"].notna().any():
        words.append(f"NRMSE {images['nrmse'].median():.3f}")
    if images["targets"].notna().any():
        found, targets = (int(images[name].sum()) for name in ("detected", "targets"))
        words.append(f"{found} of {targets} targets")
    return tuple(words)


def _watched(measured: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the curves of an algorithm show: their axis, and their caption."""
    return settings_class(measured["blocks"][0]["algorithm"]).curve


def _convergence_note(measured: Mapping[str, Any], curves: Sequence[Sequence[float]]) -> str:
    if not curves:
        return ""
    block = measured["blocks"][0]
    images = "1 image" if len(curves) == 1 else f"{len(curves)} images and their median"
    text = f"{_watched(measured)[1]}, {images}"
    weights = [weight for each in measured["blocks"] for weight in each.get("weight", ())]
    if weights and max(weights) > 0:
        name = "Tikhonov weight"
        if penalty := block.get("penalty"):
            name = f"{'unit of the weights' if ' + ' in penalty else 'weight'} of {penalty}"
        lowest, highest = f"{min(weights):.3g}", f"{max(weights):.3g}"
        text += f", {name} {lowest}" + (f" to {highest}" if highest != lowest else "")
    text += f", {max(map(len, curves))} iterations"
    return f"{text}{_stopping_note(measured)}. {_misfit_note(measured)}"


def _misfit_note(measured: Mapping[str, Any]) -> str:
    """Return what images leave of their data, beside what solvers leave of the equations."""
    misfits = _spread(measured, "misfit")
    if not misfits:
        return ""
    noise = _spread(measured, "expected_misfit")
    return (
        "A small residual says that the equations are solved, not that they are right: the data "
        f"misfit is what images leave of the weighted data, relative to them: {misfits}"
        + (f"; noise alone would leave {noise}." if noise else ".")
    )


def _spread(measured: Mapping[str, Any], name: str) -> str:
    """Return the smallest and the largest misfit of all images; empty if there are none."""
    blocks = measured.get("blocks", ())
    values = [value for block in blocks for value in block.get(name) or ()]
    if not values:
        return ""
    finest = max(block["misfit_resolution"] for block in blocks)
    ends = [f"< {finest:.1g}" if value <= finest else f"{value:#.2g}" for value in sorted(values)]
    return ends[0] if ends[0] == ends[-1] else f"{ends[0]} to {ends[-1]}"


def _stopping_note(measured: Mapping[str, Any]) -> str:
    """Return why the solver stopped, and how often where images differ."""
    reasons = Counter(reason for each in measured["blocks"] for reason in each.get("stopped", ()))
    said = {
        "tolerance": "stopped by the tolerance",
        "iterations": "stopped by the number of iterations",
        "points": "stopped by the number of points",
        "layers": "as many as layers",
    }
    parts = [
        said.get(reason, reason) + (f" ({count} images)" if len(reasons) > 1 else "")
        for reason, count in reasons.most_common()
    ]
    return "; " + ", ".join(parts) if parts else ""


def _settings(jobs: "pd.DataFrame", measured: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the settings that all blocks share, and the canary's worst figures."""
    blocks = measured.get("blocks", ())
    settings: list[tuple[str, str]] = []
    for key in _SHARED_SETTINGS:
        values = dict.fromkeys(
            short(block[key]) for block in blocks if block.get(key) not in (None, 0)
        )
        if values:
            settings.append((key.replace("_", " "), ", ".join(values)))
    for chosen in [block["defaults"] for block in blocks if block.get("defaults")][:1]:
        words = [f"{key} {short(value)}" for key, value in chosen.items() if key != "because"]
        settings.append(("chosen by default", f"{', '.join(words)}: {chosen['because']}"))
    if misfits := _spread(measured, "misfit"):
        settings.append(("data misfit", misfits))
    if measured.get("frames_per_image", 1) != 1:
        settings.append(("measured frames in an image", str(measured["frames_per_image"])))
    settings.append(("blocks", str(len(blocks))))
    if left_out := measured.get("outputs_left_out"):
        settings.append(("outputs left out", "; ".join(left_out)))
    for column, label in (
        ("adjoint_error", "canary: adjoint test"),
        ("forward_error", "canary: against the exact sum"),
    ):
        if jobs[column].notna().any():
            settings.append((label, f"{jobs[column].max():.1e}"))
    return tuple(settings)
