"""What a plan goes by: what `kronufft tune` measured where that applies, rules elsewhere."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.config.transforms import TransformChoice
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.tuning_file import Precision, Timings, read_tuning


def tuned(
    machine: Machine, shape: tuple[int, ...], tuning: Path | None, who: str
) -> tuple[Machine, Rates, list[str]]:
    """Return the machine with its transforms chosen by measurement, its rates, and log lines.

    Oversampling or kernel width that the settings insist on stay. Without ``tuning``, what
    `kronufft tune` wrote, it goes by rules and rates that were measured elsewhere. Raises
    `DataError` if that file is missing or damaged.
    """
    default = Rates.device() if machine.on_device else Rates.host(machine.threads)
    if tuning is None:
        return machine, default, []
    precision: Precision = "single" if machine.itemsize == 8 else "double"
    measurement = read_tuning(tuning).nearest(
        on_device=machine.on_device, shape=shape, precision=precision
    )
    if measurement is None:
        device = "a GPU" if machine.on_device else "a CPU"
        note = (
            f"{who}: {tuning} has nothing for {precision} precision and {len(shape)} axes on "
            f"{device}; going by rules"
        )
        return machine, default, [note]
    choice = choose_transforms(
        measurement,
        tolerance=machine.nufft.tolerance,
        precision=precision,
        backend=machine.nufft.backend,
        deterministic=machine.deterministic,
    )
    insisted = machine.choice
    if insisted.oversampling is not None or insisted.kernel_width is not None:
        choice = insisted.model_copy(update={"fft": choice.fft, "piece_bytes": choice.piece_bytes})
    chosen = replace(machine, choice=choice, transforms_at_once=measurement.batch())
    notes = list(_lines(who, measurement, choice))
    return chosen, measurement.rates_on(machine.threads), notes


def choose_transforms(
    measurement: Timings,
    *,
    tolerance: float,
    precision: Precision,
    backend: str,
    deterministic: bool,
) -> TransformChoice:
    """Return the fastest ways whose measured errors are allowed.

    ``backend`` is the library that the settings insist on, or ``auto``.
    """
    # A device's library need not be installed where its plan is made.
    backends = {
        found.backend
        for found in measurement.transforms
        if backend in ("auto", found.backend)
        and (measurement.machine.device == "cuda" or find_spec(found.backend))
        and not (deterministic and found.backend in ("cufinufft", "triton"))
    }
    choice: dict[str, Any] = {}
    if chosen := measurement.fastest(tolerance, precision, backends):
        named = {"backend", "tolerance", "oversampling", "kernel_width"}
        choice |= chosen.model_dump(include=named)
    if product := measurement.product(tolerance):
        choice |= product.model_dump(include={"fft", "piece_bytes"})
    return TransformChoice(**choice)


def _lines(who: str, measurement: Timings, choice: TransformChoice) -> Iterator[str]:
    """Yield what was chosen by which measurement."""
    machine = measurement.machine
    size = " x ".join(map(str, measurement.shape))
    by = f"by {size} on {machine.name}, {machine.threads} threads"
    if choice.tolerance is not None:
        width = f", width {choice.kernel_width}" if choice.kernel_width else ""
        yield (
            f"{who}: tuned {by}: {choice.backend}, oversampling {choice.oversampling:g}{width}, "
            f"asked for {choice.tolerance:.0e}; Toeplitz products with {choice.fft}"
        )
    elif choice.oversampling is None and choice.kernel_width is None:
        yield f"{who}: no transform measured {by} is exact enough; going by rules"
