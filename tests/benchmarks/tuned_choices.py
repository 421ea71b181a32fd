"""Is what `kronufft tune` chooses the fastest, and are its predictions right?

    python tests/benchmarks/tuned_choices.py --folder FOLDER

For each case of the benchmark: tunes, times all transforms that are exact enough once more, and
plans and runs a CG-SENSE reconstruction of random data with the tuning file.
"""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acquisitions import write_attributes

from benchmarks.cases import CASES, Case, make_problem, quick
from pipeline.config.base import canonical_json
from pipeline.config.planning import MemorySettings, PlanSettings
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.config.transforms import NufftSettings
from pipeline.engine.table import read_plan
from pipeline.engine.tuning_file import read_tuning
from pipeline.geometry.axes import as_volume
from pipeline.mri.arrays import ARRAYS
from pipeline.storage.calibration import create_sensitivities, create_weights
from pipeline.storage.publish import published_store, read_json
from pipeline.tuning.acquisition import stored_acquisition
from pipeline.tuning.timing import race
from pipeline.tuning.transforms import Batch, Candidate, transforms_together
from pipeline.tuning.tune import tune

TOLERANCE = 1e-3


def write_case(case: Case, folder: Path) -> None:
    """Write the random data of a case as raw data and calibration."""
    problem = make_problem(case)
    with published_store(folder / "raw.json") as group:
        voxel = (0.001,) * len(case.shape)
        write_attributes(group, case.shape, voxel)
        sizes = (case.frames, case.coils, case.readouts, case.samples)
        ARRAYS.create(group, "kspace", sizes)[:] = problem.kspace.reshape(sizes)
        readouts = (case.frames, case.readouts, case.samples)
        points = problem.trajectory.reshape(*readouts, len(case.shape))
        ARRAYS.create(group, "trajectory", points.shape)[:] = points
    with published_store(folder / "calibration.json") as group:
        group.attrs.update({"coil_maps": "source", "density": "source"})
        create_weights(group, readouts)[:] = np.float32(1)
        maps = problem.maps.reshape(case.coils, *as_volume(case.shape))
        create_sensitivities(group, maps.shape)[:] = maps


def timed_again(folder: Path, tuning: Path, threads: int, seconds: float) -> None:
    """Time all that kept the tolerance once more, in turns, and say how the choice fares."""
    acquisition = stored_acquisition(folder / "raw.json")
    (measurement,) = [
        found
        for found in read_tuning(tuning).measurements
        if found.shape == acquisition.shape and found.source == acquisition.source
    ]
    chosen = measurement.fastest(TOLERANCE, "single")
    assert chosen is not None
    allowed = [
        found
        for found in measurement.transforms
        if found.precision == "single" and found.seconds and found.error <= TOLERANCE
    ]
    allowed.sort(key=lambda found: found is not chosen)  # it is surely timed if it comes first
    ways = {index: Candidate.of(found) for index, found in enumerate(allowed)}
    batch = Batch.of(acquisition, transforms_together(acquisition), "single")
    torch.set_num_threads(threads)
    processor: dict[int, list[float]] = {index: [] for index in ways}

    def run(index: int) -> tuple[float, ...]:
        transform = ways[index].transform(
            acquisition.shape, batch.trajectory, coils=batch.coils, threads=threads
        )
        transform.adjoint(batch.samples)
        wall, work = time.perf_counter(), time.process_time()
        transform.adjoint(batch.samples)
        transform(batch.images)
        processor[index].append(time.process_time() - work)
        return (time.perf_counter() - wall,)

    runs = race(
        {index: partial(run, index) for index in ways},
        deadline=time.monotonic() + seconds,
        rivals=lambda index: [other for other in ways if other != index],
    )
    best = {index: min(map(sum, parts)) for index, parts in runs.items()}
    fastest = min(best, key=lambda index: best[index])
    mine = allowed.index(chosen)
    ours = best[mine]
    least = min(min(found) for found in processor.values() if found)
    typer.echo(
        f"  choice {ways[mine]}\n"
        f"  timed again {ours / batch.transforms * 1e3:.3g} ms; the fastest of {len(best)}, "
        f"{ways[fastest]}, {best[fastest] / batch.transforms * 1e3:.3g} ms: "
        f"ratio {ours / best[fastest]:.2f}, "
        f"by processor time {min(processor[mine]) / least:.2f}"
    )


def predicted(folder: Path, tuning: Path | None, threads: int, runs: int) -> None:
    """Plan and reconstruct; print predicted and measured seconds."""
    common = {
        "reconstruction": {"algorithm": "cg-sense", "iterations": 10, "weights": "none"},
        "precision": "single",
        "deterministic": False,
    }
    plans = PlanSettings(
        **common,
        nufft=NufftSettings(tolerance=TOLERANCE, tuning=None if tuning is None else str(tuning)),
        memory=MemorySettings(),
    )
    jobs = ReconstructSettings(**common, nufft=NufftSettings(tolerance=TOLERANCE))
    arguments = [
        *("--dataset", "case", "--reconstruction", "cg", "--device", "cpu"),
        *("--threads", str(threads), "--raw", str(folder / "raw.json")),
        *("--calibration", str(folder / "calibration.json"), "--plan", str(folder / "plan.tsv")),
    ]
    receipt = folder / "receipt.json"
    _run("plan", *arguments, "--settings", canonical_json(plans), "--receipt", str(receipt))
    (row,) = read_plan(folder / "plan.tsv").blocks.values()
    found = []
    for _ in range(runs):
        _run(
            *("reconstruct", *arguments, "--settings", canonical_json(jobs), "--block", row.block),
            *("--shares", str(folder), "--image", str(folder / "block.zarr.zip")),
            *("--receipt", str(receipt)),
        )
        found.append(read_json(receipt))
    best = min(found, key=lambda content: content["seconds"])
    phases = {name: round(part["seconds"], 2) for name, part in best["phases"].items()}
    what = "by rules" if tuning is None else "tuned"
    typer.echo(
        f"  {what}: predicted {row.seconds:.2f} s, took {best['seconds']:.2f} s, "
        f"ratio {row.seconds / best['seconds']:.2f}; {phases}; {best.get('transforms')}"
    )


def _run(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], check=True, stdout=subprocess.DEVNULL
    )


def main(
    folder: Annotated[Path, typer.Option(help="For data and results; several 100 MB.")],
    cases: Annotated[str, typer.Option(help="Cases, separated by commas.")] = ",".join(
        case.name for case in CASES
    ),
    threads: Annotated[int, typer.Option(min=1)] = 2,
    seconds: Annotated[float, typer.Option(help="For tuning, and for timing again.")] = 60,
    runs: Annotated[int, typer.Option(help="Of each job; the shortest counts.")] = 3,
    miniature: Annotated[bool, typer.Option("--quick", help="Tiny sizes: does it run?")] = False,
) -> None:
    """Tune for each case of the benchmark, and check choice and prediction."""
    for case in (each for each in CASES if each.name in cases.split(",")):
        chosen = quick(case) if miniature else case
        here = folder / case.name
        here.mkdir(parents=True, exist_ok=True)
        if not (here / "raw.json").exists():
            write_case(chosen, here)
        tuning = here / "tuning.json"
        tune(
            stored_acquisition(here / "raw.json"),
            tolerance=TOLERANCE,
            precisions=("single",),
            device="cpu",
            threads=threads,
            seconds=seconds,
            output=tuning,
        )
        typer.echo(chosen)
        timed_again(here, tuning, threads, seconds / 2)
        predicted(here, None, threads, runs)
        predicted(here, tuning, threads, runs)


if __name__ == "__main__":
    typer.run(main)
