"""The table of results: CSV for machines, ratios for people."""

import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OURS = "kronufft"
COLUMNS = (
    "case", "matrix", "coils", "frames", "samples",
    "operation", "implementation", "seconds", "peak_mb", "relative_error",
    "setup_seconds", "baseline_mb", "repeats", "iterations", "device", "threads", "note",
)  # fmt: skip


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write one line a measurement; cells of what was not measured stay empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _rounded(value) for key, value in row.items()})


def print_ratios(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a table for each case: every implementation's cost, and in units of ours.

    ``to compute`` is the part of the peak memory that comes on top of libraries and inputs.
    """
    for case, group in itertools.groupby(rows, key=lambda row: row["case"]):
        table = Table(title=case, title_justify="left")
        for heading in ("operation", "implementation"):
            table.add_column(heading, no_wrap=True)
        headings = ("seconds", "of ours", "set-up", "peak MB", "of ours", "to compute", "error")
        for heading in headings:
            table.add_column(heading, justify="right")
        for _, same in itertools.groupby(group, key=lambda row: row["operation"]):
            measured = list(same)
            ours = next((row for row in measured if row["implementation"] == OURS), {})
            for row in measured:
                table.add_row(*_cells(row, ours))
            table.add_section()
        console.print(table)


def _cells(row: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    cells = [row["operation"], row["implementation"]]
    if "seconds" not in row:
        return [*cells, row["note"]]
    return [
        *cells,
        f"{row['seconds']:.3g}",
        _ratio(row, ours, "seconds"),
        f"{row['setup_seconds']:.2g}",
        f"{row['peak_mb']:.0f}",
        _ratio(row, ours, "peak_mb"),
        f"{row['peak_mb'] - row['baseline_mb']:.0f}",
        f"{row['relative_error']:.1e}",
    ]


def _ratio(row: dict[str, Any], ours: dict[str, Any], column: str) -> str:
    return f"{row[column] / ours[column]:.2f}" if ours.get(column) else ""


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
