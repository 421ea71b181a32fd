"""Time and error of the ways to compute a non-uniform transform."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from typing import Self

import torch

from pipeline.engine.tuning_file import Precision, TransformTiming
from pipeline.errors import KronufftError
from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_accuracy import Backend, choose_oversampling, smallest_tolerance
from pipeline.operators.nufft_memory import nufft_workspace_bytes, parallel_transforms
from pipeline.progress import track
from pipeline.tuning.acquisition import TunedAcquisition
from pipeline.tuning.exact_sums import ErrorProbe
from pipeline.tuning.timing import race, shortest, spread, timed

DTYPES = {"single": torch.complex64, "double": torch.complex128}

_BATCH_BYTES = 2**25
"""Bytes of the images that are transformed together while candidates are compared."""
_PART = 2**18
"""Samples by which the time of all is foretold, where there are many more."""
_ERRORS_SHARE = 0.35
"""Share of the time that measuring errors may take."""
_RUN = 0.02
"""Share of the time left that the fastest may take for a run."""
_FAR_TOO_SLOW = 4
"""Times the foretold time of something as exact at which timing is a waste."""

_ASKED = (1.0, 10**0.5, 10**-0.5, 10.0, 0.1, 0.01)
"""What libraries are asked for, relative to the wanted tolerance: what they promise and what they
keep are not the same."""
_OVERSAMPLING: dict[Backend, tuple[float, ...]] = {
    "ducc0": (1.25, 1.5, 1.75, 2.0),
    "finufft": (1.25, 2.0),
    "cufinufft": (1.25, 2.0),
    "triton": (1.25, 1.5, 2.0),
}
_KAISER_BESSEL = ((2.0, 3), (2.0, 4), (2.0, 6), (1.5, 4), (1.5, 6), (1.25, 5), (1.25, 7))
"""Oversampling and width for torchkbnufft."""


@dataclass(frozen=True)
class Candidate:
    """One way to compute a transform."""

    backend: Backend
    precision: Precision
    tolerance: float
    oversampling: float
    kernel_width: int | None = None

    @classmethod
    def of(cls, timing: TransformTiming) -> Self:
        """Return the way that was timed."""
        return cls(**{field.name: getattr(timing, field.name) for field in fields(cls)})

    def transform(
        self,
        shape: tuple[int, ...],
        trajectory: torch.Tensor,
        *,
        coils: int | None,
        threads: int,
    ) -> NUFFT:
        """Return the transform that a job would use."""
        dtype = DTYPES[self.precision]
        return NUFFT(
            shape,
            trajectory.to(dtype.to_real()),
            coils=coils,
            tolerance=self.tolerance,
            backend=self.backend,
            oversampling=self.oversampling,
            kernel_width=self.kernel_width,
            dtype=dtype,
            threads=threads,
        )

    def of_one_coil(self, acquisition: TunedAcquisition, trajectory: torch.Tensor) -> NUFFT:
        """Return the transform of one image and other samples than the acquisition's."""
        where = trajectory.to(acquisition.device)
        return self.transform(acquisition.shape, where, coils=None, threads=acquisition.threads)


@dataclass(frozen=True)
class Batch:
    """Random images and samples that are transformed together."""

    trajectory: torch.Tensor
    images: torch.Tensor
    samples: torch.Tensor
    coils: int
    frames: int

    @classmethod
    def of(cls, acquisition: TunedAcquisition, transforms: int, precision: Precision) -> "Batch":
        """Return at least so many transforms, coil after coil and then frame after frame."""
        coils = min(acquisition.coils, transforms)
        frames = min(math.ceil(transforms / coils), acquisition.frames)
        if acquisition.shared:  # a batch of one trajectory
            coils, frames = coils * frames, 1
        frames = min(frames, len(acquisition.trajectories))
        device = acquisition.device
        trajectory = acquisition.trajectory(frames).to(device)
        lead = (*((frames,) if trajectory.ndim == 3 else ()), coils)
        dtype = DTYPES[precision]
        return cls(
            trajectory,
            torch.randn(*lead, *acquisition.shape, dtype=dtype, device=device),
            torch.randn(*lead, acquisition.samples, dtype=dtype, device=device),
            coils,
            frames,
        )

    @property
    def transforms(self) -> int:
        """Transforms of the batch."""
        return self.coils * self.frames


