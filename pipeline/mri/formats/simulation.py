"""Simulated acquisitions: exact k-space of an analytic object, with noise.

No operator of the project has a part in them: the Fourier transforms of ellipses times coil
sensitivities that are Fourier series are known in closed form. They are evaluated at the trajectory
as it is stored, after its rounding to single precision.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings, SimulationSettings
from pipeline.engine import processes
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.formats.lazy import Derived, LazyArray, Selection
from pipeline.geometry.axes import as_volume
from pipeline.mri.formats.acquisition import MriAcquisition, voxel_size
from pipeline.mri.formats.breathing import breathing_body, breathing_depths
from pipeline.mri.formats.coil_arrays import CoilArray, coils_around
from pipeline.mri.formats.phantoms import (
    Ellipsoid,
    fourier_transform,
    moving_ellipsoid,
    random_ellipsoids,
    shepp_logan,
    voxel_average,
)
from pipeline.mri.generators.registry import GeneratedTrajectory, partitions_of
from pipeline.mri.trajectories import wrapped

BREATHING = "breathing"
PHANTOMS = ("shepp-logan", "ellipses", BREATHING)
"""What the source of a simulated dataset may be: one object, a random one in every frame, or one
that moves from readout to readout."""

_READOUTS_PER_NOISE_BLOCK = 64
_READOUTS_FOR_SIGNAL = 256

_POSITION_BYTES = 30
"""While a component of a position is generated, and k-space evaluated there."""
_TERM_BYTES = 48
"""Of each voxel while a term of the coils' maps is made and added."""
_AVERAGE_BYTES = 130
"""Of each voxel while an object is averaged over it: its positions, above all."""


