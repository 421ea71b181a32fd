"""A scene before six pairs at 64 frequencies, solved by ADMM: planned for a GPU, and run here.

``python tests/benchmarks/large_scene.py 256 20`` plans 256^3 voxels for a device of 16 GB and for
this machine, runs 20 iterations here in a process of its own, and prints seconds of an iteration
and memory against the plan. What is measured are forty points by the exact Born sum, so far away
that waves are plane.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from acquisitions import config_of, dataset_in
from planned_jobs import run_jobs
from rf_acquisitions import write_pairs

from benchmarks.defaults import say
from pipeline.engine.table import read_plan
from pipeline.rf.formats import simulation
from pipeline.rf.geometry.scene import Scene
from pipeline.run import run

DEVICE_MB = 16_000


def write_scene(folder, size):
    """Write what the pairs of `rf6` measure of points in a cube."""
    points = simulation.rf6()
    scene = Scene((size,) * 3, (*points.scene.spacing, 0.15))
    band = np.linspace(9.5e9, 10.5e9, 64)
    draw = np.random.default_rng(1)
    where = scene.positions(draw.choice(scene.voxels, 40, replace=False))
    amplitudes = np.exp(2j * np.pi * draw.random(40))
    many = simulation.PointScene(scene, points.pairs, band, where, amplitudes, 20.0)
    measured = [many.measurement(pair)[None] for pair in range(len(many.pairs))]
    write_pairs(folder, scene, many.pairs, band, measured=measured)


def main():
    size, iterations = (int(word) for word in sys.argv[1:3])
    settings = {"algorithm": "admm", "iterations": iterations, "sparsity": 0.1, "penalty": "l1"}
    settings |= {"converged": 1e-9}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scene"
        folder.mkdir()
        write_scene(folder, size)
        on_gpu = config_of(**settings, device="cuda", device_mb=DEVICE_MB)
        files = run(
            on_gpu, dataset_in(folder, "rf"), "test", folder.parent, first="plan", until="plan"
        )
        for row in read_plan(files.plan).blocks.values():
            say(f"GPU: {row.device_mb} of {DEVICE_MB} MB, host {row.host_mb} MB, {row.seconds} s")
        (job,) = run_jobs(folder, settings, kind="rf")
        receipt = job.receipt
        solving = receipt["phases"]["solve"]["seconds"]
        products = receipt["operator_evaluations"]
        say(f"{size}^3: {receipt['normal']}; {products} products in {solving:.1f} s of solving,")
        say(f"{solving / iterations:.2f} s an iteration, {solving / products:.2f} s a product")
        say(f"job: {receipt['seconds']:.1f} s, planned {job.row.seconds} s")
        say(f"memory: {job.measured_mb:.0f} MB, planned {job.row.host_mb} MB")


if __name__ == "__main__":
    main()
