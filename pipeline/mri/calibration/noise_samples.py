"""Samples of noise: their covariance, and where there is no scan of them, a region that holds them.

Whether a region of the measurement holds noise alone is seen in two ways, in the combination of
coils where most of it is signal: fourth moments are larger than those of Gaussian noise, since
signal is strong in few samples [1]_; and neighbours in a readout are alike, where those of noise
are correlated by the filters of the receiver alone.

References
----------
.. [1] J.-F. Cardoso, "Source separation using higher order moments", ICASSP 1989, 2109-2112.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config.calibration import NoiseRegionSettings
from pipeline.engine.chain import Calibrating
from pipeline.errors import DataError
from pipeline.mri.raw import RawData
from pipeline.pieces import pieces
from pipeline.storage.chunks import CHUNK_BYTES
from pipeline.storage.receipts import Receipt

SAMPLES_PER_COIL = 10
"""Samples of noise for each coil that tell a covariance well enough to be used unasked."""
LEAST_EIGENVALUE = 1e-5
"""Of the covariance with a unit diagonal: below, coils are copies of each other, or zero."""
_ENOUGH = 2**16
"""Samples that are read at the most, but for the last slab."""
_SLAB = 2**15
"""Samples of each coil that are read together."""
_PAIRS = 2**14
"""Samples whose products are taken together, and pairs of neighbours that are looked at."""
_RADII = 2**20
"""Samples whose distance from the centre of k-space is looked at."""
_HEAVIER, _ALIKE = 1.1, 0.7
"""Largest fourth moment, relative to that of noise, and correlation of neighbours, which signal has
more than: filtered noise was seen with 0.5."""
_BY_CHANCE = 4.0, 2.0
"""What both may exceed that by, in units of the root of coils over samples."""


class RegionNoise(NamedTuple):
    """Samples of the region, one readout after the other."""

    samples: NDArray[np.complex64]
    """``[coil, sample]``."""
    follows: NDArray[np.bool_]
    """Of each sample, whether the one before it is its neighbour in the readout."""


def noise_covariance(noise: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Return the covariance ``E[n n^H]`` of noise ``[coil, sample]``, complex128 ``(coil, coil)``.

    Noise of a receiver has no mean.
    """
    total = np.zeros((len(noise), len(noise)), np.complex128)
    for part in pieces(noise.shape[1], _PAIRS):
        samples = noise[:, part].astype(np.complex128)
        total += samples @ samples.conj().T
    return np.asarray(total / noise.shape[1])


def require_region(job: Calibrating) -> None:
    """Refuse a region that the measurement does not have, or that is too small for its coils.

    As far as sizes tell.
    """
    region, acquired = job.settings.calibration.noise_region, job.acquired
    if region is None:
        return
    key = f"{job.dataset}: calibration.noise_region"
    if region.outermost is not None:
        count = int(region.outermost * acquired.frames * acquired.readouts * acquired.samples)
    else:
        sizes = {"readouts": acquired.readouts, "samples": acquired.samples}
        count = acquired.frames
        for name, size in sizes.items():
            first, last = getattr(region, name) or (0, None)
            if first < -size or (last is not None and last > size):
                raise DataError(
                    f"{key}.{name} is {[first, last]}, but there are {size} {name}; name some of "
                    "them"
                )
            count *= len(range(*slice(first, last).indices(size)))
    _require_enough(count, acquired.coils, key)


def _require_enough(count: int, coils: int, key: str) -> None:
    if count < SAMPLES_PER_COIL * coils:
        raise DataError(
            f"{key} has {count} samples that were measured, which do not tell the noise of {coils} "
            f"coils; name a larger one, of {SAMPLES_PER_COIL * coils} or more"
        )


def region_bytes(job: Calibrating) -> dict[str, int]:
    """Return what `region_noise` takes beside its samples."""
    acquired = job.acquired
    frame = acquired.readouts * acquired.samples
    slab = min(frame, _slab_readouts(acquired.samples) * acquired.samples)
    radii = min(_RADII + slab, acquired.frames * frame)
    return {
        "noise region: slab": 2 * 8 * acquired.coils * slab + min(8 * frame, CHUNK_BYTES),
        "noise region: trajectory": 12 * len(acquired.shape) * slab + 24 * radii,
    }


def most_samples(job: Calibrating) -> int:
    """Return how many samples of each coil `region_noise` returns at the most."""
    acquired = job.acquired
    slab = _slab_readouts(acquired.samples) * acquired.samples
    return min(_ENOUGH + slab, acquired.frames * acquired.readouts * acquired.samples)


