"""The metrics table survives being written and read."""

import math
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import DataError
from pipeline.metrics.tables import (
    COLUMNS,
    as_table,
    column_type,
    job_row,
    read_table,
    rows_of,
    write_table,
)

RECEIPT = {
    "stage": "reconstruct",
    "dataset": "NA",  # a name that pandas would take for nothing
    "reconstruction": "cg-sense",
    "block": "0007",
    "shape": [3, 5, 7],
    "seconds": 1 / 3,
    "iterations": [2, 3],
    "residuals": [[0.5, 0.1], [0.5, 0.3, 0.2]],
    "canary": {"adjoint_error": 1e-7, "forward_error": 2e-4},
    "peak_host_bytes": 1_500_000,
    "predicted_device_bytes": 0,
    "started": "2026-01-02T03:04:05+00:00",
    "phases": {"read": {"seconds": 0.25, "bytes": 8.0}, "solve": {"seconds": 0.0625}},
}


def test_job_row():
    row = {name: value for name, value in job_row(RECEIPT).items() if value is not None}
    assert row == {
        "kind": "job", "stage": "reconstruct", "dataset": "NA", "reconstruction": "cg-sense",
        "block": "0007", "started": "2026-01-02T03:04:05+00:00", "matrix": "3 x 5 x 7",
        "seconds": 1 / 3, "iterations": 3,
        "final_residual": 0.2, "adjoint_error": 1e-7, "forward_error": 2e-4, "peak_host_mb": 1.5,
        "seconds_read": 0.25, "bytes_read": 8.0, "seconds_solve": 0.0625,
    }  # fmt: skip


def test_gridding_has_no_residual():
    row = job_row({**RECEIPT, "residuals": [[], []], "iterations": 0})
    assert row.get("final_residual") is None
    assert row["iterations"] == 0


@pytest.fixture
def table():
    image = {"dataset": "a", "kind": "image", "frame": 0, "psnr_db": math.inf, "nrmse": 0.25}
    return as_table([job_row(RECEIPT), image])


def test_columns(table):
    assert list(table)[: len(COLUMNS)] == list(COLUMNS)
    assert list(table)[len(COLUMNS) :] == ["seconds_read", "seconds_solve", "bytes_read"]


def test_unknown_column():
    with pytest.raises(ValueError, match="colour"):
        as_table([{"colour": 1}])


def test_csv_and_parquet_hold_the_same(table, tmp_path):
    write_table(table, tmp_path / "metrics.csv")
    found = read_table(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(found, table, rtol=1e-8)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "metrics.parquet"), table)
    assert found["block"][0] == "0007"
    assert found["started"][0] == pd.Timestamp("2026-01-02T03:04:05Z")
    assert found["dataset"][0] == "NA"


def test_rows_of_leaves_empty_cells_out(table):
    assert rows_of([table])[1] == {
        "dataset": "a", "kind": "image", "frame": 0, "psnr_db": math.inf, "nrmse": 0.25,
    }  # fmt: skip


def test_every_column_has_a_type_and_a_meaning():
    for name, (kind, meaning) in COLUMNS.items():
        assert column_type(name) == kind
        assert meaning
    assert column_type("seconds_read") == "float64"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not readable"),
        ("", "not readable"),
        ("dataset,kind\na,job\n", "lacks the columns reconstruction"),
        (",".join(COLUMNS) + "\n" + ",".join(["many"] * len(COLUMNS)) + "\n", "no number"),
    ],
    ids=["missing", "empty", "other columns", "text for a number"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_bad_table(tmp_path, content, message):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_every_column_is_explained():
    text = (Path(__file__).parents[3] / "docs/metrics.md").read_text()
    for name, (_, meaning) in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text
