"""Tables of the quality of images, and of the points in RF images."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 24
"""Cuts through points that a table lists; all are in metrics.csv."""

_LONGEST_TABLE = 16
_QUALITY = {
    "nrmse": ("NRMSE", ".4f"),
    "nrmse_complex": ("complex NRMSE", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "psnr_db": ("PSNR [dB]", ".2f"),
    "correlation": ("correlation", ".4f"),
    "signal_to_background_db": ("signal to background [dB]", ".1f"),
}
_SCENE_QUALITY = {
    "nmse_db": ("NMSE [dB]", ".2f"),
    "ssim_db": ("SSIM of dB", ".4f"),
    "detected": ("targets found", ".0f"),
    "missed": ("missed", ".0f"),
    "false_alarms": ("false alarms", ".0f"),
    "signal_to_background_db": ("signal to background [dB]", ".1f"),
}
_POINTS = {
    "target": ("target", ".0f"),
    "direction": ("cut", ""),
    "width_m": ("−3 dB width [m]", ".4f"),
    "expected_width_m": ("expected [m]", ".4f"),
    "pslr_db": ("PSLR [dB]", ".2f"),
    "islr_db": ("ISLR [dB]", ".2f"),
    "extent_before_m": ("extent [m] −", ".2f"),
    "extent_after_m": ("+", ".2f"),
    "displacement_m": ("displaced [m]", ".2g"),
    "magnitude": ("magnitude", ".3g"),
}

POINT_NOTE = (
    "PSLR is the highest side lobe over the peak, ISLR the energy of the side lobes within the "
    "extent over that of the main lobe; the expected width is a matched filter's, from band and "
    "aperture."
)

Table = tuple[tuple[str, ...], ...]


def point_table(table: "pd.DataFrame") -> Table:
    """Return header and rows of the cuts through points; empty where there are none."""
    points = table[table["kind"].isin(["target", "brightest"]) & table["direction"].notna()]
    columns = {name: text for name, text in _POINTS.items() if points[name].notna().any()}
    if points.empty:
        return ()
    return (
        tuple(title for title, _ in columns.values()),
        *(
            tuple(
                str(row[name]) if not style else _number(float(row[name]), style)
                for name, (_, style) in columns.items()
            )
            for _, row in points.head(MOST_POINTS).iterrows()
        ),
    )


def quality_table(images: "pd.DataFrame", *, radar: bool) -> Table:
    """Return header and rows: each frame of a short series, a summary of a long one."""
    wanted = _SCENE_QUALITY if radar else _QUALITY
    columns = {name: text for name, text in wanted.items() if images[name].notna().any()}
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
    if not isinstance(value, float | int) or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, style)


def quality_note(images: "pd.DataFrame", *, radar: bool) -> str:
    """Return what the figures in the table are relative to."""
    if radar:
        return _scene_note(images)
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


def _scene_note(images: "pd.DataFrame") -> str:
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
