"""Trials: a run is hit by a fault at a random moment of one of its stages, and run again.

`make test-faults` runs two hundred and prints a line for each. Each trial begins with the results
of other settings, made anew up to the stage that is hit. It fails if the second run does not
complete, if its images differ by a single bit from those of a run that was left alone, or if it
repeats a job that had finished.

The jobs of a scheduler that is killed go on. What they have published when the next run looks for
it is whole, so it counts, and is not made again; the others are repeated.
"""

import argparse
import copy
import io
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import PRELOADED, forked, server_process

from pipeline.config.datasets import load_datasets
from pipeline.config.file import load_config
from pipeline.in_process import run as run_stages

ROOT = Path(__file__).parents[2]

STAGES = (
    "ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge", "measure", "report",
)  # fmt: skip
FAULTS = {
    "job": "",
    "scheduler": "",
    "memory": "",
    "disk": "mounting a file system needs root",
    "read-only": "mounting a file system needs root",
    "vanished": "mounting a file system needs root",
    "clock": "the library libfaketime is not installed (apt-get install faketime)",
}
"""Kinds of faults, and why there are none where that can be."""
DISK_MB = 64
CONFIG: dict[str, Any] = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 2000, "block_images": 2, "shards": 2},
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
                "frames": 2,
                "snr_db": 30.0,
            },
        }
    },
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 5}},
}
TABLE = "dataset\tkind\tformat\tsource\treconstruction\nseries\tmri\tsimulation\tshepp-logan\tcg\n"
IMAGE = Path("results/series/cg/image.zarr")
OPTIONS = ("--snakefile", ROOT / "Snakefile", "--configfile", "config.yaml", "--cores", "1")
CLOCK = "FAKETIME_TIMESTAMP_FILE"
DAY = 86_400
STEPS = (-400 * DAY, -2 * DAY, -300, 300, 2 * DAY, 400 * DAY)
"""Of the clock [s]."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: jobs by rule, block and shard.

    Attributes
    ----------
    fault, stage
        Kind of fault, and the stage that ran when it was made.
    hit
        Whether it was made before the stage ended, and a job did not end in spite of it.
    finished, unfinished
        Jobs of the first run.
    repeated
        Those of them, and of the stages before, that the second run did again.
    equal
        Whether the images are those of a run that was left alone; None if the second run stopped.
    """

    fault: str
    stage: str
    hit: bool
    finished: frozenset[str]
    unfinished: frozenset[str]
    repeated: frozenset[str]
    equal: bool | None

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, if anything."""
        # What is dated after its successors is rightly made again.
        wasted = frozenset() if self.fault == "clock" else self.repeated - self.unfinished
        return [
            *(["no job ran when it was hit"] if not self.hit else []),
            *([f"had finished, and was repeated: {sorted(wasted)}"] if wasted else []),
            *(["the second run did not complete"] if self.equal is None else []),
            *(["the images differ"] if self.equal is False else []),
        ]

    def line(self) -> str:
        """Return one line for a person."""
        return (
            f"{'failed' if self.faults else 'passed'}  {self.fault:9}  {self.stage:11}  finished: "
            f"{len(self.finished):2}  cut off: {len(self.unfinished)}  repeated: "
            f"{len(self.repeated)}  {'; '.join(self.faults) or 'images equal'}"
        )


def run(folder: Path, *arguments: str) -> str:
    """Run to the end, unlocking the folder where the last run could not; return the output."""
    for _ in range(3):
        status, output = forked("snakemake", *OPTIONS, *arguments, cwd=folder)
        if "Directory cannot be locked" in output:
            forked("snakemake", *OPTIONS, "--unlock", cwd=folder)
        elif "older modification time" in output:
            # What docs/workflow.md says to do where a clock was ahead.
            now = time.time()
            for file in (folder / "results").rglob("*"):
                if file.exists() and file.stat().st_mtime > now:
                    os.utime(file, (now, now))
        else:
            break
    if status != 0:
        raise RuntimeError(output)
    return output


def jobs_in(output: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the jobs that Snakemake's output says were started, and those that finished."""
    names = {}
    found = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", output, re.M)
    for rule, entries in found:
        number = re.search(r"^    jobid: (\d+)", entries, re.M)
        parts = re.findall(r"(?:block|shard)=(\d+)", entries)
        if number and rule in STAGES:
            names[number[1]] = " ".join([rule, *parts])
    ended = re.findall(r"^Finished jobid: (\d+)", output, re.M)
    finished = frozenset(names[number] for number in ended if number in names)
    return frozenset(names.values()), finished


