"""Report: the metrics of the whole run as one table, and one page that shows the images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.config.sweeps import Sweep
from pipeline.errors import DataError
from pipeline.kinds import open_raw, part_of
from pipeline.metrics.references import reference_image
from pipeline.metrics.tables import as_table, job_row, read_table, rows_of, write_table
from pipeline.report.failures import find_failures
from pipeline.report.figures import Series
from pipeline.report.page import report_page
from pipeline.report.shown import AnySeries, ShownCalibration
from pipeline.report.viewer import viewer_of, viewer_page
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.calibration import Calibration
from pipeline.storage.claims import claimed
from pipeline.storage.publish import open_published, published_file, read_json

if TYPE_CHECKING:
    import pandas as pd

Read = TypeVar("Read")


def report(
    *,
    metrics: Sequence[Path],
    receipts: Sequence[Path],
    images: Sequence[Path],
    raws: Sequence[Path],
    report: Path,
    table: Path,
    calibrations: Sequence[Path] = (),
    expected: Sequence[str] = (),
    sweeps: Sequence[str] = (),
    logs: Path = Path("logs"),
) -> None:
    """Write the report, the viewer beside it, and the table that span the whole run.

    What is missing or unreadable is left out and named at the top of the page, so that one failed
    dataset does not hide the others.

    Parameters
    ----------
    metrics
        metrics.csv, repeatable.
    receipts
        Receipts, repeatable.
    images
        image.json, repeatable.
    raws
        raw.json, repeatable.
    report
        The page to write.
    table
        The table of the whole run.
    calibrations
        calibration.json, repeatable.
    expected
        DATASET/RECONSTRUCTION that the page must have, repeatable.
    sweeps
        NAME:SETTING:VALUE,VALUE,... of reconstructions NAME-SETTING-VALUE that are shown together,
        repeatable.
    logs
        Folder of the logs, which say why one is missing.

    Raises
    ------
    DataError
        If no table can be read.
    ConfigError
        If one of `sweeps` is not of that form.
    """
    together = [Sweep.of_option(text) for text in sweeps]
    with claimed(report):
        problems: list[str] = []
        tables = _readable(read_table, metrics, problems)
        done = {_whose(row) for row in rows_of(tables) if "reconstruction" in row}
        wanted = [(name, way) for name, _, way in (whole.partition("/") for whole in expected)]
        failures = find_failures(wanted, done, logs)
        if not tables:
            told = "; ".join([*map(str, failures), *problems])
            raise DataError("nothing to report: " + (told or "no metrics given; run `measure`"))
        accounts = _readable(read_json, receipts, problems)
        everything = _one_table(tables, accounts)
        datasets = {raw.marker.parent.name: raw for raw in _readable(open_raw, raws, problems)}
        compared = [row for row in rows_of([everything]) if "scale" in row]
        series = _readable(lambda marker: _series(marker, compared, datasets), images, problems)
        found = {
            name: shown
            for marker in calibrations
            for name, shown in _calibration(marker, datasets, problems)
        }
        write_table(everything, table)
        with published_file(viewer_of(report)) as temporary:
            temporary.write_text(viewer_page(everything, report), encoding="utf-8")
        with published_file(report) as temporary:
            page = report_page(
                *(everything, accounts, dict(series), problems, report),
                failures=failures,
                calibrations=found,
                sweeps=together,
                logs=logs,
            )
            temporary.write_text(page, encoding="utf-8")


def _calibration(
    marker: Path, datasets: Mapping[str, Acquisition], problems: list[str]
) -> Iterator[tuple[str, ShownCalibration]]:
    """Yield a dataset's name and what its calibration shows; add a line where it is damaged."""
    raw = datasets.get(marker.parent.name)
    if raw is None:
        return
    try:
        calibration = Calibration.open(marker)
        yield (
            raw.marker.parent.name,
            part_of(raw.kind, "pictures").shown_calibration(raw, calibration),
        )
    except DataError as error:
        problems.append(str(error))


def _readable(
    read: Callable[[Path], Read], paths: Sequence[Path], problems: list[str]
) -> list[Read]:
    """Return what can be read, and add a line to ``problems`` for what cannot."""
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except DataError as error:
            problems.append(str(error))
    return found


def _one_table(
    tables: Sequence["pd.DataFrame"], accounts: Sequence[Mapping[str, Any]]
) -> "pd.DataFrame":
    """Return all rows, those of a dataset and a reconstruction together, each job once."""
    rows = rows_of([*tables, as_table([job_row(account) for account in accounts])])
    jobs = {_job(row): row for row in rows if row["kind"] == "job"}
    images = [row for row in rows if row["kind"] != "job"]
    place: dict[tuple[str, str], int] = {}
    for row in rows:
        dataset, _ = whose = _whose(row)
        # What a dataset's reconstructions share stands before them.
        place.setdefault((dataset, ""), len(place))
        place.setdefault(whose, len(place))
    return as_table(sorted([*jobs.values(), *images], key=lambda row: place[_whose(row)]))


def _whose(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["dataset"], row.get("reconstruction", "")


def _job(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*_whose(row), row["stage"], row.get("block", ""))


def _series(
    marker: Path, compared: Sequence[Mapping[str, Any]], datasets: Mapping[str, Acquisition]
) -> tuple[tuple[str, str], AnySeries]:
    """Return whose images these are, and the images with the references `measure` used."""
    group = open_published(marker)
    attributes = dict(group.attrs)
    try:
        dataset, reconstruction = str(attributes["dataset"]), str(attributes["reconstruction"])
        voxel_size: Any = attributes["voxel_size"]
        images: Any = group["image"]
    except KeyError as error:
        raise DataError(f"{marker}: its store lacks {error}; run `merge` again") from None
    own = {row["frame"]: row for row in compared if _whose(row) == (dataset, reconstruction)}

    def reference(frame: int) -> Any:
        if dataset not in datasets:
            return None
        first, count = own[frame]["first_frame"], own[frame]["frames"]
        return reference_image(datasets[dataset], range(first, first + count), images.shape[1:])

    acquisition = datasets.get(dataset)
    planes = Series(
        images=images,
        # A slice is drawn alone, so its thickness does not matter.
        voxel_size=[float(size) for size in (voxel_size[-1], *voxel_size)[-3:]],
        reference=reference,
        scales={frame: row["scale"] for frame, row in own.items()},
        slices=1 if acquisition is None else acquisition.slices,
    )
    if acquisition is None:
        return (dataset, reconstruction), planes
    pictures = part_of(acquisition.kind, "pictures")
    return (dataset, reconstruction), pictures.series(acquisition, planes)
