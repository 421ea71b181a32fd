"""Whether samples, trajectory and coil maps belong together, and if not, why.

A coarse image is fitted to the centre of k-space of the first frame by least squares [1]_, whatever
the reconstruction is going to be. Data that belong together leave little more than noise. Where
more is left, the usual mistakes are undone one at a time (`pipeline.mri.calibration.mistakes`), and
the one without which the data fit is told.

Maps that were estimated from the same data fit them however they are mirrored, turned or
conjugated. Then each coil has an image of its own in these trials, and only what contradicts itself
is seen: samples that are shifted or out of order, axes of a wrong scale.

References
----------
.. [1] K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger, "Advances in sensitivity encoding with
   arbitrary k-space trajectories", Magn. Reson. Med. 46, 638-651 (2001).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.mistakes import NAMED, told
from pipeline.engine.needs import Need
from pipeline.mri.calibration import compression, sensitivities
from pipeline.mri.calibration.coarse_fit import CoarseGrid, Fit, fitted
from pipeline.mri.calibration.mistakes import Samples, mistakes
from pipeline.mri.corrected import SLAB, CorrectedData, chosen_readouts
from pipeline.mri.raw import RawData
from pipeline.pieces import pieces
from pipeline.storage.calibration import MAP_BYTES, CalibrationArrays
from pipeline.storage.chunks import CHUNKS_AT_ONCE
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "consistency"

PLAUSIBLE = 0.15
"""Misfit beyond noise, relative to the data, that is not looked into: what maps of low resolution,
motion and relaxation leave."""
IMPLAUSIBLE = 0.6
"""From here on the data do not fit, whether or not a mistake is found."""
BETTER = 0.5
"""A mistake explains the misfit if without it no more than this part is left."""

_CLEARLY = 0.85
"""And of misfit and noise together no more than this part."""
_ALIKE = 0.1
"""Mistakes explain the misfit alike if what they leave of it differs by less."""

_SAMPLES, _CENTRE = 2**17, 2**14
"""Of the readouts that are looked at, and of those in the centre; but no fewer readouts than
`_READOUTS`."""
_READOUTS = 16


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``checked`` or ``none``; see `pipeline.engine.chain.Step`.

    An object that is larger than the field of view, as several sets of maps are for, looks like a
    trajectory of half the scale.
    """
    settings = job.settings.calibration
    maps = {sensitivities.NAME: sensitivities.method(job, raw)}
    folded = sensitivities.map_sets(replace(job, methods=maps)) > 1
    return "checked" if settings.consistency and not folded else NONE


