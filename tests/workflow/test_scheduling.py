"""What the workflow asks a scheduler for, by dry runs on a machine that cannot load torch."""

import json
import re
import shutil

import pytest
import yaml
from workflow_runs import ROOT, snakemake

BLOCKS = 5

CONFIG = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 1000, "block_images": 1},
    "sources": {
        "series": {
            "shape": [16, 12],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 7,
                "samples": 32,
                "coils": 1,
                "frames": BLOCKS,
            },
        }
    },
    "reconstructions": {"plain": {"algorithm": "gridding"}},
}
TABLE = (
    "dataset\tkind\tformat\tsource\treconstruction\nseries\tmri\tsimulation\tshepp-logan\tplain\n"
)
# As on a login node: whoever imports one of these while the graph of jobs is made, fails.
LOGIN_NODE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "zarr", "dask", "finufft", "scipy")))
from snakemake.cli import main
main()
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A folder in which everything before the blocks is done."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "datasets.tsv").write_text(TABLE)
    snakemake(folder, "planned")
    return folder


def blocks_of_dry_run(folder, *arguments):
    """Return the threads and the resources of each block's job."""
    dry_run = ("--dry-run", *arguments, "--", "reconstructed")
    output = snakemake(folder, *dry_run, code=LOGIN_NODE)
    jobs = re.findall(r"^rule reconstruct:\n((?:    .*\n)+)", output, re.M)
    assert len(jobs) == BLOCKS
    # Snakemake is silent about one thread.
    return [
        (
            int((re.search(r"threads: (\d+)", job) or [0, 1])[1]),
            dict(re.findall(r"(\w+)=([^,\n]+)", job)),
        )
        for job in jobs
    ]


@pytest.mark.parametrize(
    ("cores", "threads"),
    [
        # Fewer cores than blocks: as many jobs as cores.
        ("3", 1),
        # More cores than blocks: all jobs at once, with three cores each.
        ("16", 3),
    ],
)
def test_blocks_share_the_cores(planned, cores, threads):
    jobs = blocks_of_dry_run(planned, "--cores", cores)
    assert [found for found, _ in jobs] == [threads] * BLOCKS


def test_blocks_on_gpus_run_side_by_side(planned):
    options = ("--config", "compute={device: cuda}", "--resources", "gpu=4")
    for threads, resources in blocks_of_dry_run(planned, "--cores", "8", *options):
        assert threads == 2
        assert resources["gpu"] == "1"


def test_the_cluster_is_asked_for_what_was_planned(planned):
    table = (planned / "results/series/plain/plan.tsv").read_text().splitlines()
    names = table[0].split("\t")
    row = dict(zip(names, table[1].split("\t"), strict=True))
    profile = ("--workflow-profile", str(ROOT / "profiles/slurm"))
    for _, resources in blocks_of_dry_run(planned, *profile):
        assert resources["mem_mb"] == row["mem_mb"]
        assert resources["runtime"] == row["runtime"]


# A machine of so much memory.
SMALL = """
import pipeline.engine.limits
pipeline.engine.limits.host_memory_mb = lambda: {machine_mb}
from snakemake.cli import main
main()
"""


def most_at_once(output):
    """Return how many jobs ran at the same time, at most, as Snakemake tells of them."""
    running, most = 0, 0
    for started, _ in re.findall(r"^Execute (\d+) jobs|^(Finished) jobid", output, re.M):
        running += int(started) if started else -1
        most = max(most, running)
    return most


@pytest.mark.parametrize(
    ("options", "expected"), [((), 2), (("--resources", "gpu=1", "mem_mb=100000"), 3)]
)
def test_jobs_side_by_side_fit_the_machine(planned, tmp_path, options, expected):
    folder = shutil.copytree(planned, tmp_path / "run", symlinks=True)
    lines = (folder / "results/series/plain/plan.tsv").read_text().splitlines()
    row = dict(zip(*(line.split("\t") for line in lines[:2]), strict=True))
    machine = SMALL.format(machine_mb=int(2.5 * int(row["mem_mb"])))
    output = snakemake(folder, "--cores", "3", *options, "--", "reconstructed", code=machine)
    assert most_at_once(output) == expected


def requests_of(output):
    """Return the memory that each rule of a dry run asks for [MB]."""
    jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", output, re.M)
    return {rule: re.search(r"mem_mb=([^,\n]+)", job)[1] for rule, job in jobs}


def test_memory_of_every_stage_is_asked_for(planned):
    """Each is one tiny image: a process, and 200 MB for Snakemake inside an allocation."""
    dry_run = ("--dry-run",)
    everything = requests_of(snakemake(planned, *dry_run, code=LOGIN_NODE))
    again = ("--forcerun", "calibrate", "--", "calibrated")
    everything |= requests_of(snakemake(planned, *dry_run, *again, code=LOGIN_NODE))
    found = {rule: int(everything[rule]) for rule in ("calibrate", "merge", "measure", "report")}
    receipt = json.loads((planned / "results/series/receipts/calibrate.json").read_text())
    predicted = receipt["predicted_host_bytes"] / 1e6
    assert predicted + 200 <= found["calibrate"] < predicted + 202
    assert all(250 < megabytes < 600 for megabytes in found.values())


def test_what_is_not_known_before_ingest_is_asked_for_later(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "datasets.tsv").write_text(TABLE)
    left_over = tmp_path / "results/series/raw.json"
    left_over.parent.mkdir(parents=True)
    left_over.write_text("{}")
    dry_run = ("--dry-run", "--forcerun", "ingest", "--", "calibrated")
    requests = requests_of(snakemake(tmp_path, *dry_run, code=LOGIN_NODE))
    assert requests["calibrate"] == "<TBD>"
    assert int(requests["ingest"]) > 500
