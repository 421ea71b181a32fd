"""What Snakemake itself costs with thousands of blocks: `python tests/benchmarks/many_jobs.py`.

A small plan is made and its rows are repeated until there are as many blocks as asked for. A dry
run then shows the price of the graph of jobs, and a run in which `kronufft reconstruct` is replaced
by a script that only makes its two files shows the price of scheduling. CPU seconds are those of
the Snakemake process alone, so that other work on the machine does not count. `--real N`
reconstructs N frames of 16 x 16 for comparison: one frame a job, and as planned without that limit.
"""

import argparse
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from pipeline.engine.table import read_plan, write_plan

ROOT = Path(__file__).parents[2]
STAND_IN = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in --image | --receipt) : >"$2" ;; esac
    shift
done
"""


def write_run(folder: Path, frames: int, block_images: int | str) -> None:
    """Write config and table of a series of frames of 16 x 16."""
    folder.mkdir()
    simulation = {"trajectory": "golden-radial", "readouts": 13, "samples": 32, "coils": 2}
    config = {
        "datasets": "datasets.tsv",
        "memory": {"host_mb": 4000, "block_images": block_images},
        "compute": {"device": "cpu", "threads": 1},
        "sources": {"series": {"shape": [16, 16], "simulation": {**simulation, "frames": frames}}},
        "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 5}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "datasets.tsv").write_text(
        "dataset\tkind\tformat\tsource\treconstruction\nseries\tmri\tsimulation\tshepp-logan\tcg\n"
    )


def measure(what: str, folder: Path, *arguments: str, path: str = "") -> None:
    """Run Snakemake and print wall time, its own CPU time and peak memory, and jobs."""
    log = folder / "output"
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    start = time.perf_counter()
    with log.open("w") as file:
        process = psutil.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
                *("--configfile", "config.yaml", "--cores", "2", *arguments),
            ],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        cpu, peak = 0.0, 0
        while process.poll() is None:
            try:
                times = process.cpu_times()
                cpu, peak = times.user + times.system, max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.05)
    wall = time.perf_counter() - start
    if process.wait() != 0:
        sys.exit(log.read_text()[-2000:])
    jobs = len(re.findall(r"^(?:local)?(?:rule|checkpoint) \w+:", log.read_text(), re.M))
    sys.stdout.write(
        f"{what:24} {jobs:6} jobs  wall {wall:7.1f} s  scheduler: {cpu:6.1f} s of CPU, "
        f"{1000 * cpu / max(jobs, 1):5.1f} ms a job, {peak / 1e6:5.0f} MB\n"
    )
    sys.stdout.flush()


def repeat_blocks(plan: Path, blocks: int) -> None:
    """Make a plan of one block a plan of many that look like it."""
    made = read_plan(plan)
    row = next(iter(made.blocks.values()))
    rows = [
        row.model_copy(update={"block": f"{index:04d}", "first_image": index})
        for index in range(blocks)
    ]
    write_plan(plan, [*rows, *made.later.values()])


def main() -> None:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=5000)
    parser.add_argument("--real", type=int, default=0, help="frames to reconstruct as well")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        stand_in = base / "bin" / "kronufft"
        stand_in.parent.mkdir()
        stand_in.write_text(STAND_IN)
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
        many = base / "many"
        write_run(many, 1, 1)
        measure("until planned", many, "planned")
        repeat_blocks(many / "results/series/cg/plan.tsv", chosen.blocks)
        measure("dry run", many, "reconstructed", "--dry-run")
        measure("jobs that do nothing", many, "reconstructed", path=str(stand_in.parent))
        measure("nothing to be done", many, "reconstructed", "--dry-run")
        if chosen.real:
            for what, limit in (("one frame a job", 1), ("as planned", "auto")):
                folder = base / what.replace(" ", "-")
                write_run(folder, chosen.real, limit)
                measure("until planned", folder, "planned")
                measure(what, folder, "reconstructed")


if __name__ == "__main__":
    main()
