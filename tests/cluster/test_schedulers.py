"""The workflow on a real SLURM: through its profile, and through the one for any scheduler."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cluster.local_slurm import LocalSlurm, left_behind, reason_to_skip

ROOT = Path(__file__).parents[2]
REASON = reason_to_skip()

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]

# Two blocks, so that two jobs run side by side.
CONFIG = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 2000, "block_images": 2},
    "compute": {"device": "auto", "threads": 1},
    "sources": {
        "series": {
            "shape": [24, 32],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 13,
                "samples": 64,
                "coils": 3,
                "frames": 4,
            },
        }
    },
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 4}},
}
TABLE = "dataset\tkind\tformat\tsource\treconstruction\nseries\tmri\tsimulation\tshepp-logan\tcg\n"
# Too little at first: a job dies of it, and its next attempt gets four times as much.
TOO_LITTLE_MEMORY = "reconstruct:mem_mb=65*4**attempt"
BLOCKS = [f"results/series/cg/blocks/{block}.zarr.zip" for block in ("0000", "0001")]


@pytest.fixture(scope="module")
def slurm():
    if interrupted := left_behind():
        interrupted.stop()
        shutil.rmtree(interrupted.folder)
    # Munge asks that everybody may pass through the folders above its socket; pytest's are closed.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        cluster = LocalSlurm(Path(folder))
        with cluster.lock:
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.stop()


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A folder in which all before the blocks is done, without SLURM."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "datasets.tsv").write_text(TABLE)
    workflow = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml")
    call = [sys.executable, "-m", "snakemake", *workflow, "--cores", "2", "planned"]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def folder(planned, tmp_path):
    return shutil.copytree(planned, tmp_path / "run", symlinks=True)


def command(folder, profile, *arguments):
    quick = ["--latency-wait", "5", "--seconds-between-status-checks", "1"]
    if profile == "slurm":
        quick += ["--slurm-init-seconds-before-status-checks", "1"]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
        *("--workflow-profile", str(ROOT / "profiles" / profile), *quick, *arguments),
    ]


def environment(slurm):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**slurm.environment, "PATH": path}


def finish(folder, slurm, profile, *arguments):
    """Run to the end and return the output."""
    done = subprocess.run(
        command(folder, profile, *arguments),
        env=environment(slurm),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def running(folder, slurm, profile, *arguments):
    """Let a run go on beside the block."""
    with (folder / "output").open("w") as log:
        process = subprocess.Popen(
            command(folder, profile, *arguments),
            env=environment(slurm),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def wait_for(find, seconds=300.0):
    """Return the first thing found; fails when nothing is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := find():
            return found
        time.sleep(0.1)
    raise TimeoutError(find.__doc__)


def in_state(slurm, state, words=""):
    return [
        job
        for job, (found, comment) in slurm.queue().items()
        if found == state and words in comment
    ]


def attempts(slurm, since):
    """Return SLURM's account of the reconstruct jobs that came after number ``since``."""
    jobs = [job for job in slurm.history() if int(job["JobId"]) > since]
    return [job for job in jobs if "reconstruct" in job.get("Comment", "") + job["JobName"]]


def last_job(slurm):
    return max((int(job["JobId"]) for job in slurm.history()), default=0)


def test_two_jobs_see_one_device_each_and_a_third_waits(slurm, tmp_path):
    script = f"echo $CUDA_VISIBLE_DEVICES; until [ -e {tmp_path}/seen ]; do sleep 0.1; done"
    jobs = [
        subprocess.Popen(
            ["srun", "--quiet", "--gpus=1", "--mem=10", "sh", "-c", script],
            env=slurm.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    wait_for(lambda: len(in_state(slurm, "RUNNING")) == 2)
    wait_for(lambda: len(in_state(slurm, "PENDING")) == 1)
    (tmp_path / "seen").touch()
    seen = [job.communicate()[0].strip() for job in jobs]
    assert sorted(set(seen)) == ["0", "1"]


def test_a_job_killed_for_memory_succeeds_with_more(slurm, folder):
    since = last_job(slurm)
    finish(
        *(folder, slurm, "slurm", "--set-resources", TOO_LITTLE_MEMORY, "reconstruct:gpu=1"),
    )
    assert (folder / "results/report.html").is_file()
    jobs = attempts(slurm, since)
    killed = [job for job in jobs if job["JobState"] != "COMPLETED"]
    completed = [job for job in jobs if job["JobState"] == "COMPLETED"]
    assert len(completed) == len(BLOCKS)
    assert {job["MinMemoryNode"] for job in killed} == {"260M"}
    assert all(int(job["MinMemoryNode"].rstrip("M")) > 260 for job in completed)
    logs = (folder / ".snakemake/slurm_logs/rule_reconstruct").rglob("*.log")
    assert any("exceeded memory limit" in log.read_text() for log in logs)
    # Each job saw the one device that it was given.
    for log in (folder / "logs/reconstruct").rglob("*.log"):
        assert re.search(r"^leased device ([01]) of \1$", log.read_text(), re.M), log
    # Short stages that follow each other were one job.
    comments = [job.get("Comment", "") for job in slurm.history() if int(job["JobId"]) > since]
    assert sum("finish" in comment for comment in comments) == 1
    assert not any(comment.startswith(("rule_merge", "rule_measure")) for comment in comments)


def test_a_drained_node_and_a_cancelled_job(slurm, folder):
    arguments = ("--retries", "0", "--jobs", "1", "reconstructed")
    with running(folder, slurm, "slurm", *arguments) as first:
        finished = wait_for(lambda: in_state(slurm, "RUNNING", "reconstruct"))[0]
        node = slurm.command("hostname", "-s")
        slurm.command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        # The job that runs may finish; the next one waits.
        wait_for(lambda: slurm.node_state() == "drained" and in_state(slurm, "PENDING"))
        assert [(folder / block).is_file() for block in BLOCKS].count(True) == 1
        slurm.command("scontrol", "update", f"NodeName={node}", "State=RESUME")
        lost = wait_for(lambda: in_state(slurm, "RUNNING", "reconstruct"))[0]
        assert lost != finished
        comment = slurm.queue()[lost][1]
        slurm.command("scancel", lost)
        assert first.wait(300) != 0
    assert [(folder / block).is_file() for block in BLOCKS].count(True) == 1
    since = last_job(slurm)
    finish(folder, slurm, "slurm", *arguments)
    assert all((folder / block).is_file() for block in BLOCKS)
    repeated = [job["Comment"] for job in slurm.history() if int(job["JobId"]) > since]
    assert repeated == [comment]


def test_blocks_as_an_array(slurm, folder):
    since = last_job(slurm)
    finish(folder, slurm, "slurm", "--slurm-array-jobs", "reconstruct", "reconstructed")
    assert all((folder / block).is_file() for block in BLOCKS)
    tasks = [job for job in attempts(slurm, since) if "ArrayTaskId" in job]
    assert {job["ArrayTaskId"] for job in tasks} == {"1", "2"}


def test_any_scheduler(slurm, folder):
    since = last_job(slurm)
    finish(
        *(folder, slurm, "cluster-generic", "--set-resources", TOO_LITTLE_MEMORY),
        *("reconstruct:gpu=1", "--", BLOCKS[0]),
    )
    assert (folder / BLOCKS[0]).is_file()
    jobs = attempts(slurm, since)
    states = {job["MinMemoryNode"]: job["JobState"] for job in jobs}
    assert len(states) == len(jobs) > 1
    assert states["260M"] != "COMPLETED"
    assert list(states.values()).count("COMPLETED") == 1