def prepare(folder: Path, stages: Sequence[str] = STAGES) -> None:
    """Make a run that stands before each of the stages, and beside them one left alone."""
    before, undisturbed = folder / "before", folder / "undisturbed"
    made = folder / "made"
    for place in (made, undisturbed):
        place.mkdir(parents=True)
        (place / "datasets.tsv").write_text(TABLE)
    (row,) = load_datasets(made / "datasets.tsv", load_config(CONFIG)).values()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        run_stages(CONFIG, row, "cg", undisturbed / "results", until="merge")
    other = copy.deepcopy(CONFIG)
    other["sources"]["series"]["simulation"]["snr_db"] = 10.0
    (made / "config.yaml").write_text(yaml.safe_dump(other))
    run(made)
    (made / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for number, stage in enumerate(STAGES):
        if stage in stages:
            if number:
                run(made, "--until", STAGES[number - 1])
            shutil.copytree(made, before / stage)


def image_bytes(folder: Path) -> bytes:
    """Return the final images, bit by bit."""
    return bytes(zarr.open_group(folder / IMAGE, mode="r")["image"][:].tobytes())


def kinds(folder: Path) -> list[str]:
    """Return the kinds of faults that can be made here, those of the clock aside."""
    place = folder / "place"
    place.mkdir(parents=True, exist_ok=True)
    mounted = _mount("-t", "tmpfs", "tmpfs", place)
    _unmount(place)
    return [name for name in FAULTS if name != "clock" and (mounted or "root" not in FAULTS[name])]


@contextmanager
def faked_clock() -> Iterator[bool]:
    """Start what is started here with a clock that `set_clock` sets; tell whether that is so."""
    found = [*Path("/usr").glob("lib/**/faketime/libfaketimeMT.so.1")]
    if not found:
        yield False
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clock"
        # The monotonic clock does not step: Python waits by it.
        os.environ.update(
            {CLOCK: str(file), "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        )
        set_clock(0)
        os.environ["LD_PRELOAD"] = str(found[0])
        try:
            for program in ("snakemake", "kronufft"):
                server_process(program)
        finally:
            del os.environ["LD_PRELOAD"]
        yield True


def set_clock(step: float) -> None:
    """Set the clock of all that runs ``step`` seconds ahead."""
    if CLOCK in os.environ:
        Path(os.environ[CLOCK]).write_text(f"{step:+.0f}\n")


@contextmanager
def _memory_group() -> Iterator[Path | None]:
    """Yield a control group of 1 MB; None where none can be made."""
    for above, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", above, f"kronufft-trial-{os.getpid()}")
        try:
            group.mkdir()
            (group / limit).write_text(str(2**20))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            for _ in range(50):
                with suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.1)
        return
    yield None


def trial(base: Path, folder: Path, fault: str, stage: str, seed: int) -> Outcome:
    """Run one trial in ``folder`` from what `prepare` made under ``base``."""
    chance = random.Random(seed)
    for _ in range(40):  # a job can end before it is hit
        outcome = _try(base, folder, fault, stage, chance)
        if outcome.hit:
            break
    return outcome


def _try(base: Path, folder: Path, fault: str, stage: str, chance: random.Random) -> Outcome:
    before, results = base / "before" / stage, folder / "results"
    store = folder.with_name(f"{folder.name}-store")
    target = "all" if stage == "report" else "measured"  # its figures take half of a run
    results.mkdir(parents=True)
    with ExitStack() as left:
        left.callback(shutil.rmtree, folder, ignore_errors=True)
        left.callback(shutil.rmtree, store, ignore_errors=True)
        if fault == "disk":
            _mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder)
            left.callback(_unmount, folder)
        elif fault in ("read-only", "vanished"):
            store.mkdir()
            _mount("--bind", store, results)
            left.callback(_unmount, results)
        left.callback(set_clock, 0)
        shutil.copytree(before, folder, dirs_exist_ok=True)
        moment = chance.uniform(0, _seconds(before, stage))
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(forked, "snakemake", *OPTIONS, target, cwd=folder)
            hit = _wait_for(stage, moment, first) and _hit(fault, folder, chance)
            _, output = first.result()
        started, finished = jobs_in(output)
        if fault in ("job", "memory"):
            hit = hit and started != finished
        psutil.wait_procs(_running(), timeout=60)
        if fault == "disk":
            (folder / "ballast").unlink(missing_ok=True)
        elif fault == "read-only":
            _mount("-o", "remount,rw,bind", results)
        elif fault == "vanished" and hit:
            results.mkdir(exist_ok=True)  # Snakemake removes what a failed job leaves empty
            _mount("--bind", store, results)
        set_clock(0)
        equal: bool | None = None
        try:
            again, _ = jobs_in(run(folder, target))
            equal = image_bytes(folder) == image_bytes(base / "undisturbed")
        except RuntimeError as stopped:
            again = frozenset()
            sys.stderr.write(f"{stopped}\n")
        done = STAGES[: STAGES.index(stage)]
        repeated = frozenset(job for job in again if job in started or job.split()[0] in done)
        return Outcome(fault, stage, hit, finished, started - finished, repeated, equal)


def _mount(*arguments: str | Path) -> bool:
    call = ["mount", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, check=False).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _seconds(folder: Path, stage: str) -> float:
    """Return how long a job of a stage took the last time [s]."""
    table = next(file for file in (folder / "benchmarks").rglob("*.tsv") if stage in str(file))
    return float(table.read_text().splitlines()[1].split()[0])


def _running(program: str = "kronufft") -> list[psutil.Process]:
    """Return the processes of a program that run now; a job's has the name of its stage."""
    return server_process(program).children()


def _wait_for(stage: str, moment: float, first: "Future[Any]") -> bool:
    """Wait until a job of a stage runs, and then for a moment [s]; tell whether it still does."""
    while not first.done():
        if any(_is_of(process, stage) for process in _running()):
            time.sleep(moment)
            return any(_is_of(process, stage) for process in _running())
        time.sleep(0.01)
    return False


def _is_of(process: psutil.Process, stage: str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.name() == stage
    return False


def _hit(fault: str, folder: Path, chance: random.Random) -> bool:
    """Make the fault; tell whether it was made while a job ran."""
    if fault == "disk":
        _fill(folder / "ballast")
    elif fault == "clock":
        set_clock(chance.choice(STEPS))
        if chance.random() < 0.5:  # and the power is cut
            return _kill(_running("snakemake")) and _kill(_running())
    elif fault == "vanished":
        _unmount(folder / "results")
    elif fault == "read-only":
        # A file system stays writable while a file is open for writing.
        for _ in range(200):
            if _mount("-o", "remount,ro,bind", folder / "results"):
                break
            time.sleep(0.001)
        else:
            return False
    elif fault == "memory":
        return _starve(_running())
    else:
        return _kill(_running("snakemake" if fault == "scheduler" else "kronufft"))
    return True


def _kill(processes: list[psutil.Process]) -> bool:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return bool(processes)


def _starve(processes: list[psutil.Process]) -> bool:
    """Give processes no more memory: in a control group where one can be made, else by a limit."""
    with _memory_group() as group:
        for process in processes:
            try:
                if group is None:
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (2**20, 2**20))
                else:
                    (group / "cgroup.procs").write_text(str(process.pid))
            except OSError:
                return False
        psutil.wait_procs(processes, timeout=60)
    return bool(processes)


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
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first trial; then one more each"
    )
    chosen = parser.parse_args()
    outcomes = []
    # No trial changes the package: its jobs need not load it each time.
    PRELOADED["snakemake"] += " pipeline.rules"
    PRELOADED["kronufft"] += "".join(f" pipeline.stages.{stage}" for stage in STAGES)
    with tempfile.TemporaryDirectory() as name, faked_clock() as faked:
        base = Path(name)
        faults = kinds(base) + ["clock"] * faked
        for fault in sorted(set(FAULTS) - set(faults)):
            sys.stdout.write(f"no trials of {fault}: {FAULTS[fault]}\n")
        prepare(base)
        for seed in range(chosen.seed, chosen.seed + chosen.trials):
            # The numbers of both have no factor in common: all pairs come.
            stage, fault = STAGES[seed % len(STAGES)], faults[seed % len(faults)]
            outcome = trial(base, base / f"trial-{seed}", fault, stage, seed)
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
