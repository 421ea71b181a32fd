"""Reconstructions from pairs, in processor seconds against what their plans predict.

``python tests/benchmarks/pair_seconds.py`` draws twenty acquisitions of pairs, none of which the
constants of the prediction were fitted to: two and three axes, few and many voxels, frequencies and
elements, frequencies that are evenly spaced and not. Each is planned and reconstructed on one
thread of this process. Compared is a product of the normal operator, with its share of the
solver, or the right-hand side of a matched filter. How fast the machine is at the moment is told by
its matrix products, against the rate that plans assume.
"""

import math
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from rf_acquisitions import write_pairs
from stage_runs import reconstructed

from benchmarks.defaults import say
from pipeline.engine import plan
from pipeline.engine.rates import Rates
from pipeline.engine.seconds import predicted_phases
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.storage import receipts

SEED, CASES = 7, 20
MOST = 2**22  # voxels times frequencies of a pair
MODELS = ("W+D", "W+D(fc)", "W+D", "F", "W")
ALGORITHMS = (
    {"algorithm": "tikhonov", "iterations": 8, "converged": 1e-9},
    {"algorithm": "fista", "iterations": 12, "sparsity": 0.1, "converged": 1e-9},
    {"algorithm": "admm", "iterations": 2, "sparsity": 0.1, "converged": 1e-9},
    {"algorithm": "matched-filter"},
)


def drawn(random, number):
    """Return scene, pairs and frequencies of an acquisition."""

    def between(least, most):
        return round(math.exp(random.uniform(math.log(least), math.log(most))))

    axes = 2 + number % 2
    shape = tuple(between(24, 300) if axes == 2 else between(10, 64) for _ in range(axes))
    count = min(between(2, 200), max(2, MOST // math.prod(shape)))
    frequencies = np.linspace(9e9, 10e9, count)
    if number % 3 == 2 and count > 2:
        frequencies[1:-1] += random.uniform(-1e6, 1e6, count - 2)
    scene = Scene(shape, (0.02,) * axes, (0.0, 0.0, 3.0))
    elements, pairs = (between(2, 64), between(2, 64)), between(1, 6)
    places = [np.zeros((size, 3)) for size in elements]
    for axis, place in enumerate(places):
        place[:, axis] = np.linspace(-0.2, 0.2, len(place))
    return scene, [Pair(*places)] * pairs, frequencies


def compared(folder, settings):
    """Reconstruct; return predicted and measured seconds of a product, or of a right-hand side."""
    phases = []

    def predicted(work, rates):
        phases.append((predicted_phases(work, rates), work.settings.applications))
        return sum(phases[-1][0].values())

    clock = SimpleNamespace(**vars(time) | {"perf_counter": time.process_time})
    with (
        patch.object(plan, "predicted_seconds", predicted),
        patch.object(receipts, "time", clock),
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
    ):
        _, receipt = reconstructed(folder, kind="rf", threads=1, force_model=True, **settings)
    planned, applications = phases[-1]
    took = receipt["phases"]
    if not applications:
        return receipt, planned["right_hand_side"], took["right_hand_side"]["seconds"]
    solving = took["solve"]["seconds"] / receipt["operator_evaluations"]
    return receipt, planned["solve"] / applications, solving


def speed():
    """Return how fast matrix products are, relative to what plans assume."""
    square, times = torch.randn(1024, 1024, dtype=torch.complex64), []
    for _ in range(5):
        start = time.process_time()
        square @ square
        times.append(time.process_time() - start)
    return 8 * 1024**3 / min(times) / Rates.host(1).gemm


def main():
    torch.set_num_threads(1)
    random, ratios = np.random.default_rng(SEED), []
    say(f"matrix products at {speed():.2f} of the rate that plans assume")
    say("| voxels | frequencies | elements | pairs | model | normal | algorithm | took | ratio |")
    say("|---|---|---|---|---|---|---|---|---|")
    for number in range(CASES):
        scene, pairs, frequencies = drawn(random, number)
        settings = {"model": MODELS[number % 5], **ALGORITHMS[number // 2 % 4]}
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "scene"
            folder.mkdir()
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                write_pairs(folder, scene, pairs, frequencies)
            receipt, planned, took = compared(folder, settings)
        ratios.append(took / planned)
        say(
            f"| {' x '.join(map(str, scene.shape))} | {len(frequencies)}"
            f"{' uneven' if number % 3 == 2 else ''} | "
            f"{' x '.join(map(str, pairs[0].measurement_shape))} | {len(pairs)} | "
            f"{receipt['model']} | {receipt.get('normal', '')} | {settings['algorithm']} | "
            f"{1e3 * took:.3g} ms | {ratios[-1]:.2f} |"
        )
    say(f"\nmedian {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    say(f"matrix products at {speed():.2f} of the rate that plans assume")


if __name__ == "__main__":
    main()
