"""The workflow as a user runs it: small phantoms, and what is repeated after a change."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = ["ingest", "calibrate", "plan", "reconstruct", "merge", "measure", "report"]

CONFIG = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 4000},
    "sources": {
        "series": {
            "shape": [24, 32],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 13,
                "samples": 64,
                "coils": 3,
                "frames": 5,
                "snr_db": 30.0,
            },
        },
        "still": {
            "shape": [24, 20],
            "simulation": {"trajectory": "spiral", "readouts": 8, "samples": 300, "coils": 2},
        },
    },
    "reconstructions": {
        "gridding": {"algorithm": "gridding"},
        "cg": {"algorithm": "cg-sense", "iterations": 4},
        "cg-all": {"algorithm": "cg-sense", "iterations": 3, "frames_per_image": "all"},
    },
}
TABLE = [
    ["dataset", "kind", "format", "source", "reconstruction"],
    ["series", "mri", "simulation", "shepp-logan", "cg,cg-all"],
    ["still", "mri", "simulation", "shepp-logan", "gridding"],
]


def snakemake(folder, *arguments, check=True):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
            *("--cores", "2", *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    output = done.stdout + done.stderr
    assert not check or done.returncode == 0, output
    return output


def pending(folder, *arguments):
    """Return the stages that a run would repeat, with the number of jobs of each."""
    output = snakemake(folder, "--dry-run", *arguments)
    if "Nothing to be done" in output:
        return {}
    counts = {}
    lines = output[output.index("Job stats:") :].splitlines()
    for line in lines[3:]:
        if not line.strip():
            break
        name, count = line.split()
        if name in STAGES:
            counts[name] = int(count)
    return counts


def write_config(folder, content):
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def changed(**reconstruction):
    content = json.loads(json.dumps(CONFIG))
    content["reconstructions"]["cg"].update(reconstruction)
    return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the whole workflow has run."""
    folder = tmp_path_factory.mktemp("run")
    write_config(folder, CONFIG)
    (folder / "datasets.tsv").write_text("\n".join("\t".join(row) for row in TABLE) + "\n")
    snakemake(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to change."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    return folder


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
    write_config(run, changed(iterations=5))
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
    assert "Raise the limit" in output
    assert "Traceback" not in output
