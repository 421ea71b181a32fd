"""Predicted against measured memory over a grid of jobs, each in a fresh process.

``python tests/benchmarks/memory_contract.py`` prints a table for docs/performance.md and writes it
to ``results/memory_contract.csv``. Two idle cores take about ten minutes.
"""

import csv
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from planned_jobs import run_plan

TABLE = Path("results/memory_contract.csv")
Case = tuple[str, dict[str, Any], dict[str, Any]]


def cases() -> Iterator[Case]:
    """Yield name, acquisition and settings of each case."""
    volumes = {
        "2d": {"shape": (192, 160), "coils": 12, "readouts": 48, "samples": 320, "frames": 40},
        "3d": {"shape": (96, 80, 88), "coils": 6, "readouts": 4000, "samples": 128},
        "3d large": {"shape": (144, 128, 136), "coils": 4, "readouts": 8000, "samples": 256},
        "3d long": {"shape": (64, 56, 60), "coils": 3, "readouts": 40_000, "samples": 256},
    }
    algorithms: dict[str, dict[str, Any]] = {
        "gridding": {"algorithm": "gridding"},
        "cg-sense": {"algorithm": "cg-sense", "iterations": 2},
        "explicit": {"algorithm": "cg-sense", "iterations": 1, "normal": "explicit"},
        "fista tv": {"algorithm": "fista", "penalty": "tv", "iterations": 2},
        "admm l1": {"algorithm": "admm", "iterations": 2, "inner_iterations": 2},
        "omp": {"algorithm": "omp", "points": 3},
    }
    for (volume, acquisition), (algorithm, settings) in itertools.product(
        volumes.items(), algorithms.items()
    ):
        yield f"{volume}, {algorithm}", acquisition, settings
    cg = algorithms["cg-sense"]
    yield "3d, double", volumes["3d"], {**cg, "precision": "double", "tolerance": 1e-7}
    yield "3d, deterministic", volumes["3d"], {**cg, "deterministic": True}
    yield "3d, finufft", volumes["3d"], {**cg, "backend": "finufft", "tolerance": 1e-3}
    yield "3d, 5 shards", volumes["3d"], {**cg, "shards": 5}
    yield "3d long, limit of 500 MB", volumes["3d long"], {**cg, "host_mb": 500}
    yield "2d, shared", {**volumes["2d"], "own_trajectory": False}, cg


def main() -> None:
    """Run all cases, or those whose names contain the words on the command line."""
    words = sys.argv[1:]
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "job", "measured_mb", "predicted_mb", "ratio", "seconds", "said"])
        _say("| case | job | measured MB | predicted MB | ratio |\n|---|---|---|---|---|")
        for name, acquisition, settings in cases():
            if not all(word in name for word in words):
                continue
            with tempfile.TemporaryDirectory() as folder:
                for row, receipt in run_plan(Path(folder), acquisition, settings):
                    measured = receipt["peak_host_bytes"] / 1e6
                    job = f"{row.stage} {row.shard}".strip()
                    ratio = f"{row.host_mb / measured:.2f}"
                    _say(f"| {name} | {job} | {measured:.0f} | {row.host_mb} | {ratio} |")
                    cells = [name, job, round(measured), row.host_mb, ratio]
                    table.writerow([*cells, round(receipt["seconds"], 2), row.seconds])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
