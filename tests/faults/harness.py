"""Trials: a run of a dozen small blocks is hit by a fault at a random moment, and run again.

`make test-faults` runs thirty and prints a line for each. A trial fails if the second run does not
complete, if its images differ by a single bit from those of a run that was left alone, or if it
repeats a job that had finished. Each fault is made while a stage runs.

The jobs of a scheduler that is killed go on. What they have published when the next run looks for
it is whole, so it counts, and is not made again; the others are repeated.
"""

import argparse
import copy
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import forked

from pipeline.config.datasets import load_datasets
from pipeline.config.file import load_config
from pipeline.run import run as run_stages

ROOT = Path(__file__).parents[2]

BLOCKS = 12
DISK_MB = 64
CONFIG: dict[str, Any] = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 2000, "block_images": 1},
    "compute": {"device": "cpu", "threads": 1, "deterministic": True},
    "output": {"ome_zarr": False, "nifti": False},
    "sources": {
        "series": {
            "shape": [16, 18],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 11,
                "samples": 40,
                "coils": 2,
                "frames": BLOCKS,
                "snr_db": 30.0,
            },
        }
    },
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 5}},
}
TABLE = "dataset\tkind\tformat\tsource\treconstruction\nseries\tmri\tsimulation\tshepp-logan\tcg\n"
RESULTS = Path("results/series/cg")
OPTIONS = ("--snakefile", ROOT / "Snakefile", "--configfile", "config.yaml", "--cores", "2")


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: jobs by rule and block.

    Attributes
    ----------
    kind
        Of fault.
    hit
        Jobs whose process the fault killed, or that ran when the disk became full or the scheduler
        was killed.
    finished, unfinished
        Jobs of the first run.
    repeated
        Those of them that the second run did again.
    equal
        Whether the images are those of a run that was left alone.
    """

    kind: str
    hit: frozenset[str]
    finished: frozenset[str]
    unfinished: frozenset[str]
    repeated: frozenset[str]
    equal: bool

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, if anything."""
        wasted = self.repeated & self.finished
        lost = self.hit - self.repeated if self.kind == "job" else frozenset()
        return [
            *(["no job ran when it was hit"] if not self.hit else []),
            *(["no job was cut off"] if not self.unfinished else []),
            *([f"had finished, and was repeated: {sorted(wasted)}"] if wasted else []),
            *([f"was killed, and not repeated: {sorted(lost)}"] if lost else []),
            *(["the images differ"] if not self.equal else []),
        ]

    def line(self) -> str:
        """Return one line for a person."""
        alone = self.unfinished - self.repeated
        return (
            f"{'failed' if self.faults else 'passed'}  {self.kind:9}  finished: "
            f"{len(self.finished):2}  cut off: {len(self.unfinished)}  repeated: "
            f"{len(self.repeated)}  finished by themselves: {len(alone)}  "
            f"{'; '.join(self.faults) or 'images equal'}"
        )


def run(folder: Path, *arguments: str) -> str:
    """Run to the end, unlocking the folder where the last run could not; return the output."""
    for _ in range(2):
        status, output = forked("snakemake", *OPTIONS, *arguments, cwd=folder)
        if "Directory cannot be locked" not in output:
            break
        forked("snakemake", *OPTIONS, "--unlock", cwd=folder)
    if status != 0:
        raise RuntimeError(output)
    return output


