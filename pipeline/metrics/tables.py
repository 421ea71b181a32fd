"""The metrics table: a row for each job, each image and each point of RF images, CSV and Parquet.

A row is what one receipt, or one comparison with a reference, says; units are in the columns'
names. Columns that do not apply to a row are empty.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError
from pipeline.metrics.images import IMAGE_COLUMNS
from pipeline.storage.publish import published_file

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
"""Of the table, or of the receipt: values by name."""

_TEXT, _COUNT, _NUMBER, _TIME = "string", "Int64", "float64", "datetime64[us, UTC]"

COLUMNS: dict[str, tuple[str, str]] = {
    "dataset": (_TEXT, "name of the dataset"),
    "reconstruction": (_TEXT, "name of the reconstruction; empty for ingest and calibrate"),
    "kind": (_TEXT, "`job`, `image`, or of RF images `target` (a known point) or `brightest`"),
    "stage": (_TEXT, "job: its stage"),
    "block": (_TEXT, "block of the plan that the job made, or that the image is in"),
    "frame": (
        _COUNT,
        "image or point: index along the frames of image.zarr, which are bins where it has bins",
    ),
    "started": (_TIME, "job: when it began, UTC"),
    "seconds": (_NUMBER, "job: wall time, without the start of Python [s]"),
    "peak_host_mb": (_NUMBER, "job: largest resident memory [1e6 byte]"),
    "predicted_host_mb": (_NUMBER, "job: the same as planned [1e6 byte]"),
    "limit_host_mb": (_NUMBER, "job: the limit it was planned for [1e6 byte]"),
    "peak_device_mb": (_NUMBER, "job: largest memory in use on the device [1e6 byte]"),
    "predicted_device_mb": (_NUMBER, "job: the same as planned [1e6 byte]"),
    "limit_device_mb": (_NUMBER, "job: the limit it was planned for [1e6 byte]"),
    "images": (_COUNT, "reconstruct: images in the block"),
    "matrix": (_TEXT, "reconstruct: image matrix, (z, y, x) or (y, x)"),
    "coils": (_COUNT, "reconstruct: receive coils"),
    "samples": (_COUNT, "reconstruct: k-space samples per coil that went into an image"),
    "algorithm": (_TEXT, "reconstruct: its algorithm"),
    "device": (_TEXT, "job: what it computed on"),
    "threads": (_COUNT, "job: CPU threads"),
    "backend": (_TEXT, "reconstruct: NUFFT back end"),
    "normal": (_TEXT, "reconstruct: form of the normal operator"),
    "iterations": (_COUNT, "iterations of the solver; of a block the most of any image"),
    "final_residual": (_NUMBER, "last relative residual of the solver; of a block the largest"),
    "adjoint_error": (_NUMBER, "reconstruct: relative error of the canary's adjoint test"),
    "forward_error": (_NUMBER, "reconstruct: relative error of the canary against the exact sum"),
    "misfit": (
        _NUMBER,
        "image: what it leaves of the weighted data, relative to them: 0 explains all of them, 1 "
        "nothing; no smaller than can be told",
    ),
    "misfit_resolution": (_NUMBER, "image: the smallest misfit that can be told"),
    "expected_misfit": (_NUMBER, "image: what the noise leaves, where it is known"),
    "first_frame": (_COUNT, "image: first measured frame in it; of a bin 0"),
    "frames": (_COUNT, "image: measured frames joined in it; of a bin all that it may be of"),
    "reference": (_TEXT, "image: what it is compared with; empty if there is nothing"),
    **{name: (_NUMBER, column.meaning) for name, column in IMAGE_COLUMNS.items()},
    "nmse_db": (_NUMBER, "RF image: squared error over the reference's energy, unscaled [dB]"),
    "ssim_db": (_NUMBER, "RF image: structural similarity of magnitudes in dB, clipped at a floor"),
    "targets": (_COUNT, "RF image: known targets within the scene"),
    "detected": (_COUNT, "RF image: targets with a detection of their own"),
    "missed": (_COUNT, "RF image: targets without"),
    "false_alarms": (_COUNT, "RF image: detections that belong to no target"),
    "detector": (
        _TEXT,
        "RF image: `support` (each voxel of a sparse image that is not zero) or `cfar` (maxima "
        "above a threshold of constant false alarm rate)",
    ),
    "target": (_COUNT, "target: its index in the dataset's list"),
    "x_m": (_NUMBER, "point: where it is known to be, or the brightest voxel [m]"),
    "y_m": (_NUMBER, "point: likewise"),
    "z_m": (_NUMBER, "point: likewise"),
    "displacement_m": (_NUMBER, "target: distance of its maximum from where it is known to be [m]"),
    "magnitude": (_NUMBER, "point: of the image at the maximum"),
    "direction": (
        _TEXT,
        "point: of a cut, a row each: `range`, `cross range`, `elevation`, or an axis; empty "
        "where other points are too near for a response of its own",
    ),
    "width_m": (_NUMBER, "cut: width of the main lobe at half power [m]"),
    "expected_width_m": (_NUMBER, "cut: the same of a matched filter, from band and aperture [m]"),
    "voxel_m": (_NUMBER, "cut: size of a voxel along it, below which no width can be seen [m]"),
    "pslr_db": (_NUMBER, "cut: highest side lobe over the peak [dB]"),
    "islr_db": (
        _NUMBER,
        "cut: energy of the side lobes within the extent over the main lobe's [dB]",
    ),
    "extent_before_m": (_NUMBER, "cut: how far side lobes were looked at before the point [m]"),
    "extent_after_m": (_NUMBER, "cut: and beyond it [m]"),
}
"""Type and meaning of each column. After them come ``seconds_<phase>`` and ``bytes_<phase>``: wall
time and bytes read or written in each phase of a job."""

_OF_ANY_JOB = (
    "dataset", "reconstruction", "stage", "block", "started", "seconds", "device", "threads",
)  # fmt: skip
_OF_RECONSTRUCT = ("images", "coils", "samples", "algorithm", "backend", "normal")
_MEGABYTES = ("peak_host", "predicted_host", "limit_host",
              "peak_device", "predicted_device", "limit_device")  # fmt: skip


def job_row(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table's row for one receipt; what the receipt lacks stays empty."""
    row = {name: receipt.get(name) for name in _OF_ANY_JOB}
    row["kind"] = "job"
    for name in _MEGABYTES:
        if receipt.get(f"{name}_bytes"):  # zero stands for no device
            row[f"{name}_mb"] = receipt[f"{name}_bytes"] / 1e6
    if receipt.get("stage") == "reconstruct":
        row.update((name, receipt.get(name)) for name in _OF_RECONSTRUCT)
        row["matrix"] = " x ".join(str(size) for size in receipt.get("shape", ()))
    if (iterations := receipt.get("iterations")) is not None:
        row["iterations"] = max(iterations) if isinstance(iterations, list) else iterations
    curves = [curve for curve in receipt.get("residuals") or () if curve]
    if curves:
        row["final_residual"] = max(curve[-1] for curve in curves)
    canary = receipt.get("canary") or {}
    row["adjoint_error"] = canary.get("adjoint_error")
    row["forward_error"] = canary.get("forward_error")
    for phase, cost in receipt.get("phases", {}).items():
        row[f"seconds_{phase}"] = cost["seconds"]
        if "bytes" in cost:
            row[f"bytes_{phase}"] = cost["bytes"]
    return row


