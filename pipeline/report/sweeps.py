"""What the page shows of a sweep: its images side by side, and what its values trade."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config.sweeps import Sweep
from pipeline.report.charts import l_curve, misfit_curve
from pipeline.report.reconstructions import Reconstruction, quality_words

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SweepSheet:
    """The reconstructions of a sweep of one dataset."""

    sweep: Sweep
    cells: tuple[tuple[str, Reconstruction, tuple[str, ...]], ...]
    """Value, reconstruction, and misfit and quality in words, in the order of the values."""
    curve: str
    """Data URI of a chart; empty without misfits."""
    curve_note: str
    """Its caption."""


def sweep_sheets(
    sweeps: Sequence[Sweep],
    shown: Sequence[Reconstruction],
    table: "pd.DataFrame",
    receipts: Sequence[Mapping[str, Any]],
) -> Iterator[SweepSheet]:
    """Yield the sheets of a dataset.

    Parameters
    ----------
    sweeps
        Of the whole run; of some the dataset may have no image, or a single one.
    shown, table, receipts
        Reconstructions, metrics and receipts of the dataset.
    """
    by_name = {one.name: one for one in shown}
    measured = {one["reconstruction"]: one for one in receipts if one.get("stage") == "measure"}
    images = table[table["kind"] == "image"]
    for sweep in sweeps:
        there = [
            (value, by_name[name], images[images["reconstruction"] == name])
            for value, name in zip(sweep.values, sweep.names, strict=True)
            if name in by_name
        ]
        if len(there) < 2:
            continue
        misfits = {value: float(rows["misfit"].median()) for value, _, rows in there}
        penalties = {value: penalty_value(measured.get(one.name, {})) for value, one, _ in there}
        yield SweepSheet(
            sweep,
            tuple((value, one, quality_words(rows)) for value, one, rows in there),
            *_curve(sweep, misfits, penalties),
        )


def penalty_value(measured: Mapping[str, Any]) -> float:
    """Return the penalty of all images of a reconstruction, without its weight; NaN if unknown."""
    values = [block.get("penalty_value") for block in measured.get("blocks", ())]
    if not values or None in values:
        return math.nan
    return math.fsum(value for block in values for value in block)


def _curve(
    sweep: Sweep, misfits: Mapping[str, float], penalties: Mapping[str, float]
) -> tuple[str, str]:
    """Return a chart of the values, and its caption; nothing where misfits are not known."""
    known = {value: misfit for value, misfit in misfits.items() if misfit > 0}
    if len(known) < 2:
        return "", ""
    if sweep.setting == "sparsity" and all(penalties[value] > 0 for value in known):
        return l_curve([(value, known[value], penalties[value]) for value in known]), (
            "L-curve: what is left of the data against the penalty R(x) of the image, without its "
            "weight and summed over images. Where there is a corner, a good weight is near it: "
            "smaller ones fit noise, larger ones lose the image."
        )
    return misfit_curve(list(known.items()), sweep.setting), (
        f"Misfit of each value of {sweep.setting}; of several images the median."
    )