def jobs_in(output: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the jobs that Snakemake's output says were started, and those that finished."""
    names = {}
    for rule, entries in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", output, re.M):
        number = re.search(r"^    jobid: (\d+)", entries, re.M)
        block = re.search(r"block=(\d+)", entries)
        if number:
            names[number[1]] = f"{rule} {block[1] if block else ''}".strip()
    ended = re.findall(r"^Finished jobid: (\d+)", output, re.M)
    finished = frozenset(names[number] for number in ended if number in names)
    return frozenset(names.values()), finished


def prepare(folder: Path, blocks: int = BLOCKS) -> None:
    """Make a run that stands before its blocks, and beside it one that was left alone."""
    prepared, undisturbed = folder / "prepared", folder / "undisturbed"
    prepared.mkdir(parents=True)
    config = copy.deepcopy(CONFIG)
    config["sources"]["series"]["simulation"]["frames"] = blocks
    (prepared / "config.yaml").write_text(yaml.safe_dump(config))
    (prepared / "datasets.tsv").write_text(TABLE)
    (row,) = load_datasets(prepared / "datasets.tsv", load_config(config)).values()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run_stages(config, row, "cg", prepared / "results", until="plan")
        shutil.copytree(prepared, undisturbed)
        run_stages(config, row, "cg", undisturbed / "results", first="accumulate", until="merge")


def image_bytes(folder: Path) -> bytes:
    """Return the final images, bit by bit."""
    return bytes(zarr.open_group(folder / RESULTS / "image.zarr", mode="r")["image"][:].tobytes())


def kinds() -> list[str]:
    """Return the kinds of faults that can be made here."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = _mount(Path(folder))
        if mounted:
            subprocess.run(["umount", folder], check=True)
    return ["job", "scheduler", "disk"] if mounted else ["job", "scheduler"]


def _mount(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    options = f"size={DISK_MB}m"
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(call, capture_output=True, check=False).returncode == 0


def _running_jobs(scheduler: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """Return the processes of stages that run now, without the shells around them."""
    found = {}
    for process in psutil.Process(scheduler.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            if any(word.endswith("/kronufft") for word in words[:2]):
                stage = words[2] if words[1].endswith("/kronufft") else words[1]
                block = words[words.index("--block") + 1] if "--block" in words else ""
                found[f"{stage} {block}".strip()] = process
    return found


def trial(base: Path, folder: Path, kind: str, seed: int) -> Outcome:
    """Run one trial in ``folder`` from what `prepare` made under ``base``."""
    chance = random.Random(seed)
    folder.mkdir()
    mounted = kind == "disk" and _mount(folder)
    try:
        shutil.copytree(base / "prepared", folder, dirs_exist_ok=True)
        log = base / f"{folder.name}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "snakemake", *map(str, OPTIONS), "merged"]
            scheduler = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
        try:
            _wait_until(folder, scheduler, chance)
            jobs = _hit(kind, scheduler, folder, chance)
        finally:
            if kind != "scheduler" and scheduler.poll() is None:
                scheduler.wait()
            scheduler.kill()
            scheduler.wait()
        (folder / "ballast").unlink(missing_ok=True)
        started, finished = jobs_in(log.read_text())
        again, _ = jobs_in(run(folder, "merged"))
        psutil.wait_procs(jobs.values(), timeout=60)
        equal = image_bytes(folder) == image_bytes(base / "undisturbed")
        return Outcome(kind, frozenset(jobs), finished, started - finished, started & again, equal)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _wait_until(folder: Path, scheduler: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Wait until some blocks are there, and then up to the length of a job."""
    planned = len((folder / RESULTS / "plan.tsv").read_text().splitlines())
    enough = chance.randrange(planned - 3)  # a header, a checksum, and two blocks that still run
    while scheduler.poll() is None and len([*folder.glob(f"{RESULTS}/blocks/*.zip")]) < enough:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 2.5))


def _hit(
    kind: str, scheduler: subprocess.Popen[bytes], folder: Path, chance: random.Random
) -> dict[str, psutil.Process]:
    """Make the fault as soon as a stage runs; return the jobs that it hits."""
    while scheduler.poll() is None:
        jobs = _running_jobs(scheduler)
        if not jobs:
            time.sleep(0.02)
        elif kind == "job":
            victim = chance.choice(sorted(jobs))
            with suppress(psutil.NoSuchProcess):
                jobs[victim].kill()
                return {victim: jobs[victim]}
        else:
            if kind == "disk":
                _fill(folder / "ballast")
            else:
                scheduler.kill()
            return jobs
    return {}


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for size in (2**16, 2**10, 1):
            with suppress(OSError):
                while True:
                    file.write(b"0" * size)


def main() -> None:
    """Run trials and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=0)
    chosen = parser.parse_args()
    possible = kinds()
    if "disk" not in possible:
        sys.stdout.write("no trials with a full disk: mounting a tmpfs needs root\n")
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        prepare(base)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.trials):
            outcome = trial(base, base / f"trial-{seed}", possible[seed % len(possible)], seed)
            sys.stdout.write(f"{seed:3}  {outcome.line()}\n")
            sys.stdout.flush()
            outcomes.append(outcome)
    failed = [outcome for outcome in outcomes if outcome.faults]
    repeated = sum(len(outcome.repeated) for outcome in outcomes)
    finished = sum(len(outcome.finished) for outcome in outcomes)
    sys.stdout.write(f"repeated: {repeated} jobs that were running, beside {finished} finished\n")
    sys.exit(f"{len(failed)} of {len(outcomes)} trials failed" if failed else 0)


if __name__ == "__main__":
    main()