def region_covariance(raw: RawData, job: Calibrating, receipt: Receipt) -> NDArray[np.complex128]:
    """Return the covariance of the noise of a region, complex128 ``(coil, coil)``.

    How much it is like noise is recorded, and warned of where it holds signal.

    Raises
    ------
    DataError
        If too few samples of it were measured.
    """
    region = job.settings.calibration.noise_region
    assert region is not None
    noise = region_noise(raw, region, job.dataset)
    found = signal_in(noise)
    receipt.record(noise_region={"samples": noise.samples.shape[1], **found})
    warning = signal_warning(found, noise, job.dataset)
    if warning is not None:
        receipt.warn(warning)
    return noise_covariance(noise.samples)


def region_noise(raw: RawData, region: NoiseRegionSettings, who: str) -> RegionNoise:
    """Read samples of the region: all, or so many of its slabs, drawn from all, as are enough.

    Samples that are zero in all coils were not measured and do not count.

    Raises
    ------
    DataError
        If too few were measured.
    """
    rows = range(raw.readouts)[slice(*(region.readouts or (0, None)))]
    columns = slice(*(region.samples or (0, None)))
    each = _slab_readouts(raw.samples)
    slabs = [
        (frame, slice(rows.start + part.start, rows.start + part.stop))
        for frame in range(raw.frames)
        for part in pieces(len(rows), each)
    ]
    drawn = [slabs[number] for number in np.random.default_rng(0).permutation(len(slabs))]
    radius = 0.0
    if region.outermost is not None:
        some = drawn[: max(1, _RADII // (each * raw.samples))]
        radii = np.concatenate([_radii(raw, *slab).ravel() for slab in some])
        radius = float(np.quantile(radii, 1 - region.outermost))
        del radii
    found, follows, count = [], [], 0
    for frame, slab in drawn:
        values = raw.kspace(frame, readouts=slab)[..., columns]
        inside = np.asarray(values.any(axis=0))
        if region.outermost is not None:
            inside &= _radii(raw, frame, slab) >= radius
        neighbour = np.zeros_like(inside)
        neighbour[:, 1:] = inside[:, 1:] & inside[:, :-1]
        found.append(values[:, inside])
        follows.append(neighbour[inside])
        count += found[-1].shape[1]
        del values
        if count >= _ENOUGH:
            break
    _require_enough(count, raw.coils, f"{who}: calibration.noise_region")
    return RegionNoise(np.concatenate(found, axis=1), np.concatenate(follows))


def signal_in(noise: RegionNoise) -> dict[str, float]:
    """Return what tells signal from noise, of whichever combination of coils has most.

    ``fourth_moment``: relative to that of Gaussian noise. ``neighbours``: their correlation.
    """
    white = _white(noise.samples)
    energies = np.sum(white.real**2 + white.imag**2, axis=0)
    # Of noise w of C coils, E[w^H w w w^H] = (C + 1) I.
    moments = (white * energies) @ white.conj().T / white.shape[1] / (len(white) + 1)
    later, neighbours = np.flatnonzero(noise.follows)[:_PAIRS], 0.0
    if later.size:
        products = white[:, later] @ white[:, later - 1].conj().T / later.size
        neighbours = float(np.linalg.norm(products, 2))
    return {
        "fourth_moment": float(np.linalg.eigvalsh(moments)[-1]),
        "neighbours": neighbours,
    }


def _white(samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return samples as combinations of coils that are not correlated and have the power 1."""
    covariance = noise_covariance(samples)
    scale = 1 / np.sqrt(np.maximum(np.diag(covariance).real, np.finfo(np.float64).tiny))
    values, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
    some = values > LEAST_EIGENVALUE * values[-1]
    matrix = (vectors[:, some] / np.sqrt(values[some])).conj().T * scale
    return np.asarray(matrix.astype(np.complex64) @ samples)


def signal_warning(found: Mapping[str, float], noise: RegionNoise, who: str) -> str | None:
    """Return what to say of a region that holds signal; None if it looks like noise."""
    # Energies of noise have a gamma distribution: of its moments follows the deviation by chance.
    coils, samples = noise.samples.shape
    moment, alike = found["fourth_moment"], found["neighbours"]
    heavier, more_alike = (each * math.sqrt(coils / samples) for each in _BY_CHANCE)
    if moment <= _HEAVIER + heavier and alike <= _ALIKE + more_alike:
        return None
    return (
        f"{who}: calibration.noise_region holds signal: some combination of coils has "
        f"{moment:.3g} times the fourth moment of noise, where 1 is expected, and neighbours in a "
        f"readout are correlated by {alike:.2g}; name samples farther from the centre of k-space, "
        "or without excitation"
    )


def _radii(raw: RawData, frame: int, readouts: slice) -> NDArray[np.floating]:
    return np.asarray(np.linalg.norm(raw.trajectory(frame, readouts), axis=-1))


def _slab_readouts(samples: int) -> int:
    return max(1, _SLAB // samples)
