"""The workflow as a user runs it: small phantoms, and what is repeated after a change."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from forked import PROGRAMS
from workflow_runs import CONFIG, changed, pending, snakemake, write_config

from pipeline.config.datasets import load_datasets
from pipeline.config.file import load_config
from pipeline.errors import ConfigError
from pipeline.in_process import ResultPaths
from pipeline.in_process import run as run_stages
from pipeline.storage.publish import open_published


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


@pytest.mark.parametrize("name", ["series/cg", "still/gridding"])
def test_one_process_makes_the_same_files_and_images(finished, tmp_path, name, monkeypatch):
    monkeypatch.chdir(finished)  # where `data_root` is
    config = load_config(CONFIG)
    dataset, reconstruction = name.split("/")
    row = load_datasets(Path(config.datasets), config)[dataset]
    files = run_stages(config, row, reconstruction, tmp_path / "results")
    expected = ResultPaths(finished / "results", dataset, reconstruction)
    images = [open_published(each.image)["image"][:] for each in (files, expected)]
    np.testing.assert_array_equal(*images)
    made = {path.relative_to(files.folder) for path in files.folder.rglob("*")}
    assert made == {path.relative_to(expected.folder) for path in expected.folder.rglob("*")}
    assert reconstruction in files.report.read_text()


def test_one_process_refuses_what_the_row_lacks(finished, tmp_path):
    config = load_config(CONFIG)
    row = load_datasets(finished / config.datasets, config)["series"]
    with pytest.raises(ConfigError, match="reconstructions cg, cg-all, and not `gridding`"):
        run_stages(config, row, "gridding", tmp_path)


def test_a_changed_setting_reruns_what_uses_it(run):
    write_config(run, changed(reconstructions={"cg": {"algorithm": "cg-sense", "iterations": 5}}))
    snakemake(run)
    assert pending(run) == {}
    receipt = json.loads((run / "results/series/cg/receipts/reconstruct-0000.json").read_text())
    assert receipt["iterations"] == 5


def test_a_new_plan_repeats_only_the_blocks_that_it_changed(run):
    plan = run / "results/series/cg/plan.tsv"
    plan.touch()
    assert "reconstruct" not in pending(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reconstructions": {"cg": {"algorithm": "cg-sense", "iteration": 3}}}, "did you mean"),
        ({"datasets": "absent.tsv"}, "absent.tsv: no such file; set `datasets`"),
    ],
)
def test_faulty_settings_stop_at_once_in_one_line(run, change, message):
    write_config(run, {**CONFIG, **change})
    output = snakemake(run, "--dry-run", check=False)
    assert message in output
    assert "Traceback" not in output


def test_a_damaged_plan_is_told_without_a_traceback_and_made_again(run):
    plan = run / "results/still/gridding/plan.tsv"
    whole = plan.read_text()
    plan.write_text(whole.replace("0000", "0001"))
    output = snakemake(run, "--dry-run", check=False)
    assert "still/gridding/plan.tsv: damaged or edited" in output
    assert 'File "' not in output
    snakemake(run, "--force", "results/still/gridding/plan.tsv")
    assert plan.read_text() == whole


def test_a_defect_is_one_line_with_a_report_to_send(run):
    code = "import pipeline.rules; pipeline.rules.load_config = None; " + PROGRAMS["snakemake"]
    output = snakemake(run, "--dry-run", check=False, code=code)
    (report,) = run.glob("logs/defect-*.txt")
    assert f"please report it with {report.relative_to(run)}" in output
    assert 'File "' not in output
    assert "pipeline/rules.py" in report.read_text()


def test_too_small_a_limit_is_refused_with_the_arithmetic(run):
    write_config(run, {**CONFIG, "memory": {"host_mb": 64}})
    output = snakemake(run, check=False)
    assert "memory.host_mb is 64 MB" in output
    assert "Each of these would fit: memory.host_mb:" in output
    assert "Traceback" not in output
