"""When jobs ran: as many lanes as ran at once, and no time in which nothing did."""

import pytest

from pipeline.metrics.tables import as_table
from pipeline.report.timeline import _laid_out, timeline_chart


def job(stage, minute, second, seconds):
    started = f"2026-01-02T03:{minute:02d}:{second:02d}+00:00"
    return {"kind": "job", "dataset": "head", "stage": stage, "started": started,
            "seconds": seconds}  # fmt: skip


@pytest.fixture
def jobs():
    return as_table(
        [
            job("reconstruct", 0, 20, 12.0),
            job("ingest", 0, 0, 18.0),
            job("reconstruct", 0, 20, 9.0),
            job("merge", 0, 33, 2.0),
            job("measure", 40, 0, 3.0),  # by a later command
        ]
    )


def test_jobs_side_by_side_have_lanes_of_their_own(jobs):
    spans, cuts = _laid_out(jobs)
    assert [span.stage for span in spans] == [
        "ingest", "reconstruct", "reconstruct", "merge", "measure",
    ]  # fmt: skip
    assert [span.lane for span in spans] == [0, 0, 1, 0, 0]
    assert [span.start for span in spans[:4]] == [0, 20, 20, 33]
    # What lies between the two commands is left out but for the shortest gap, 30 s.
    assert spans[4].start == pytest.approx(35 + 30)
    assert cuts == pytest.approx([35 + 15])


def test_the_caption_adds_up(jobs):
    picture, caption = timeline_chart(jobs)
    assert picture.startswith("data:image/svg+xml")
    assert "5 jobs took 44.0 s together, within 1 min 08 s; up to 2 ran side by side" in caption
    assert timeline_chart(jobs.iloc[:1]) is None
