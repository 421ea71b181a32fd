"""The viewer: a page that scrolls, turns, plays and compares the images of a run.

`viewer.html` stands beside the report and runs scripts, which the report does not. It opens from
disk without a network: NiiVue [1]_ is within it, and images are scripts beside it, loaded when they
are looked at.

References
----------
.. [1] NiiVue, https://github.com/niivue/niivue; ``templates/niivue.txt`` has its licence.
"""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.report.accounts import longest_jobs
from pipeline.report.wording import duration, environment, memory

if TYPE_CHECKING:
    import pandas as pd

COPY = "viewer.js"
"""What `merge` leaves for the viewer beside an image."""

_COLUMNS: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "seconds": ("work", "sum", duration),
    "peak_host_mb": ("host peak", "max", memory),
    "predicted_host_mb": ("planned", "max", memory),
    "peak_device_mb": ("device peak", "max", memory),
    "iterations": ("iterations", "max", "{:.0f}".format),
    "misfit": ("data misfit", "max", "{:.3f}".format),
    "expected_misfit": ("of noise", "max", "{:.3f}".format),
    "nrmse": ("NRMSE", "median", "{:.4f}".format),
    "ssim": ("SSIM", "median", "{:.4f}".format),
    "nmse_db": ("NMSE [dB]", "median", "{:.1f}".format),
}
"""Title, what is taken of all jobs and images of a reconstruction, and how it is written."""


@dataclass(frozen=True)
class Numbers:
    """A row of the table: what a reconstruction took, and how good it is."""

    dataset: str
    reconstruction: str
    cells: tuple[tuple[str, float | str], ...]
    """Text, and the number that rows are sorted by; both empty where there is none."""


def viewer_of(report: Path) -> Path:
    """Return where the viewer of a report stands: ``viewer.html`` beside ``report.html``."""
    return report.with_name(f"viewer{report.stem.removeprefix('report')}.html")


def viewer_page(table: "pd.DataFrame", report: Path) -> str:
    """Return the viewer as HTML.

    Parameters
    ----------
    table
        Metrics of the whole run, see `pipeline.metrics.tables`.
    report
        The report, in the folder of the whole run.
    """
    made = table[["dataset", "reconstruction"]].dropna().drop_duplicates()
    names = [(str(dataset), str(name)) for dataset, name in made.itertuples(index=False)]
    titles, rows = _numbers(table, names)
    images = [
        {"dataset": dataset, "reconstruction": name, "script": f"{dataset}/{name}/{COPY}"}
        for dataset, name in names
        if (report.parent / dataset / name / COPY).is_file()
    ]
    return environment().get_template("viewer.html.j2").render(
        images=[{**image, "number": number} for number, image in enumerate(images)],
        report=report.name,
        titles=titles,
        rows=rows,
        jobs=longest_jobs(table[table["kind"] == "job"]),
        niivue=gzip.decompress(files(__package__).joinpath("templates/niivue.js.gz").read_bytes())
        .decode("utf-8"),
    )  # fmt: skip


def _numbers(
    table: "pd.DataFrame", names: Iterable[tuple[str, str]]
) -> tuple[list[str], list[Numbers]]:
    """Return the titles and the rows of the table, without columns that are empty."""
    known = {name: told for name, told in _COLUMNS.items() if table[name].notna().any()}
    rows = []
    for dataset, name in names:
        own = table[(table["dataset"] == dataset) & (table["reconstruction"] == name)]
        cells: list[tuple[str, float | str]] = []
        for column, (_, how, write) in known.items():
            values = own[column].dropna()
            value = float(values.agg(how)) if len(values) else None
            cells.append(("", "") if value is None else (write(value), value))
        rows.append(Numbers(dataset, name, tuple(cells)))
    return ["dataset", "reconstruction", *(title for title, *_ in known.values())], rows
