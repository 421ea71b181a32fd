"""Normal operators of pairs, in processor seconds against what a plan predicts of them.

``python tests/benchmarks/pair_seconds.py`` times the models of the wavefronts at twenty shapes on
one thread, each without and with what has to be made anew for each product. What is measured is one
pair of each; the others take as long.
"""

import statistics
import sys
import time

import numpy as np
import torch

from pipeline.engine.rates import Rates
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.pair_blocks import pair_blocks
from pipeline.rf.model.pair_costs import PairCosts

CASES = [  # shape, elements of both arrays, frequencies
    ((64, 64, 64), (8, 8), 64),
    ((48, 40, 32), (16, 24), 32),
    ((32, 32, 32), (8, 8), 16),
    ((128, 128, 96), (8, 8), 64),
    ((96, 64, 24), (12, 10), 24),
    ((128, 128), (32, 64), 64),
    ((128, 128), (8, 8), 64),
    ((96, 72), (16, 32), 48),
    ((256, 200), (16, 16), 32),
    ((40, 300), (24, 6), 100),
]
ROUNDS = 5


def cpu_seconds(work):
    """Return the least processor time of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def write(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    torch.set_num_threads(1)
    rates, ratios = Rates.host(1), []
    write("| model | scene | elements | frequencies | product | ratio | making | ratio |")
    write("|---|---|---|---|---|---|---|---|")
    for level in ("W+D", "F"):
        for shape, elements, count in CASES:
            scene = Scene(shape, (0.02,) * len(shape), (0.0, 0.0, 3.0))
            places = [np.zeros((size, 3)) for size in elements]
            for axis, place in enumerate(places):
                place[:, axis] = np.linspace(-0.2, 0.2, len(place))
            frequencies = np.linspace(9e9, 10e9, count)
            model = pair_model(scene, Pair(*places), frequencies, level)
            rows = (*elements, 1)[: len(shape)]
            costs = PairCosts(channels=1, readouts=count, rows=rows, level=level, form="factors")
            blocks = pair_blocks(model, dtype=torch.complex64)
            image = torch.randn(shape, dtype=torch.complex64)
            product = cpu_seconds(lambda: blocks.adjoint(blocks(image)))  # noqa: B023
            making = cpu_seconds(lambda: pair_blocks(model, dtype=torch.complex64))  # noqa: B023
            predicted = costs.product_seconds(shape, rates)
            made = costs._streaming_seconds(shape, rates)
            ratios += [product / predicted]
            write(
                f"| {level} | {' x '.join(map(str, shape))} | {' x '.join(map(str, elements))} | "
                f"{count} | {1e3 * product:.2f} ms | {product / predicted:.2f} | "
                f"{1e3 * making:.2f} ms | {making / made:.2f} |"
            )
    write(f"\nmedian {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
