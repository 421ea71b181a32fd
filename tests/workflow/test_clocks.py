"""Clocks that are wrong, and jobs that fail: results are made anew by what they are made of.

Dates of files need not be in the order in which they were made. And a job that fails takes with it
its results and what Snakemake knew of them, while images that were made of them are still there.
"""

import os

import pytest
from forked import PROGRAMS, command_path
from workflow_runs import changed, pending, snakemake, write_config, write_source

pytestmark = pytest.mark.slow

AFTER_BLOCKS = {"merge": 1, "measure": 1, "report": 1}
MORE_ITERATIONS = {"cg": {"algorithm": "cg-sense", "iterations": 5}}


def moved(file, *, days):
    """Date a file otherwise; return it."""
    date = file.stat().st_mtime + days * 86_400
    os.utime(file, (date, date))
    return file


@pytest.mark.parametrize("years", [-9, 9])
def test_dates_far_from_now_repeat_nothing(run, years):
    for file in (run / "data/still.npz", *(run / "results").glob("*/raw.json")):
        moved(file, days=years * 365)
    assert pending(run) == {}


@pytest.mark.parametrize("days", [-9 * 365, 9 * 365])
def test_a_source_that_was_replaced_is_read_whatever_its_date(run, days):
    write_source(run, seed=2)
    moved(run / "data/still.npz", days=days)
    snakemake(run, "ingested")
    assert pending(run) == {"calibrate": 1, "plan": 1, **AFTER_BLOCKS}


def test_what_is_dated_before_its_successors_counts_as_new(run):
    # As if a clock had been set back before calibrate, and the power cut after it.
    write_config(run, changed(calibration={"calibration_width": 20}))
    snakemake(run, "calibrated")
    for name in ("series", "still"):
        moved(run / f"results/{name}/calibration.json", days=-2)
        moved(run / f"results/{name}/raw.json", days=-3)
    assert pending(run) == {"plan": 3, "merge": 3, "measure": 3, "report": 1}


@pytest.mark.parametrize(
    ("stage", "change", "repeated"),
    [
        (
            "calibrate",
            {"calibration": {"calibration_width": 20}},
            {"calibrate": 2, "plan": 3, "merge": 3, "measure": 3, "report": 1},
        ),
        ("plan", {"reconstructions": MORE_ITERATIONS}, {"plan": 1, **AFTER_BLOCKS}),
    ],
)
def test_what_failed_is_made_again(run, stage, change, repeated):
    write_config(run, changed(**change))
    failing = run / "bin/kronufft"
    failing.parent.mkdir()
    failing.write_text(
        f'#!/bin/sh\n[ "$1" = {stage} ] && kill -9 $$\nPATH={command_path()} exec kronufft "$@"\n'
    )
    failing.chmod(0o755)
    path = f"import os; os.environ['PATH'] = {str(failing.parent)!r} + ':' + os.environ['PATH']\n"
    output = snakemake(run, check=False, code=path + PROGRAMS["snakemake"])
    assert "a job execution failed" in output
    assert pending(run) == repeated
    # Also where nothing but the image is asked for.
    image = pending(run, "results/series/cg/image.json")
    assert {"merge", stage} <= set(image)
