"""How the time of the chosen ways depends on batch and threads."""

import math
import time
from dataclasses import replace
from functools import partial

from pipeline.engine.tuning_file import BatchTiming, ThreadTiming
from pipeline.progress import track
from pipeline.tuning.acquisition import Acquisition
from pipeline.tuning.products import Decomposition, Products
from pipeline.tuning.timing import race
from pipeline.tuning.transforms import Batch, Candidate, run_batch

_MOST_BYTES = 2**29
"""Bytes of the images of the largest batch."""


def batch_sizes(acquisition: Acquisition) -> list[int]:
    """Return 1, 2, 4, ... coils, and all coils of 1, 2, 4, ... frames."""
    coils = acquisition.coils
    frames = acquisition.frames if acquisition.shared else len(acquisition.trajectories)
    sizes = {min(coils, 2**power) for power in range(coils.bit_length() + 1)}
    sizes |= {coils * min(frames, 2**power) for power in range(frames.bit_length() + 1)}
    fitting = max(1, _MOST_BYTES // (8 * math.prod(acquisition.shape)))
    return sorted(size for size in sizes if size <= fitting)


def measure_batches(
    acquisition: Acquisition, candidate: Candidate, way: Decomposition, *, seconds: float
) -> list[BatchTiming]:
    """Return what transforms and Toeplitz products cost in batches of different sizes."""
    sizes = batch_sizes(acquisition)

    def run(size: int) -> tuple[float, float]:
        batch = Batch.of(acquisition, size, candidate.precision)
        forward, adjoint, _ = run_batch(candidate, acquisition, batch)
        products = Products(acquisition, size)
        operator = products.operator(way)
        products.seconds(operator)
        product = products.seconds(operator) / products.transforms
        return (forward + adjoint) / batch.transforms, product

    with track("batches", len(sizes)) as advance:
        runs = race(
            {size: partial(run, size) for size in sizes},
            deadline=time.monotonic() + seconds,
            advance=lambda size: advance(note=f"{size} at once"),
        )
    return [
        BatchTiming(
            transforms=size,
            seconds=min(run[0] for run in parts),
            product_seconds=min(run[1] for run in parts),
        )
        for size, parts in sorted(runs.items())
    ]


def measure_threads(
    acquisition: Acquisition, candidate: Candidate, *, transforms: int, seconds: float
) -> list[ThreadTiming]:
    """Return what transforms cost on 1, 2, 4, ... threads of the CPU, up to those of a job."""
    threads = acquisition.threads
    numbers = sorted({min(threads, 2**power) for power in range(threads.bit_length() + 1)})
    batch = Batch.of(acquisition, transforms, candidate.precision)

    def run(number: int) -> tuple[float]:
        forward, adjoint, _ = run_batch(candidate, replace(acquisition, threads=number), batch)
        return ((forward + adjoint) / batch.transforms,)

    deadline = time.monotonic() + seconds
    runs = race({number: partial(run, number) for number in numbers}, deadline=deadline)
    return [
        ThreadTiming(threads=number, seconds=min(run[0] for run in parts))
        for number, parts in sorted(runs.items())
    ]