@dataclass(frozen=True)
class SimulatedScan:
    """What is measured and how: everything that the simulated arrays have in common."""

    settings: SimulationSettings
    shape: tuple[int, ...]
    phantom: str = "shepp-logan"
    who: str = "simulation"

    @property
    def readouts(self) -> int:
        """Readouts of each frame, over all partitions."""
        return self._generated.readouts

    @cached_property
    def _generated(self) -> GeneratedTrajectory:
        settings = self.settings.generated
        readouts = self.settings.readouts * partitions_of(settings, self.shape)
        return GeneratedTrajectory(settings, self.shape, readouts, self.settings.samples, self.who)

    @cached_property
    def coils(self) -> CoilArray:
        """The receive coils."""
        return coils_around(self.shape, self.settings.coils)

    def object_at(self, frame: int) -> tuple[Ellipsoid, ...]:
        """Return the object during a frame; Shepp-Logan's moves if there are several."""
        if self.phantom == "ellipses":
            drawn = np.random.default_rng([self.settings.seed, frame])
            return random_ellipsoids(len(self.shape), drawn)
        still = shepp_logan(len(self.shape))
        if self.settings.frames == 1:
            return still
        phase = 2 * np.pi * frame / self.settings.frames
        return (*still, moving_ellipsoid(len(self.shape), phase))

    def average(self, frame: int, rows: slice) -> NDArray[np.float64]:
        """Return the object during a frame, averaged over each voxel of ``rows``."""
        ellipsoids = self.object_at(frame)
        if self.phantom == "ellipses" or self.settings.frames == 1:
            return voxel_average(ellipsoids, self.shape, rows)
        # All but the last one stand still. Averages add, in this order to the last bit.
        still = _still_average(self.shape, *rows.indices(self.shape[0])[:2])
        return still + voxel_average(ellipsoids[-1:], self.shape, rows)

    def trajectory(self, frame: int, selection: slice) -> NDArray[np.float32]:
        """Return readouts of one frame, float32 ``[readout, sample, axis]`` [rad/voxel]."""
        return wrapped(self._generated(frame, selection))

    def signal(self, frame: int, coils: slice, readouts: slice) -> NDArray[np.complex128]:
        """Return noiseless k-space of one frame, complex128 ``[coil, readout, sample]``."""
        k = self.trajectory(frame, readouts)
        points = k.reshape(-1, k.shape[-1]).astype(np.float64)
        series = self.coils.shifts, self.coils.coefficients[coils]
        if self.phantom == BREATHING:
            depths = np.repeat(self.depths(frame, readouts), k.shape[1])
            parts = breathing_body(self.shape, depths)
            values = sum(
                fourier_transform(each, self.shape, points, *series, by) for each, by in parts
            )
        else:
            values = fourier_transform(self.object_at(frame), self.shape, points, *series)
        return np.asarray(values).reshape(-1, *k.shape[:2])

    def depths(self, frame: int, readouts: slice) -> NDArray[np.float64]:
        """Return how deep the breath of a breathing body is at some readouts of a frame."""
        numbers = np.arange(self.readouts, dtype=np.float64)[readouts] + frame * self.readouts
        return breathing_depths(numbers * self.settings.repetition_time, self.settings.seed)

    @cached_property
    def noise_deviation(self) -> float:
        """Standard deviation of the complex noise.

        The rms of the signal is that of the first frame, over at most 256 of its readouts.
        """
        if self.settings.snr_db is None:
            return 0.0
        step = -(-self.readouts // _READOUTS_FOR_SIGNAL)
        signal = self.signal(0, slice(None), slice(0, None, step))
        rms = float(np.sqrt(np.mean(np.abs(signal) ** 2)))
        return rms * float(10 ** (-self.settings.snr_db / 20))

    def noise(self, frame: int, coil: int, readouts: slice) -> NDArray[np.complex128]:
        """Return noise of one coil, complex128 ``[readout, sample]``.

        Drawn in blocks of readouts, each with a seed of its own, so that the noise does not depend
        on how it is read.
        """
        first = readouts.start // _READOUTS_PER_NOISE_BLOCK
        last = -(-readouts.stop // _READOUTS_PER_NOISE_BLOCK)
        blocks = []
        for block in range(first, last):
            generator = np.random.default_rng([self.settings.seed, frame, coil, block])
            parts = generator.standard_normal((_READOUTS_PER_NOISE_BLOCK, self.settings.samples, 2))
            blocks.append(parts.view(np.complex128)[..., 0])
        start = readouts.start - first * _READOUTS_PER_NOISE_BLOCK
        wanted = slice(start, start + readouts.stop - readouts.start)
        unit = np.concatenate(blocks)[wanted]
        return np.asarray(unit * (self.noise_deviation / np.sqrt(2)))


@lru_cache(maxsize=1)
def _still_average(shape: tuple[int, ...], first: int, last: int) -> NDArray[np.float64]:
    return voxel_average(shepp_logan(len(shape)), shape, slice(first, last))


def _computed(
    shape: tuple[int, ...],
    dtype: type[np.generic],
    chunks: tuple[int, ...],
    compute: Callable[..., Iterable[NDArray[Any]]],
    workspace: Callable[..., int],
) -> Derived:
    """Return an array whose parts along the first axis are computed one after the other.

    Their computing takes ``workspace(*extent)`` bytes beside the result.
    """

    def values(selection: Selection) -> NDArray[Any]:
        bounds = [
            slice(*part.indices(size)[:2]) for part, size in zip(selection, shape, strict=True)
        ]
        result = np.empty([bound.stop - bound.start for bound in bounds], dtype)
        for index, part in enumerate(compute(*bounds)):
            result[index] = part
        return result

    def needs(extent: Sequence[int]) -> int:
        return math.prod(extent) * np.dtype(dtype).itemsize + workspace(*extent)

    return Derived(shape, np.dtype(dtype), chunks, values, needs)


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[MriAcquisition]:
    """Simulate an acquisition.

    The source names the phantom; ``details.simulation`` and ``details.shape`` are needed. With the
    true sensitivities, which are among the arrays, a SENSE reconstruction gives the object itself:
    that, averaged over each voxel, is the reference.
    """
    simulation, shape = settings.details.simulation, settings.details.shape
    if simulation is None or shape is None:
        missing = "simulation" if simulation is None else "shape"
        raise ConfigError(f"{dataset}: a simulation needs `sources.{dataset}.{missing}`")
    if settings.source not in PHANTOMS:
        raise ConfigError(
            f"{dataset}: unknown phantom `{settings.source}`; the source of a simulation is one of "
            f"{', '.join(PHANTOMS)}"
        )
    budget.load(processes.SCIPY if len(shape) == 2 else processes.TORCH)
    scan = SimulatedScan(simulation, shape, settings.source, dataset)
    arrays = _arrays(scan)
    if settings.source == BREATHING:  # no image is that of all readouts
        del arrays["reference"]
    yield MriAcquisition(
        shape=shape,
        voxel_size=voxel_size(settings, dataset, len(shape)),
        arrays=arrays,
        provenance={"format": "simulation", "phantom": settings.source, "seed": simulation.seed},
        frame_duration=(
            scan.readouts * simulation.repetition_time if settings.source == BREATHING else None
        ),
    )


def _arrays(scan: SimulatedScan) -> dict[str, LazyArray]:
    settings, volume = scan.settings, as_volume(scan.shape)
    readouts, samples, dimensions = scan.readouts, settings.samples, len(scan.shape)
    flat = dimensions == 2

    def kspace(
        frames: slice, coils: slice, readouts: slice, samples: slice
    ) -> Iterator[NDArray[np.complex128]]:
        for frame in range(frames.start, frames.stop):
            part = scan.signal(frame, coils, readouts)
            if settings.snr_db is not None:
                for index, coil in enumerate(range(coils.start, coils.stop)):
                    part[index] += scan.noise(frame, coil, readouts)
            yield part[..., samples]

    def trajectory(
        frames: slice, readouts: slice, samples: slice, axes: slice
    ) -> Iterator[NDArray[np.float32]]:
        for frame in range(frames.start, frames.stop):
            yield scan.trajectory(frame, readouts)[:, samples, axes]

    def sensitivities(
        coils: slice, planes: slice, rows: slice, columns: slice
    ) -> Iterator[NDArray[np.complex128]]:
        for coil in scan.coils.maps(coils, rows if flat else planes):
            yield coil[None][planes, :, columns] if flat else coil[:, rows, columns]

    def reference(
        frames: slice, planes: slice, rows: slice, columns: slice
    ) -> Iterator[NDArray[np.float64]]:
        for frame in range(frames.start, frames.stop):
            image = scan.average(frame, rows if flat else planes)
            yield image[None][planes, :, columns] if flat else image[:, rows, columns]

    def positions(along: int) -> int:
        return _POSITION_BYTES * along * samples * dimensions

    def signals(frames: int, coils: int, along: int, part: int) -> int:
        noise = 3 * 16 * (along + _READOUTS_PER_NOISE_BLOCK) * samples
        return 16 * coils * along * samples + max(positions(along), noise)

    def voxels(planes: int, rows: int) -> int:
        return rows * volume[2] if flat else planes * volume[1] * volume[2]

    first = (1, 1, volume[2]) if flat else (1, volume[1], volume[2])
    return {
        "kspace": _computed(
            (settings.frames, settings.coils, readouts, samples),
            np.complex64,
            (1, settings.coils, _READOUTS_PER_NOISE_BLOCK, samples),
            kspace,
            signals,
        ),
        "trajectory": _computed(
            (settings.frames, readouts, samples, dimensions),
            np.float32,
            (1, 1, samples, dimensions),
            trajectory,
            lambda frames, along, *rest: positions(along),
        ),
        "sensitivities": _computed(
            (settings.coils, *volume),
            np.complex64,
            (1, *first),
            sensitivities,
            lambda coils, planes, rows, columns: (16 * coils + _TERM_BYTES) * voxels(planes, rows),
        ),
        "reference": _computed(
            (settings.frames, *volume),
            np.complex64,
            (1, *first),
            reference,
            lambda frames, planes, rows, columns: _AVERAGE_BYTES * voxels(planes, rows),
        ),
    }
