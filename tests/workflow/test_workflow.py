"""The workflow as a user runs it: small phantoms, and what is repeated after a change."""

import csv
import json

import pytest
from workflow_runs import CONFIG, changed, pending, snakemake, write_config


def test_everything_is_there(finished):
    results = finished / "results"
    for image in ("series/cg", "series/cg-all", "still/gridding"):
        for name in ("image.json", "image.zarr", "magnitude.ome.zarr", "magnitude.nii.gz"):
            assert (results / image / name).exists(), f"{image}/{name}"
    assert (results / "report.html").stat().st_size > 10_000
    assert (results / "metrics.parquet").is_file()


def test_the_table_has_a_row_for_each_job_and_image(finished):
    with (finished / "results/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    jobs = [
        (row["dataset"], row["reconstruction"], row["stage"])
        for row in rows
        if row["kind"] == "job"
    ]
    for dataset in ("series", "still"):
        assert (dataset, "", "ingest") in jobs
        assert (dataset, "", "calibrate") in jobs
    for reconstruction in ("cg", "cg-all"):
        for stage in ("plan", "reconstruct", "merge", "measure"):
            assert ("series", reconstruction, stage) in jobs
    images = [row for row in rows if row["kind"] == "image" and row["reconstruction"] == "cg"]
    assert len(images) == CONFIG["sources"]["series"]["simulation"]["frames"]
    assert all(0 < float(row["nrmse"]) < 0.6 for row in images)


def test_memory_was_predicted_from_above(finished):
    for path in (finished / "results").glob("*/*/receipts/reconstruct-*.json"):
        receipt = json.loads(path.read_text())
        assert receipt["peak_host_bytes"] <= receipt["predicted_host_bytes"], path
        assert receipt["predicted_host_bytes"] <= receipt["limit_host_bytes"], path


def test_nothing_is_left_to_do(finished):
    assert pending(finished) == {}


def test_a_changed_setting_reruns_what_uses_it(run):
    write_config(run, changed(reconstructions={"cg": {"algorithm": "cg-sense", "iterations": 5}}))
    counts = pending(run)
    assert counts["plan"] == 1
    assert counts["report"] == 1
    assert not {"ingest", "calibrate"} & set(counts)
    snakemake(run)
    assert pending(run) == {}
    receipt = json.loads((run / "results/series/cg/receipts/reconstruct-0000.json").read_text())
    assert receipt["iterations"] == 5


def test_a_forced_stage_reruns_it_and_what_follows(run):
    counts = pending(run, "--forcerun", "merge")
    assert counts == {"merge": 3, "measure": 3, "report": 1}


def test_one_stage_alone(run):
    counts = pending(run, "--forcerun", "ingest", "--until", "calibrate")
    assert counts == {"ingest": 2, "calibrate": 2}
    assert pending(run, "merged") == {}


def test_a_new_plan_repeats_only_the_blocks_that_it_changed(run):
    plan = run / "results/series/cg/plan.tsv"
    plan.touch()
    assert "reconstruct" not in pending(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reconstructions": {"cg": {"algorithm": "cg-sense", "iteration": 3}}}, "did you mean"),
        ({"datasets": "absent.tsv"}, "absent.tsv: no such dataset table"),
    ],
)
def test_faulty_settings_stop_at_once_in_one_line(run, change, message):
    write_config(run, {**CONFIG, **change})
    output = snakemake(run, "--dry-run", check=False)
    assert message in output
    assert "Traceback" not in output


def test_too_small_a_limit_is_refused_with_the_arithmetic(run):
    write_config(run, {**CONFIG, "memory": {"host_mb": 64}})
    output = snakemake(run, check=False)
    assert "memory.host_mb is 64 MB" in output
    assert "Each of these would fit: memory.host_mb:" in output
    assert "Traceback" not in output
