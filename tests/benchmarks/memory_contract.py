"""Predicted against measured memory over a grid of jobs, each in a fresh process.

``python tests/benchmarks/memory_contract.py`` prints a table for docs/performance.md and writes it
to ``results/memory_contract.csv``. Two idle cores take about ten minutes. With ``--large`` it runs
whole workflows instead, of 256^3 from 20 coils (random samples: to simulate them takes hours) and
of 2,000 frames: 8 GB of memory, 20 GB of disk and an hour. Words after that choose the cases whose
names contain them. With ``--device cuda`` the jobs run on a GPU, and its memory is compared: what
torch allocated at most, and what the driver saw in use, the context included.
"""

import argparse
import csv
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from planned_jobs import run_plan
from workflow_runs import ROOT, write_config, write_table

from pipeline.metrics.tables import read_table, rows_of
from pipeline.mri.generators.radial import kooshball
from pipeline.mri.trajectories import wrapped

Case = tuple[str, dict[str, Any], dict[str, Any]]
Cells = tuple[str, float, float, float, float | None, dict[str, float]]
"""Job, measured and predicted memory [MB], seconds taken and, of the plan's jobs, predicted; on a
GPU also its limit and what its driver saw."""
DEVICE_MB = 2000
"""Of a GPU, for cases without a limit of their own."""

VOLUME = {"readouts": 104_000, "samples": 384, "coils": 20}
SERIES = {"trajectory": "golden-radial", "readouts": 21, "samples": 256, "coils": 8, "frames": 2000}
# Name: matrix, acquisition, limits of memory, calibration.
LARGE: dict[str, tuple[list[int], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "256^3": ([256] * 3, VOLUME, {}, {"coil_maps": "walsh"}),
    "256^3, 3 shards": ([256] * 3, VOLUME, {"shards": 3}, {}),
    "2,000 frames": ([128, 128], SERIES, {}, {}),
    "2,000 frames, 40 blocks": ([128, 128], SERIES, {"block_images": 50}, {}),
}


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
    for volume in ("2d", "3d", "3d large"):
        yield f"{volume}, 2 sets of maps", {**volumes[volume], "sets": 2}, cg
    explicit = algorithms["explicit"]
    yield "3d, explicit, 2 sets of maps", {**volumes["3d"], "sets": 2}, explicit
    limited = {**cg, "host_mb": 660}
    yield "3d, limit of 660 MB, 2 sets of maps", {**volumes["3d"], "sets": 2}, limited


def on_device() -> Iterator[Case]:
    """Yield the cases that a GPU can compute, under a limit of its memory."""
    for name, acquisition, settings in cases():
        if "deterministic" not in settings and settings.get("backend") != "finufft":
            limit = 500 if "500 MB" in name else DEVICE_MB
            changes = {"device": "cuda", "device_mb": limit, "host_mb": "auto"}
            yield name, acquisition, {**settings, **changes}


def planned(acquisition: dict[str, Any], settings: dict[str, Any]) -> Iterator[Cells]:
    """Run the jobs of a plan."""
    kind = "device" if "device" in settings else "host"
    with tempfile.TemporaryDirectory() as folder:
        for row, receipt in run_plan(Path(folder), acquisition, settings):
            measured, predicted = receipt[f"peak_{kind}_bytes"] / 1e6, getattr(row, f"{kind}_mb")
            job, seen = f"{row.stage} {row.shard}".strip(), {}
            if kind == "device":
                used = receipt["used_device_bytes"] / 1e6
                seen = {"used_mb": used, "limit_mb": row.limit_device_mb}
            yield job, measured, predicted, receipt["seconds"], row.seconds, seen


def write_random(folder: Path, readouts: int, samples: int, coils: int) -> dict[str, Any]:
    """Write random samples of a kooshball; return what a config says of them."""
    draw = np.random.default_rng(0)
    np.save(folder / "trajectory.npy", wrapped(kooshball(readouts, samples)))
    size = (coils, readouts, samples)
    kspace = np.lib.format.open_memmap(folder / "kspace.npy", "w+", np.complex64, size)
    for coil in range(coils):
        parts = draw.standard_normal((readouts, 2 * samples), np.float32)
        kspace[coil] = parts.view(np.complex64)
    del kspace
    return {
        "kspace": {"file": "kspace.npy", "axes": ["coil", "readout", "sample"]},
        "trajectory": {
            "file": "trajectory.npy",
            "axes": ["readout", "sample", "axis"],
            "units": "rad_per_voxel",
        },
    }


def workflow(
    shape: list[int],
    acquisition: dict[str, Any],
    memory: dict[str, Any],
    calibration: dict[str, Any],
) -> Iterator[Cells]:
    """Run a whole workflow under a limit of 8 GB: on simulated data, or on random ones."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulated = "trajectory" in acquisition
        source = ["simulation", "shepp-logan"] if simulated else ["arrays", "."]
        details = (
            {"simulation": acquisition}
            if simulated
            else {"arrays": write_random(folder, **acquisition)}
        )
        write_table(
            folder,
            [
                ["dataset", "kind", "format", "source", "reconstruction"],
                ["scan", "mri", *source, "cg"],
            ],
        )
        write_config(
            folder,
            {
                "datasets": "datasets.tsv",
                "memory": {"host_mb": 8000, **memory},
                "compute": {"device": "cpu", "threads": 2},
                "calibration": calibration,
                "sources": {"scan": {"shape": shape, **details}},
                "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 2}},
            },
        )
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", folder, "--configfile", folder / "config.yaml", "--cores", "2"]
        command += ["--config", f"data_root={folder}"]
        subprocess.run(command, check=True)
        for job in rows_of([read_table(folder / "results/metrics.csv")]):
            if "predicted_host_mb" in job:
                name = f"{job['stage']} {job.get('block', '')}".strip()
                measured, predicted = job["peak_host_mb"], job["predicted_host_mb"]
                yield name, measured, predicted, job["seconds"], None, {}


def main() -> None:
    """Run all cases, or those whose names contain the words on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=Path("results/memory_contract.csv"))
    chosen = parser.parse_args()
    if chosen.large:
        runs = {name: workflow(*sizes) for name, sizes in LARGE.items()}
    else:
        all_cases = on_device() if chosen.device == "cuda" else cases()
        runs = {name: planned(*sizes) for name, *sizes in all_cases}
    chosen.output.parent.mkdir(exist_ok=True)
    with chosen.output.open("w", newline="") as file:
        table = csv.writer(file)
        columns = ["case", "job", "measured_mb", "predicted_mb", "ratio", "seconds", "said"]
        table.writerow([*columns, "used_mb", "limit_mb"])
        _say("| case | job | measured MB | predicted MB | ratio |\n|---|---|---|---|---|")
        for name, run in runs.items():
            if not all(word in name for word in chosen.words):
                continue
            for job, measured, predicted, seconds, said, seen in run:
                ratio = f"{predicted / measured:.2f}"
                _say(f"| {name} | {job} | {measured:.0f} | {predicted:.0f} | {ratio} |")
                cells = [name, job, round(measured), round(predicted), ratio]
                table.writerow([*cells, round(seconds, 2), said, *seen.values()])
                file.flush()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