def needs(job: Calibrating) -> list[Need]:
    """Return what reading the centre needs, and fitting it."""
    acquired = job.acquired
    axes, coils = len(acquired.shape), compression.most_coils(job)
    grid = math.prod(CoarseGrid.of(acquired.shape).shape)
    slab = min(max(SLAB, acquired.samples), acquired.readouts * acquired.samples)
    held = min(acquired.readouts, _most_readouts(acquired.samples)) * acquired.samples
    maps = {
        "consistency: chunks of maps": CHUNKS_AT_ONCE * MAP_BYTES,
        "consistency: maps": 8 * coils * grid,
    }
    # k and y of three frames' trajectories, and of one mistake.
    data = {"consistency: readouts": held * (20 * axes + 24 * coils)}
    reading = {
        "consistency: slab of readouts": slab * (8 * axes + 8),
    }
    if mixed := compression.mixed_bytes(job, slab):
        # Of all virtual coils, and of those that they are mixed from.
        reading["consistency: coils to mix"] = 8 * coils * slab + mixed
    # Images, their transforms on a grid of twice the size along each axis, and maps twice.
    fitting = {"consistency: fit": 8 * coils * grid * (6 + 2**axes) + held * (16 + 24 * coils) // 2}
    # What a device fits lies on the host as well.
    on_device = fitting if job.on_device else {}
    return [Need({**maps, **data, **reading}), Need({**maps, **data, **fitting}, on_device)]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that does without, where it needs most."""
    if not any(name.startswith("consistency") for name in (*need.host, *need.device)):
        return []
    return ["calibration.consistency: false"]


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Say how well the data fit, and warn if they do not."""
    with receipt.phase("consistency"):
        grid = CoarseGrid.of(raw.shape)
        data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
        samples = centre_of(data, group, grid)
        fit = partial(fitted, grid=grid, device=job.device, threads=job.threads)
        found, warning = judged(samples, fit, job)
    if warning is not None:
        receipt.warn(warning)
    return {NAME: found}


def judged(
    samples: Samples, fit: Callable[[Samples], Fit | None], job: Calibrating
) -> tuple[dict[str, Any], str | None]:
    """Return what is to be recorded, and a warning where the data do not fit."""
    whole = fit(samples)
    if whole is None:
        return {"misfit": None}, None
    found: dict[str, Any] = {
        "misfit": _rounded(whole.misfit),
        "noise": _rounded(whole.noise),
        "coils": [_rounded(one) for one in whole.coils],
        "readouts": [_rounded(one) for one in whole.by_range()],
    }
    tried, base = samples, whole
    if samples.maps is not None:
        alone = replace(samples, maps=None)
        by_itself = fit(alone) or whole
        found["each_coil_by_itself"] = _rounded(by_itself.misfit)
        if job.methods[sensitivities.NAME] != "source":
            tried, base = alone, by_itself
    what = "samples and trajectory" if samples.maps is None else "samples, trajectory and maps"
    misfit = (
        f"{job.dataset}: {what} do not fit together: a coarse image leaves {whole.misfit:.0%} of "
        f"the data unexplained, where noise would leave {whole.noise:.0%}"
    )
    if base.excess > PLAUSIBLE:
        trials = [
            (mistake, without)
            for mistake in mistakes(tried, job.dataset, base.coils, base.readouts[0])
            if (without := fit(mistake.undone(tried))) is not None
        ]
        found["tried"] = {mistake.name: _rounded(without.misfit) for mistake, without in trials}
        least = min((without.misfit for _, without in trials), default=math.inf)
        likely = [
            mistake
            for mistake, without in trials
            if without.misfit <= min(least + _ALIKE * base.misfit, _CLEARLY * base.misfit)
            and without.excess <= BETTER * base.excess
        ][:NAMED]
        if likely:
            found["mistakes"] = [mistake.name for mistake in likely]
            return found, f"{misfit}; {told(likely)}"
    if max(base.excess, whole.excess) > IMPLAUSIBLE:
        return found, (
            f"{misfit}, and none of the usual mistakes explains it; check units and axes of the "
            "trajectory, and the order of readouts, samples and coils"
        )
    return found, None


def _most_readouts(samples: int) -> int:
    """Return how many readouts of so many samples are looked at, where they are all needed."""
    return max(_READOUTS, _SAMPLES // samples)


def _drawn_readouts(raw: RawData, grid: CoarseGrid, slabs: list[slice]) -> NDArray[np.intp]:
    """Return the numbers of the readouts that are looked at: drawn from those in the centre."""
    inside = np.concatenate(
        [
            np.count_nonzero(grid.radius(grid.points(raw.trajectory(0, slab))) <= 1, axis=1)
            for slab in slabs
        ]
    )
    near = np.flatnonzero(inside)
    enough = _CENTRE * near.size // max(1, inside.sum())
    count = max(_READOUTS, min(enough, _most_readouts(raw.samples)))
    if raw.readouts <= count:
        return np.arange(raw.readouts)
    return np.sort(np.random.default_rng(0).permutation(near)[:count])


def centre_of(raw: RawData, group: "zarr.Group", grid: CoarseGrid) -> Samples:
    """Read readouts that come near the centre of k-space, and the maps on the grid."""
    slabs = pieces(raw.readouts, max(1, SLAB // raw.samples))
    rows = _drawn_readouts(raw, grid, slabs)

    def trajectory(frame: int) -> NDArray[np.floating]:
        parts = [raw.trajectory(frame, slab)[_within(rows, slab)] for slab in slabs]
        return np.concatenate(parts)

    stored: Any = group.get("sensitivities")
    maps = None
    if stored is not None:
        voxels = [
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(grid.start, grid.shape, grid.strides, strict=True)
        ]
        first = [slice(0, 1)] * (3 - len(voxels))
        maps = np.asarray(stored[(slice(None), *first, *voxels)]).reshape(-1, *grid.shape)
    others = {1, raw.frames - 1} - {0} if raw.own_trajectory else set()
    return Samples(
        k=trajectory(0),
        y=chosen_readouts(raw, 0, rows),
        noise=np.asarray(group["noise_level"]),
        maps=maps,
        complete=len(rows) == raw.readouts,
        frames={frame: trajectory(frame) for frame in sorted(others)},
    )


def _within(rows: NDArray[np.intp], slab: slice) -> NDArray[np.intp]:
    """Return the numbers of those ``rows`` that lie in a slab, counted from its start."""
    return np.asarray(rows[(rows >= slab.start) & (rows < slab.stop)] - slab.start)


def _rounded(value: float) -> float:
    return round(float(value), 4)