def as_table(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows as a table with all `COLUMNS`, followed by those of the phases that occur."""
    import pandas as pd

    found = {name: None for row in rows for name in row if name not in COLUMNS}
    phases = [
        *(name for name in found if name.startswith("seconds_")),
        *(name for name in found if name.startswith("bytes_")),
    ]
    if unknown := [name for name in found if name not in phases]:
        raise ValueError(f"the metrics table has no column {', '.join(unknown)}")
    return pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in rows], dtype=column_type(name))
            for name in [*COLUMNS, *phases]
        }
    )


def column_type(name: str) -> str:
    """Return the pandas type of a column; those of phases are numbers."""
    return COLUMNS.get(name, (_NUMBER, ""))[0]


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Write ``table`` to ``path`` as CSV, and as Parquet beside it with the suffix .parquet."""
    with published_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
    with published_file(path.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: Path) -> "pd.DataFrame":
    """Read a table that `write_table` wrote, from its CSV.

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as metrics ({error}); run `measure` again") from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; run `measure` again")
    try:
        return table.replace("", None).astype({name: column_type(str(name)) for name in table})
    except ValueError as error:
        raise DataError(f"{path}: a cell is no number ({error}); run `measure` again") from None


def rows_of(tables: Iterable["pd.DataFrame"]) -> list[dict[str, Any]]:
    """Return the rows of several tables, without their empty cells."""
    import pandas as pd

    return [
        {str(name): value for name, value in row.items() if not pd.isna(value)}
        for table in tables
        for row in table.to_dict(orient="records")
    ]