def transforms_together(acquisition: TunedAcquisition) -> int:
    """Return how many transforms are done together while candidates are compared."""
    fitting = _BATCH_BYTES // (8 * math.prod(acquisition.shape))
    return max(1, min(fitting, acquisition.coils * acquisition.frames))


def candidates(
    acquisition: TunedAcquisition, tolerance: float, precisions: Sequence[Precision]
) -> list[Candidate]:
    """Return what is installed and works on the device, the most likely first."""
    backends: tuple[Backend, ...] = (
        ("ducc0", "finufft", "torchkbnufft")
        if acquisition.device.type == "cpu"
        else ("cufinufft", "triton", "torchkbnufft")
    )
    axes = len(acquisition.shape)
    found: dict[Candidate, None] = {}  # in order, each once
    for factor in _ASKED:
        for precision in precisions:
            dtype = DTYPES[precision]
            for backend in filter(find_spec, backends):
                asked = min(0.1, factor * tolerance)
                if asked < smallest_tolerance(backend, acquisition.shape, dtype):
                    continue
                if backend == "torchkbnufft":
                    if factor == 1.0:
                        found |= dict.fromkeys(
                            Candidate(backend, precision, tolerance, *each)
                            for each in _KAISER_BESSEL
                        )
                    continue
                default = choose_oversampling(backend, asked, dtype, axes)
                others = _OVERSAMPLING[backend] if precision == "single" else ()
                found |= dict.fromkeys(
                    Candidate(backend, precision, asked, each)
                    for each in (default, *others)
                    if each >= default
                    or backend in ("ducc0", "triton")  # FINUFFT would warn and do less
                )
    # The usual precision first, and last what is by far the slowest.
    return sorted(
        found, key=lambda each: (each.backend == "torchkbnufft", each.precision == "double")
    )


def measure_transforms(
    acquisition: TunedAcquisition,
    *,
    tolerance: float,
    precisions: Sequence[Precision],
    seconds: float,
) -> list[TransformTiming]:
    """Return error and time of each candidate around a wanted tolerance.

    What is not reached in so many seconds is left out, the least likely first.
    """
    start = time.monotonic()
    waiting = candidates(acquisition, tolerance, precisions)
    probe = ErrorProbe(acquisition.shape, acquisition.trajectories[0])
    errors: dict[Candidate, tuple[float, float]] = {}
    foretold: dict[Candidate, float] = {}
    with track("errors against exact sums", len(waiting)) as advance:
        for candidate in waiting:
            if errors and time.monotonic() - start > _ERRORS_SHARE * seconds:
                break
            try:
                transform = candidate.of_one_coil(acquisition, probe.trajectory)
                errors[candidate] = probe.errors(transform)
            except KronufftError:  # no kernel for this tolerance at this oversampling
                advance()
                continue
            foretold[candidate] = _foretold(
                candidate, acquisition, _both_ways(transform, acquisition)
            )
            advance(note=f"{candidate.backend} {max(errors[candidate]):.1e}")
    return _timed_transforms(acquisition, errors, foretold, deadline=start + seconds)


