"""Measure the ways to compute transforms on this machine, choose, and write down both."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console

from pipeline.engine.limits import torch_device
from pipeline.engine.tuned_choice import choose_transforms
from pipeline.engine.tuning_file import (
    Identity,
    Measurement,
    Precision,
    ThreadTiming,
    TransformTiming,
    Tuning,
    read_tuning,
    write_tuning,
)
from pipeline.errors import DeviceError
from pipeline.host_memory import return_freed_memory
from pipeline.operators.nufft_accuracy import Backend
from pipeline.storage.circumstances import installed_versions
from pipeline.tuning.acquisition import Acquisition
from pipeline.tuning.presentation import draw, print_tables
from pipeline.tuning.products import Decomposition, measure_products
from pipeline.tuning.rates import measure_rates
from pipeline.tuning.scaling import measure_batches, measure_threads
from pipeline.tuning.start import start_seconds
from pipeline.tuning.transforms import Candidate, measure_transforms, transforms_together

_COMPUTING = ("kronufft", "torch", "numpy", "scipy", *get_args(Backend))
_BUSY = 0.5
# Shares of the time; the rest goes to rates and to the start of a job.
_TRANSFORMS, _PRODUCTS, _BATCHES, _THREADS = 0.6, 0.1, 0.1, 0.05


def tune(
    acquisition: Acquisition,
    *,
    tolerance: float,
    precisions: Sequence[Precision],
    device: str,
    threads: int,
    seconds: float,
    output: Path,
) -> Measurement:
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
    batches = measure_batches(acquisition, candidate, way, seconds=_BATCHES * seconds)
    numbers: list[ThreadTiming] = []
    if where.type == "cpu":
        numbers = measure_threads(
            acquisition, candidate, transforms=together, seconds=_THREADS * seconds
        )
    start = start_seconds(str(where), threads)
    measurement = Measurement(
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
        rates=measure_rates(acquisition, chosen, product, transforms=together, start=start),
    )
    write_tuning(output, known.with_measurement(measurement))
    picture = output.with_suffix(".svg")
    draw(measurement, picture)
    print_tables(measurement, Console(width=None if sys.stdout.isatty() else 140))
    _say(measurement, output, picture)
    return measurement


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


def _say(measurement: Measurement, output: Path, picture: Path) -> None:
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
