"""Tables of RF images on the report: their quality, points in them, and pairs of antenna arrays."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.metrics.comparison import Column
from pipeline.report.accounts import STREAMED
from pipeline.report.quality import Table, number
from pipeline.report.wording import memory

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 24
"""Cuts through points that a table lists; all are in metrics.csv."""

SCENE_QUALITY = {
    "nmse_db": Column("", "NMSE [dB]", ".2f"),
    "ssim_db": Column("", "SSIM of dB", ".4f"),
    "detected": Column("", "targets found", ".0f"),
    "missed": Column("", "missed", ".0f"),
    "false_alarms": Column("", "false alarms", ".0f"),
    "signal_to_background_db": Column("", "signal to background [dB]", ".1f"),
}

_POINTS = {
    "target": Column("", "target", ".0f"),
    "direction": Column("", "cut", ""),
    "width_m": Column("", "−3 dB width [m]", ".4f"),
    "expected_width_m": Column("", "expected [m]", ".4f"),
    "pslr_db": Column("", "PSLR [dB]", ".2f"),
    "islr_db": Column("", "ISLR [dB]", ".2f"),
    "extent_before_m": Column("", "extent [m] −", ".2f"),
    "extent_after_m": Column("", "+", ".2f"),
    "displacement_m": Column("", "displaced [m]", ".2g"),
    "magnitude": Column("", "magnitude", ".3g"),
}

POINT_NOTE = (
    "PSLR is the highest side lobe over the peak, ISLR the energy of the side lobes within the "
    "extent over that of the main lobe; the expected width is a matched filter's, from band and "
    "aperture, where it is not below the voxel."
)


MOST_PAIRS = 64
"""Pairs that a table lists."""


def point_table(table: "pd.DataFrame") -> Table:
    """Return header and rows of the cuts through points; empty where there are none."""
    points = table[table["kind"].isin(["target", "brightest"]) & table["direction"].notna()]
    columns = {name: text for name, text in _POINTS.items() if points[name].notna().any()}
    if points.empty:
        return ()
    return (
        tuple(column.title for column in columns.values()),
        *(
            tuple(_point_cell(row, name, column.style) for name, column in columns.items())
            for _, row in points.head(MOST_POINTS).iterrows()
        ),
    )


def _point_cell(row: "pd.Series[Any]", name: str, style: str) -> str:
    if not style:
        return str(row[name])
    # What is finer than the grid cannot be seen on it: that is no fault of the image.
    finer = name == "expected_width_m" and row[name] < row["voxel_m"]
    return f"< voxel, {row['voxel_m']:.4f}" if finer else number(float(row[name]), style)


def scene_note(images: "pd.DataFrame") -> str:
    """Return what the figures of the quality of images are relative to."""
    told = []
    if images["nmse_db"].notna().any():
        told.append(
            "NMSE is of the complex image against the true scene, unscaled; SSIM is of magnitudes "
            "in dB, clipped at a floor."
        )
    detectors = set(images["detector"].dropna())
    if "support" in detectors:
        told.append("Every voxel that is not zero counts as a detection.")
    if "cfar" in detectors:
        told.append("Detections are maxima above a threshold of constant false alarm rate.")
    return " ".join(told) or "Neither a reference nor known targets to compare with."


def pair_table(pairs: list[dict[str, Any]]) -> Table:
    """Return a table of pairs, with the columns that their entries have.

    Each has its number, and where they are known ``model``, ``model_error_db``, ``weight``
    (modulus), ``energy`` (of the measurements) and what was streamed.
    """
    if not pairs:
        return ()
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "pair": ("pair", str),
        "model": ("model", str),
        "model_error_db": ("model error [dB]", lambda value: f"{value:.1f}"),
        "weight": ("weight", lambda value: f"{value:.3g}"),
        "energy": ("energy [dB]", _decibels),
        **{f"{name}_seconds": (f"{name} [s]", lambda value: f"{value:.3f}") for name in STREAMED},
        "bytes": ("data", lambda value: memory(value / 1e6)),
    }
    known = {
        name: column for name, column in columns.items() if any(name in pair for pair in pairs)
    }
    return (
        tuple(title for title, _ in known.values()),
        *(
            tuple(
                "" if pair.get(name) is None else show(pair[name])
                for name, (_, show) in known.items()
            )
            for pair in pairs[:MOST_PAIRS]
        ),
    )


def _decibels(energy: float) -> str:
    return f"{10 * math.log10(energy):.1f}" if energy > 0 else "−∞"
