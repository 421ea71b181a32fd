"""What `kronufft tune` measured, on disk.

One file holds several measurements: one for each device, precision and number of image axes, say.
A plan takes the one that is most like its own work (`pipeline.engine.tuned_choice`).
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from pipeline.config.transforms import KernelWidth, Oversampling, PieceBytes, Tolerance
from pipeline.engine.rates import Rates
from pipeline.errors import DataError
from pipeline.files import why_unreadable
from pipeline.operators.nufft_accuracy import Backend
from pipeline.storage.publish import read_json, write_json

Precision = Literal["single", "double"]

_WORTH_A_LARGER_BATCH = 1.03
"""A larger batch needs more memory: it has to be faster by more than the noise of timing."""

_PRODUCTS = 10
"""Toeplitz products to a pair of transforms: the iterations of a usual reconstruction."""


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformTiming(_Measured):
    """One way to compute a non-uniform transform: how exact it was, and how long it took."""

    backend: Backend
    precision: Precision
    tolerance: Tolerance
    """What the library was asked for."""
    oversampling: Oversampling
    kernel_width: KernelWidth | None = None
    """Where it was asked for (torchkbnufft)."""
    forward_error: float
    """Largest relative l2 distance from the exact sum, of several images."""
    adjoint_error: float
    forward_seconds: PositiveFloat | None = None
    """Best time of one transform, of a batch; none where it was given up."""
    adjoint_seconds: PositiveFloat | None = None
    setup_seconds: PositiveFloat | None = None
    """Of one trajectory: sorting its samples."""
    spread: float = 0.0
    """Median over best time, less one: how noisy the machine was."""
    repeats: int = 0
    workspace_bytes: int = 0
    """Predicted, of the batch."""
    note: str = ""
    """Why there is no time."""

    @property
    def error(self) -> float:
        """The larger one of both directions."""
        return max(self.forward_error, self.adjoint_error)

    @property
    def seconds(self) -> float | None:
        """Forward and adjoint."""
        if self.forward_seconds is None or self.adjoint_seconds is None:
            return None
        return self.forward_seconds + self.adjoint_seconds


class ProductTiming(_Measured):
    """One way to compute a Toeplitz product."""

    fft: Literal["ducc0", "mkl", "scipy", "torch"]
    piece_bytes: PieceBytes
    error: float
    """Relative l2 distance from the exact sum."""
    seconds: PositiveFloat
    """Of one coil of one image."""
    spread: float = 0.0


class BatchTiming(_Measured):
    """The chosen transform and Toeplitz product, so many at once."""

    transforms: PositiveInt
    seconds: PositiveFloat
    """Forward and adjoint of one of them."""
    product_seconds: PositiveFloat
    """Toeplitz product of one of them."""


class ThreadTiming(_Measured):
    """The chosen transform on so many threads."""

    threads: PositiveInt
    seconds: PositiveFloat


class Identity(_Measured):
    """The machine."""

    device: Literal["cpu", "cuda"]
    name: str
    """Of the processor or the device."""
    threads: PositiveInt
    versions: dict[str, str]
    """Of the packages that compute."""


class Timings(_Measured):
    """What was found for one acquisition on one machine."""

    measured: str
    """When."""
    machine: Identity
    shape: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
    coils: PositiveInt
    frames: PositiveInt
    samples: PositiveInt
    """Of one frame."""
    source: str
    """Where the samples lie: a file, or the kind of trajectory."""
    tolerance: PositiveFloat
    """The wanted one, at which batches, threads and rates were measured."""
    transforms: tuple[TransformTiming, ...]
    products: tuple[ProductTiming, ...]
    batches: tuple[BatchTiming, ...]
    threads: tuple[ThreadTiming, ...]
    rates: Rates

    def fastest(
        self, tolerance: float, precision: Precision, backends: Collection[str] | None = None
    ) -> TransformTiming | None:
        """Return the fastest transform whose measured error is within `tolerance`.

        Of all libraries if no `backends` are given.
        """
        allowed = (
            found
            for found in self._timed(precision)
            if found.error <= tolerance and (backends is None or found.backend in backends)
        )
        return next(allowed, None)

    def front(self, precision: Precision) -> list[TransformTiming]:
        """Return the transforms than which none is both faster and as exact; the fastest first."""
        front: list[TransformTiming] = []
        for found in self._timed(precision):
            if not front or found.error < front[-1].error:
                front.append(found)
        return front

    def _timed(self, precision: Precision) -> list[TransformTiming]:
        """Return the transforms of which there is a time, the fastest first."""
        timed = (found for found in self.transforms if found.precision == precision)
        timed = (found for found in timed if found.seconds is not None)
        return sorted(timed, key=lambda found: (found.seconds or math.inf, found.error))

    def product(self, tolerance: float) -> ProductTiming | None:
        """Return the fastest Toeplitz product within `tolerance`."""
        allowed = [found for found in self.products if found.error <= tolerance]
        return min(allowed, key=lambda found: found.seconds, default=None)

    def batch(self) -> int | None:
        """Return how many transforms are best done at once: no more than is worth its memory."""
        if not self.batches:
            return None
        seconds = {
            found.transforms: found.seconds + _PRODUCTS * found.product_seconds
            for found in self.batches
        }
        enough = _WORTH_A_LARGER_BATCH * min(seconds.values())
        return min(size for size, found in seconds.items() if found <= enough)

    def rates_on(self, threads: int) -> Rates:
        """Return the rates on another number of threads, by the times that were measured.

        Between two measured numbers in proportion, beyond them as the nearest one.
        """
        if not self.threads or threads == self.machine.threads:
            return self.rates
        measured = sorted(self.threads, key=lambda found: found.threads)
        here, there = np.interp(
            (self.machine.threads, threads),
            [found.threads for found in measured],
            [1 / found.seconds for found in measured],
        )
        factor = float(there / here)
        scaled = ("spread", "sort", "fft", "toeplitz", "gemm", "memory")
        return self.rates.model_copy(
            update={name: getattr(self.rates, name) * factor for name in scaled}
        )


class Tuning(_Measured):
    """All measurements of a file."""

    measurements: tuple[Timings, ...]

    def nearest(
        self, *, on_device: bool, shape: Sequence[int], precision: Precision
    ) -> Timings | None:
        """Return the measurement on such a device that is most like an image of `shape`."""
        device = "cuda" if on_device else "cpu"
        alike = [
            found
            for found in self.measurements
            if found.machine.device == device
            and len(found.shape) == len(shape)
            and any(timing.precision == precision for timing in found.transforms)
        ]
        voxels = math.prod(shape)
        return min(
            alike, key=lambda found: abs(math.log(math.prod(found.shape) / voxels)), default=None
        )

    def with_measurement(self, new: Timings) -> Self:
        """Return these measurements with a new one, in place of one of the same sizes if any."""

        def key(found: Timings) -> tuple[object, ...]:
            machine = found.machine
            return (machine.device, machine.name, machine.threads, found.shape, found.frames > 1)

        kept = tuple(found for found in self.measurements if key(found) != key(new))
        return self.model_copy(update={"measurements": (*kept, new)})


def read_tuning(path: Path) -> Tuning:
    """Read what `kronufft tune` wrote.

    Raises
    ------
    DataError
        If the file is missing, was changed, or holds something else.
    """
    if reason := why_unreadable(path):
        raise DataError(f"{path}: {reason}; `kronufft tune --output {path}` makes it")
    try:
        return Tuning.model_validate(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise DataError(
            f"{path}: not what `kronufft tune` writes (`{where}`: {fault['msg']}); run it again"
        ) from None


def write_tuning(path: Path, tuning: Tuning) -> None:
    """Write measurements, whole or not at all."""
    write_json(path, tuning.model_dump(mode="json"))
