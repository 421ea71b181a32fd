"""Tables of the quality of images."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.metrics.comparison import Column
from pipeline.metrics.images import IMAGE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


_LONGEST_TABLE = 16
Table = tuple[tuple[str, ...], ...]
"""Header and rows; empty where there is nothing."""


def quality_table(images: "pd.DataFrame", shown: Mapping[str, Column] = IMAGE_COLUMNS) -> Table:
    """Return header and rows: each frame of a short series, a summary of a long one.

    Columns without a title are not shown.
    """
    columns = {name: one for name, one in shown.items() if one.title and images[name].notna().any()}
    if not columns:
        return ()
    if len(columns) > 1:  # a weak figure, worth its place only where there is no better one
        columns.pop("signal_to_background_db", None)
    header = ("frame", *(column.title for column in columns.values()))
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
            (name, *(number(row[key], column.style) for key, column in columns.items()))
            for name, row in chosen.items()
        ),
    )


def number(value: Any, style: str) -> str:
    """Return a number as text; a dash where there is none."""
    if not isinstance(value, float | int) or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, style)


def quality_note(images: "pd.DataFrame") -> str:
    """Return what the figures in the table are relative to."""
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
