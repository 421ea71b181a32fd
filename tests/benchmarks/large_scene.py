"""A scene before six pairs at 64 frequencies, solved by ADMM: planned for a GPU, and run here.

``python tests/benchmarks/large_scene.py 256 20`` plans 256^3 voxels for a device of 16 GB and for
this machine, runs 20 iterations here in a process of its own, and prints seconds of an iteration
and memory against the plan. What is measured are forty points by the exact Born sum, so far away
that waves are plane.
"""

import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from acquisitions import config_of, dataset_in
from calibrating import calibrated_in
from planned_jobs import run_jobs
from rf_acquisitions import store

from benchmarks.defaults import say
from pipeline.engine.table import read_plan
from pipeline.in_process import run
from pipeline.rf.formats import simulation
from pipeline.rf.geometry.scene import Scene

DEVICE_MB = 16_000
MANY = 1000  # iterations, as plans round seconds


def write_scene(folder, size):
    """Write what the pairs of `rf6` measure of points in a cube."""
    points = simulation.rf6()
    scene = Scene((size,) * 3, (*points.scene.spacing, 0.15))
    draw = np.random.default_rng(1)
    many = replace(
        points,
        scene=scene,
        frequencies=np.linspace(9.5e9, 10.5e9, 64),
        positions=scene.positions(draw.choice(scene.voxels, len(points.positions), replace=False)),
    )
    store(folder / "raw.json", many.acquisition("scene"))
    calibrated_in(folder)


def planned(folder, settings, **machine):
    """Return the only job of a plan, and how many of its seconds each further iteration takes."""
    rows = []
    for more in (0, MANY):
        config = config_of(**settings | machine | {"iterations": settings["iterations"] + more})
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            files = run(
                config, dataset_in(folder, "rf"), "test", folder.parent, first="plan", until="plan"
            )
        (row,) = read_plan(files.plan).blocks.values()
        rows.append(row)
    return rows[0], (rows[1].seconds - rows[0].seconds) / MANY


def main():
    size, iterations = (int(word) for word in sys.argv[1:3])
    settings = {"algorithm": "admm", "iterations": iterations, "sparsity": 0.1, "penalty": "l1"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scene"
        folder.mkdir()
        write_scene(folder, size)
        row, each = planned(folder, settings, device="cuda", device_mb=DEVICE_MB)
        say(f"GPU, planned: {row.device_mb} of {DEVICE_MB} MB, host {row.host_mb} MB")
        say(f"GPU, planned: {1e3 * each:.3g} ms an iteration, {row.seconds} s in all")
        _, each = planned(folder, settings)
        (job,) = run_jobs(folder, settings, kind="rf")
        receipt = job.receipt
        done, products = receipt["iterations"], receipt["operator_evaluations"]
        took = receipt["phases"]["solve"]["seconds"] / done
        say(f"{size}^3: model {receipt['model']}, {receipt['normal']}")
        say(f"{done} iterations, {products} products")
        say(f"an iteration: {1e3 * took:.3g} ms, planned {1e3 * each:.3g} ms")
        say(f"job: {receipt['seconds']:.1f} s, planned {job.row.seconds} s")
        say(f"memory: {job.measured_mb:.0f} MB, planned {job.row.host_mb} MB")


if __name__ == "__main__":
    main()
