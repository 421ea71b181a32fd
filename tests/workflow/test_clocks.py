"""Clocks that are wrong: dates of files far from those of what was made of them."""

import os

import pytest
from workflow_runs import pending

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("years", [-9, 9])
def test_dates_far_from_now_repeat_nothing(run, years):
    for file in (run / "data/still.npz", *(run / "results").glob("*/raw.json")):
        moved = file.stat().st_mtime + years * 365 * 86_400
        os.utime(file, (moved, moved))
    assert pending(run) == {}
