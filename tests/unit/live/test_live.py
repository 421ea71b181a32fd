"""What a run shows while it goes on, by the events that Snakemake logs."""

import io
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake.common import NOTHING_TO_BE_DONE_MSG

from pipeline.engine.needs import Need
from pipeline.engine.table import PlanRow, write_plan
from pipeline.live.jobs import Jobs
from pipeline.live.view import clock, shown
from pipeline.storage.receipts import STAGES
from snakemake_logger_plugin_kronufft import LogHandler


def told(rule, log, outputs=(), **wildcards):
    return {
        "rule_name": rule,
        "wildcards": wildcards,
        "threads": 3,
        "log": [str(log)],
        "output": [str(path) for path in outputs],
        "resources": SimpleNamespace(mem_mb=470),
    }


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "good.log").write_text("knee block 0001: images: 1/4, 12.0 s, 36 s left\nhalf of ")
    (tmp_path / "bad.log").write_text("reads\nkronufft: head: trajectory is zero throughout\n")
    return tmp_path


def planned(path, seconds):
    """A plan of two blocks that take so many seconds."""
    row = PlanRow.of_stage("merge", Need({"process": 10**6}), 1000)
    blocks = [
        row.model_copy(update={"stage": "reconstruct", "block": f"{i:04d}", "seconds": each,
                               "first_image": i, "images": 1})
        for i, each in enumerate(seconds)
    ]  # fmt: skip
    write_plan(path, blocks)


def test_a_run_is_followed_from_job_to_job(logs):
    jobs = Jobs()
    jobs.expects({"ingest": 2, "plan": 1, "all": 1, "total": 4})
    jobs.begins(1, told("ingest", logs / "good.log", dataset="knee"))
    jobs.begins(2, told("ingest", logs / "bad.log", dataset="head"))
    assert jobs.running[1].said() == "knee block 0001: images: 1/4, 12.0 s, 36 s left"
    jobs.ends(1)
    job, reason = jobs.fails(2, {})
    assert (job.name, reason) == ("head", "head: trajectory is zero throughout")
    assert jobs.fails(2, {}) is None  # Snakemake says it again at the end
    assert (jobs.done["ingest"], len(jobs.running), len(jobs.failed)) == (1, 0, 1)


def test_time_left_is_what_plans_predict_corrected_by_what_jobs_took(logs, monkeypatch):
    now = 100.0
    monkeypatch.setattr("pipeline.live.jobs.time.monotonic", lambda: now)
    jobs = Jobs()
    names = {"dataset": "knee", "reconstruction": "cg"}
    planned(logs / "plan.tsv", (10.0, 30.0))
    jobs.begins(1, told("plan", logs / "p.log", [logs / "plan.tsv"], **names))
    assert jobs.seconds_left(now) is None
    jobs.ends(1)
    assert jobs.expected["reconstruct"] == 2
    assert jobs.seconds_left(now) == pytest.approx(40.0)
    jobs.begins(2, told("reconstruct", logs / "good.log", block="0000", **names))
    now = 120.0  # twice as long as predicted
    jobs.ends(2)
    assert jobs.seconds_left(now) == pytest.approx(60.0)
    jobs.begins(3, told("reconstruct", logs / "good.log", block="0001", **names))
    assert jobs.seconds_left(now + 15) == pytest.approx(45.0)


def test_blocks_that_are_kept_from_a_run_before_are_not_waited_for(logs):
    jobs = Jobs()
    names = {"dataset": "knee", "reconstruction": "cg"}
    planned(logs / "plan.tsv", (10.0, 30.0, 20.0))
    jobs.begins(1, told("plan", logs / "p.log", [logs / "plan.tsv"], **names))
    jobs.ends(1)
    jobs.begins(2, told("reconstruct", logs / "good.log", block="0001", **names))
    jobs.ends(2)
    jobs.begins(3, told("merge", logs / "m.log", **names))
    assert jobs.seconds_left(0.0) is None
    assert jobs.expected["reconstruct"] == jobs.done["reconstruct"] == 1


def test_the_picture_says_what_runs_with_its_memory_and_what_failed(logs):
    jobs = Jobs()
    jobs.expects({"ingest": 3, "all": 1, "total": 4})
    jobs.begins(1, told("ingest", logs / "good.log", dataset="knee"))
    jobs.begins(2, told("ingest", logs / "bad.log", dataset="head"))
    jobs.begins(3, told("ingest", logs / "x.log", dataset="hip"))
    jobs.fails(2, {})
    jobs.ends(3)
    console = Console(file=io.StringIO(), width=120)
    console.print(shown(jobs, {str(logs / "good.log"): 311.6}))
    text = console.file.getvalue()
    assert "1/3 1 failed" in text
    assert "312 of 470" in text
    assert "images: 1/4, 12.0 s, 36 s left" in text
    assert "all" not in text.split()
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[-3:]}
    assert rows == {"knee": ["━━━━━━"], "head": ["failed"], "hip": ["━━━━━━"]}


def test_a_dataset_shows_how_far_each_of_its_stages_is(logs):
    jobs = Jobs()
    names = {"dataset": "knee", "reconstruction": "cg"}
    jobs.begins(1, told("ingest", logs / "i.log", dataset="knee"))
    assert jobs.shown() == [("knee", "")]
    jobs.ends(1)
    planned(logs / "plan.tsv", (10.0, 30.0, 20.0, 5.0))
    jobs.begins(2, told("plan", logs / "p.log", [logs / "plan.tsv"], **names))
    assert jobs.shown() == [("knee", "cg")]
    jobs.ends(2)
    for number, block in ((3, "0000"), (4, "0001")):
        jobs.begins(number, told("reconstruct", logs / "good.log", block=block, **names))
    jobs.ends(3)
    # Coil maps were there before the run: calibrate has no job.
    done = {stage: jobs.part_done(("knee", "cg"), stage) for stage in STAGES}
    assert done == {"ingest": 1, "calibrate": 1, "plan": 1, "accumulate": None,
                    "reconstruct": 0.25, "merge": 0, "measure": 0}  # fmt: skip
    assert [stage for stage in STAGES if jobs.runs(("knee", "cg"), stage)] == ["reconstruct"]


@pytest.mark.parametrize(("seconds", "text"), [(59.7, "1:00"), (4.0, "0:04"), (7260, "2 h 01")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_elsewhere_than_on_a_terminal_snakemake_logs_as_it_does(capsys):
    common = SimpleNamespace(dryrun=False, verbose=False, printshellcmds=False, quiet=set())
    handler = LogHandler(common, None)
    assert not handler.writes_to_stream
    handler.emit(logging.makeLogRecord({"msg": "x", "levelno": logging.ERROR}))
    assert capsys.readouterr() == ("", "")
    handler.close()


def test_that_nothing_is_to_be_done_is_said_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    common = SimpleNamespace(dryrun=False, verbose=False, printshellcmds=False, quiet=set())
    handler = LogHandler(common, None)
    for said in ("Building DAG of jobs...", NOTHING_TO_BE_DONE_MSG):
        handler.emit(logging.makeLogRecord({"msg": said, "levelno": logging.INFO}))
    handler.close()
    assert capsys.readouterr().err == f"{NOTHING_TO_BE_DONE_MSG}\n"