def _timed_transforms(
    acquisition: TunedAcquisition,
    errors: dict[Candidate, tuple[float, float]],
    foretold: dict[Candidate, float],
    *,
    deadline: float,
) -> list[TransformTiming]:
    left = max(0.0, deadline - time.monotonic())
    # As many at once as leave time to repeat, but enough for all threads.
    affordable = int(_RUN * left / min(foretold.values(), default=1.0))
    most = transforms_together(acquisition)
    together = min(most, max(acquisition.threads, affordable))
    batches: dict[Precision, Batch] = {
        each.precision: Batch.of(acquisition, together, each.precision) for each in errors
    }

    def rivals(candidate: Candidate) -> Iterator[Candidate]:
        allowed = max(errors[candidate])
        for other, found in errors.items():
            if other.precision == candidate.precision and max(found) <= allowed:
                yield other

    bearable = [
        candidate
        for candidate, seconds in foretold.items()
        if seconds < _FAR_TOO_SLOW * min(foretold[other] for other in rivals(candidate))
    ]
    with track("times", len(bearable)) as advance:
        runs = race(
            {
                each: partial(run_batch, each, acquisition, batches[each.precision])
                for each in bearable
            },
            deadline=deadline,
            rivals=lambda each: list(rivals(each)),
            advance=lambda each: advance(note=each.backend),
        )
    return [
        _timing(candidate, errors[candidate], runs.get(candidate), batches[candidate.precision],
                acquisition, foretold[candidate])
        for candidate in errors
    ]  # fmt: skip


def run_batch(
    candidate: Candidate, acquisition: TunedAcquisition, batch: Batch
) -> tuple[float, float, float]:
    """Return the seconds of forward and adjoint of a batch, and of what comes before."""
    made: list[NUFFT] = []
    device, threads = acquisition.device, acquisition.threads

    def set_up() -> None:
        made.append(
            candidate.transform(
                acquisition.shape, batch.trajectory, coils=batch.coils, threads=threads
            )
        )

    setup = timed(set_up, device)
    transform = made[0]
    # Some libraries sort when first used; and the first use meets fresh memory.
    first = timed(lambda: transform.adjoint(batch.samples), device)
    adjoint = shortest(lambda: transform.adjoint(batch.samples), device)
    forward = shortest(lambda: transform(batch.images), device)
    return forward, adjoint, setup + max(0.0, first - adjoint)


def _timing(
    candidate: Candidate,
    errors: tuple[float, float],
    runs: Sequence[Sequence[float]] | None,
    batch: Batch,
    acquisition: TunedAcquisition,
    foretold: float,
) -> TransformTiming:
    known = {**vars(candidate), "forward_error": errors[0], "adjoint_error": errors[1]}
    if not runs:
        return TransformTiming(**known, note=f"not timed: about {foretold:.2g} s, or out of time")
    forward, adjoint, setup = (min(parts) for parts in zip(*runs, strict=True))
    return TransformTiming(
        **known,
        forward_seconds=forward / batch.transforms,
        adjoint_seconds=adjoint / batch.transforms,
        setup_seconds=setup / batch.frames,
        spread=spread([run[0] + run[1] for run in runs]),
        repeats=len(runs),
        workspace_bytes=_workspace_bytes(candidate, acquisition, batch),
    )


def _workspace_bytes(candidate: Candidate, acquisition: TunedAcquisition, batch: Batch) -> int:
    workers = parallel_transforms(
        acquisition.shape,
        batch.frames,
        batch.coils,
        backend=candidate.backend,
        threads=acquisition.threads,
        deterministic=False,
    )
    working, _ = nufft_workspace_bytes(
        acquisition.shape,
        acquisition.samples,
        batch.coils,
        backend=candidate.backend,
        tolerance=candidate.tolerance,
        itemsize=DTYPES[candidate.precision].itemsize,
        frames=batch.frames,
        threads=acquisition.threads,
        workers=workers,
        oversampling=candidate.oversampling,
    )
    return working


def _foretold(candidate: Candidate, acquisition: TunedAcquisition, small: float) -> float:
    """Return about how long forward and adjoint of all samples will take; of a few: ``small``."""
    samples = acquisition.samples
    part = acquisition.trajectories[0][:, :: max(1, samples // _PART)].contiguous()
    seconds = _both_ways(candidate.of_one_coil(acquisition, part), acquisition)
    return small + max(0.0, seconds - small) * samples / part.shape[1]


def _both_ways(transform: NUFFT, acquisition: TunedAcquisition) -> float:
    """Return the seconds of forward and adjoint."""
    image = torch.ones(transform.domain, dtype=transform.dtype, device=acquisition.device)
    return timed(lambda: transform.adjoint(transform(image)), acquisition.device)
