"""Measure the ways to compute transforms on this machine, choose, and write down both."""

import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console

from pipeline.engine.limits import torch_device
from pipeline.engine.tuned_choice import choose_transforms
from pipeline.engine.tuning_file import (
    BatchTiming,
    Identity,
    Precision,
    ThreadTiming,
    Timings,
    TransformTiming,
    Tuning,
    read_tuning,
    write_tuning,
)
from pipeline.errors import DeviceError
from pipeline.host_memory import return_freed_memory
from pipeline.operators.nufft_accuracy import Backend
from pipeline.progress import track
from pipeline.storage.circumstances import installed_versions
from pipeline.tuning.acquisition import TunedAcquisition
from pipeline.tuning.presentation import draw, print_tables
from pipeline.tuning.products import Decomposition, Products, measure_products
from pipeline.tuning.rates import measure_rates
from pipeline.tuning.timing import race
from pipeline.tuning.transforms import (
    Batch,
    Candidate,
    measure_transforms,
    run_batch,
    transforms_together,
)

_COMPUTING = ("kronufft", "torch", "numpy", "scipy", *get_args(Backend))
_BUSY = 0.5
_MOST_BYTES = 2**29
"""Bytes of the images of the largest batch."""
# Shares of the time; the rest goes to rates and to the start of a job.
_TRANSFORMS, _PRODUCTS, _BATCHES, _THREADS = 0.6, 0.1, 0.1, 0.05


def tune(
    acquisition: TunedAcquisition,
    *,
    tolerance: float,
    precisions: Sequence[Precision],
    device: str,
    threads: int,
    seconds: float,
    output: Path,
) -> Timings:
    """Measure for one acquisition, add it to a file, print tables and draw a picture.

    Parameters are those of the command `kronufft tune`. What the file holds of other acquisitions
    stays.

    Raises
    ------
    DataError
        If the file is there but holds something else.
    DeviceError
        If the device is absent, or nothing could be timed on it.
    """
    known = read_tuning(output) if output.exists() else Tuning(measurements=())
    where = torch.device(torch_device(device))
    torch.set_num_threads(threads)
    return_freed_memory()  # as jobs do, and it has its price
    if where.type == "cpu" and os.getloadavg()[0] > _BUSY:
        print(  # noqa: T201
            f"the machine is busy (load {os.getloadavg()[0]:.1f}): times will be long, and chance "
            "chooses between ways that are nearly as fast",
            file=sys.stderr,
            flush=True,
        )
    acquisition = replace(acquisition, device=where, threads=threads)
    transforms = measure_transforms(
        acquisition, tolerance=tolerance, precisions=precisions, seconds=_TRANSFORMS * seconds
    )
    chosen = _reference(transforms, tolerance)
    candidate = Candidate.of(chosen)
    together = transforms_together(acquisition)
    products = measure_products(acquisition, transforms=together, seconds=_PRODUCTS * seconds)
    product = min(products, key=lambda found: found.seconds)
    way = Decomposition(product.fft, product.piece_bytes)
    batches = _measure_batches(acquisition, candidate, way, seconds=_BATCHES * seconds)
    numbers: list[ThreadTiming] = []
    if where.type == "cpu":
        numbers = _measure_threads(
            acquisition, candidate, transforms=together, seconds=_THREADS * seconds
        )
    measurement = Timings(
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=identity(where, threads),
        shape=acquisition.shape,
        coils=acquisition.coils,
        frames=acquisition.frames,
        samples=acquisition.samples,
        source=acquisition.source,
        tolerance=tolerance,
        transforms=tuple(transforms),
        products=tuple(products),
        batches=tuple(batches),
        threads=tuple(numbers),
        rates=measure_rates(acquisition, chosen, product, transforms=together),
    )
    write_tuning(output, known.with_measurement(measurement))
    picture = output.with_suffix(".svg")
    draw(measurement, picture)
    print_tables(measurement, Console(width=None if sys.stdout.isatty() else 140))
    _say(measurement, output, picture)
    return measurement


def _batch_sizes(acquisition: TunedAcquisition) -> list[int]:
    """Return 1, 2, 4, ... coils, and all coils of 1, 2, 4, ... frames."""
    coils = acquisition.coils
    frames = acquisition.frames if acquisition.shared else len(acquisition.trajectories)
    sizes = {min(coils, 2**power) for power in range(coils.bit_length() + 1)}
    sizes |= {coils * min(frames, 2**power) for power in range(frames.bit_length() + 1)}
    fitting = max(1, _MOST_BYTES // (8 * math.prod(acquisition.shape)))
    return sorted(size for size in sizes if size <= fitting)


def _measure_batches(
    acquisition: TunedAcquisition, candidate: Candidate, way: Decomposition, *, seconds: float
) -> list[BatchTiming]:
    """Return what transforms and Toeplitz products cost in batches of different sizes."""
    sizes = _batch_sizes(acquisition)

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


def _measure_threads(
    acquisition: TunedAcquisition, candidate: Candidate, *, transforms: int, seconds: float
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


def identity(device: torch.device, threads: int) -> Identity:
    """Return which machine this is, and what computes on it."""
    versions = installed_versions()
    on_device = device.type == "cuda"
    return Identity(
        device="cuda" if on_device else "cpu",
        name=torch.cuda.get_device_name(device) if on_device else processor_name(),
        threads=threads,
        versions={name: versions[name] for name in _COMPUTING if name in versions},
    )


def processor_name() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _reference(transforms: Sequence[TransformTiming], tolerance: float) -> TransformTiming:
    """Return the transform by which batches, threads and rates are measured.

    The fastest that is exact enough; where none is, the most exact one.
    """
    timed = [found for found in transforms if found.seconds is not None]
    if not timed:
        raise DeviceError("tune: nothing could be timed; give it more --seconds")
    allowed = [found for found in timed if found.error <= tolerance]
    if not allowed:
        return min(timed, key=lambda found: found.error)
    return min(allowed, key=lambda found: found.seconds or 0.0)


def _say(measurement: Timings, output: Path, picture: Path) -> None:
    precisions = {found.precision for found in measurement.transforms}
    lines = []
    for precision in sorted(precisions, reverse=True):
        choice = choose_transforms(
            measurement,
            tolerance=measurement.tolerance,
            precision=precision,
            backend="auto",
            deterministic=False,
        )
        found = measurement.fastest(measurement.tolerance, precision)
        if found is None:
            lines.append(f"{precision}: nothing timed keeps {measurement.tolerance:g}")
            continue
        width = f", width {found.kernel_width}" if found.kernel_width else ""
        lines.append(
            f"{precision}: {found.backend} asked for {found.tolerance:.1e}, oversampling "
            f"{found.oversampling:g}{width}: error {found.error:.1e}; products with {choice.fft}"
        )
    lines.append(f"{measurement.batch()} transforms at once")
    lines.append(f"Written to {output} and {picture}. To use it, set in the config file:")
    lines.append(f"nufft:\n  tuning: {output}")
    sys.stdout.write("\n".join(lines) + "\n")
