"""What the jobs took, from a table whose sums are known."""

import pytest

from pipeline.metrics.tables import as_table
from pipeline.report import accounts
from pipeline.report.accounts import longest_jobs, memory_chart, time_bars, totals


def job(stage, seconds, reconstruction=None, **phases):
    return {
        "kind": "job", "dataset": "head", "stage": stage, "seconds": seconds,
        "reconstruction": reconstruction, "peak_host_mb": 100 * seconds,
        **{f"seconds_{phase}": spent for phase, spent in phases.items()},
    }  # fmt: skip


@pytest.fixture
def table():
    return as_table(
        [
            job("merge", 1.0, "cg", write=1.0),
            job("ingest", 2.0, read=1.5, write=0.5),
            job("reconstruct", 3.0, "cg", read=1.0, solve=1.0) | {"predicted_host_mb": 400},
            job("reconstruct", 5.0, "cg", solve=4.0) | {"predicted_host_mb": 400},
            {"kind": "image", "dataset": "head", "reconstruction": "cg", "frame": 0},
            {"kind": "image", "dataset": "head", "reconstruction": "cg", "frame": 1},
        ]
    )


def test_totals(table):
    assert totals(table) == (
        ("1", "dataset"), ("1", "reconstruction"), ("2", "images"), ("4", "jobs"),
        ("11.0 s", "of work"), ("500 MB", "host peak"),
    )  # fmt: skip


def test_bars_are_in_the_order_of_stages_and_add_up(table):
    bars, phases = time_bars(table[table["kind"] == "job"])
    assert [bar.label for bar in bars] == ["ingest", "cg · reconstruct, 2 jobs", "cg · merge"]
    assert [bar.seconds for bar in bars] == [2, 8, 1]
    for bar in bars:
        assert sum(seconds for _, seconds, _, _ in bar.parts) == pytest.approx(bar.seconds)
        assert sum(percent for _, _, percent, _ in bar.parts) == pytest.approx(
            bar.seconds / 8 * 100
        )
    assert [part[:2] for part in bars[1].parts] == [("read", 1), ("solve", 5), ("other", 2)]
    assert [phase for phase, _ in phases] == ["write", "read", "solve", "other"]


def test_memory_shows_all_jobs_and_says_which_used_more(table, monkeypatch):
    jobs = table[table["kind"] == "job"]
    jobs.loc[jobs["stage"] == "ingest", ["predicted_host_mb", "limit_host_mb"]] = 210, 600
    drawn = []
    draw = accounts.memory_scatter
    monkeypatch.setattr(accounts, "memory_scatter", lambda *g: drawn.append(g) or draw(*g))
    title, picture, caption = memory_chart(jobs, "host", "Host memory")
    assert title == "Host memory"
    assert picture.startswith("data:image/svg+xml")
    assert "3 jobs; the fullest used 125% of what was planned for it, 1 used more" in caption
    assert drawn == [({"head": [(210, 200)], "head · cg": [(400, 300), (400, 500)]}, None)]
    assert memory_chart(jobs, "device", "Device memory") is None


def test_longest_jobs(table, monkeypatch):
    monkeypatch.setattr("pipeline.report.accounts.MOST_JOBS", 2)
    jobs = longest_jobs(table[table["kind"] == "job"])
    assert [one["seconds"] for one in jobs] == [3, 5]
    assert "peak_device_mb" not in jobs[0]


def test_no_two_phases_share_a_colour():
    phases = {f"phase {number}": float(number) for number in range(1, 12)}
    bars, legend = time_bars(as_table([job("calibrate", 70.0, **phases)]))
    colours = [colour for *_, colour in bars[0].parts]
    assert len(set(colours)) == len(colours) == 9
    # The shortest phases are with the rest.
    assert bars[0].parts[-1][:2] == ("other", pytest.approx(1 + 2 + 3 + 4))
    assert [phase for phase, _ in legend][:2] == ["phase 4", "phase 5"]
