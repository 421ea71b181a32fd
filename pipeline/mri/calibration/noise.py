"""The noise of each coil: measured without signal, of a region, or from the outermost k-space.

Short stretches of readouts, Fourier transformed, show a projection of the object, of which far from
the centre of k-space only edges are left: most places hold noise alone. So the noise is a low
quantile over the places of the median over many stretches, which what signal there is hardly
moves.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.mri.calibration import whitening
from pipeline.mri.calibration.noise_samples import (
    most_samples,
    noise_covariance,
    region_bytes,
    region_covariance,
)
from pipeline.mri.corrected import CorrectedData, coil_pieces
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import CalibrationArrays, store_array
from pipeline.storage.chunks import CHUNK_BYTES
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "noise"

_EXTRACTS = 4
"""Ranges of readouts that are looked at, spread over frames and readouts."""
_SAMPLES = 2**15
"""Of each of them."""
_STRETCH = 16
"""Samples that are transformed together."""
_OUTER = 0.25
"""Of all stretches, the outermost that count, but no fewer than `_FEWEST`."""
_FEWEST = 64
_STRONGER = 1.5
"""Than the noise of the samples: measured noise is of another bandwidth."""
_QUIET = 0.25
"""Of the places along a stretch, those quieter than the one that tells the noise."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``measured``, ``region`` or ``estimated``; see `pipeline.engine.chain.Step`."""
    if job.settings.calibration.noise_region is not None:
        return "region"
    return "measured" if "noise" in job.acquired.arrays else "estimated"


def needs(job: Calibrating) -> list[Need]:
    """Return what the noise measurement needs, or stretches of one coil and their transforms."""
    acquired, method = job.acquired, job.methods[NAME]
    phases = [] if method == "region" else needs_of_extracts(job, NAME, 48)
    if method == "estimated" or job.methods[whitening.NAME] != NONE:  # which has read the noise
        return phases
    if method == "region":
        return [Need({"noise": 24 * acquired.coils * most_samples(job), **region_bytes(job)})]
    return [Need({"noise": 24 * acquired.coils * acquired.arrays["noise"][1]}), *phases]


def needs_of_extracts(job: Calibrating, step: str, sample_bytes: int) -> list[Need]:
    """Return what `extracts` need: reading one coil, or all that are mixed, and each sample."""
    acquired = job.acquired
    one = min(acquired.readouts * acquired.samples, _SAMPLES + acquired.samples)
    chunk = min(8 * acquired.readouts * acquired.samples, CHUNK_BYTES)
    return [
        Need(
            {
                f"{step}: chunks": 2 * chunk,
                f"{step}: extracts": sample_bytes * _EXTRACTS * one,
                f"{step}: coils to mix": (_EXTRACTS + 2) * 8 * acquired.coils * one,
            }
        )
    ]


def extracts(raw: RawData) -> list[tuple[int, slice]]:
    """Return the frames and readouts that are looked at: a few, spread over the measurement."""
    rows = min(raw.readouts, max(1, _SAMPLES // raw.samples))
    last = (raw.frames - 1, raw.readouts - rows)
    places = {tuple(end * part // (_EXTRACTS - 1) for end in last) for part in range(_EXTRACTS)}
    return [(frame, slice(start, start + rows)) for frame, start in sorted(places)]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return nothing: noise needs little."""
    return []


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write ``noise_level``, the standard deviation of a complex sample of each coil, as mixed."""
    calibration = CalibrationArrays(group, raw.marker)
    data = CorrectedData(raw, calibration)
    with receipt.phase("noise"):
        covariance = _covariance(raw, calibration, job, receipt)
        levels = estimated_noise(data) if covariance is None else data.noise_levels(covariance)
        if job.methods[NAME] == "measured":
            warning = other_bandwidth(levels, estimated_noise(data), raw, job.dataset)
            if warning is not None:
                receipt.warn(warning)
        store_array(group, "noise_level", levels.astype(np.float32), ("coil",))
    return {}


def _covariance(
    raw: RawData, calibration: CalibrationArrays, job: Calibrating, receipt: Receipt
) -> NDArray[np.complexfloating] | None:
    """Return the covariance of acquired coils' noise, ``(coil, coil)``; None if it is not known."""
    if job.methods[whitening.NAME] != NONE:
        return calibration.array("noise_covariance")
    if job.methods[NAME] == "region":
        return region_covariance(raw, job, receipt)
    measured = raw.noise()
    return None if measured is None else noise_covariance(measured)


def other_bandwidth(
    measured: NDArray[np.float64], estimated: NDArray[np.float64], raw: RawData, dataset: str
) -> str | None:
    """Return what to say of noise that is stronger than the samples can hold; else None.

    Not of weaker noise: what is estimated holds a little signal.
    """
    both = (measured > 0) & (estimated > 0)
    ratio = np.sqrt(np.sum(measured[both] ** 2) / max(np.sum(estimated[both] ** 2), 1e-300))
    if ratio <= _STRONGER:
        return None
    known = raw.dwell_time and raw.noise_dwell_time
    advice = (
        f"check them: dwell_time is {raw.dwell_time:.3g} s, noise_dwell_time "
        f"{raw.noise_dwell_time:.3g} s"
        if known
        else f"set both in `sources.{dataset}`"
    )
    return (
        f"{dataset}: the measured noise is {ratio:.2g} times as strong as that of the outermost "
        f"k-space, as noise of another bandwidth is where `dwell_time` and `noise_dwell_time` are "
        f"{'wrong' if known else 'not both known'}; {advice}, or leave out `noise`"
    )


def estimated_noise(raw: RawData) -> NDArray[np.float64]:
    """Estimate the standard deviation of the complex noise of each coil, float64 ``[coil]``.

    Stretches that are zero throughout were not measured and do not count; a coil of nothing else
    has no noise.
    """
    parts = extracts(raw)
    radius = np.concatenate(
        [
            _stretches(np.linalg.norm(raw.trajectory(frame, some), axis=-1)).mean(axis=1)
            for frame, some in parts
        ]
    )
    counted = min(len(radius), max(_FEWEST, int(_OUTER * len(radius))))
    levels = np.zeros(raw.coils)
    for coils in coil_pieces(raw):
        read = [raw.kspace(frame, coils, some) for frame, some in parts]
        for row, coil in enumerate(range(coils.start, coils.stop)):
            stretches = np.concatenate([_stretches(part[row]) for part in read])
            measured = np.flatnonzero(stretches.any(axis=1))
            outermost = measured[np.argsort(-radius[measured], kind="stable")[:counted]]
            if outermost.size:
                levels[coil] = _noise_of(stretches[outermost])
    return levels


def _stretches(values: NDArray[Any]) -> NDArray[Any]:
    """Cut readouts ``[readout, sample]`` into stretches ``[stretch, sample]``, as many as fit."""
    samples = values.shape[1]
    length = min(samples, _STRETCH)
    parts = samples // length
    begin = (samples - parts * length) // 2
    return values[:, begin : begin + parts * length].reshape(-1, length)


def _noise_of(stretches: NDArray[np.complexfloating]) -> float:
    length = stretches.shape[1]
    window = np.hanning(length + 2)[1:-1]
    spectra = np.fft.fft(stretches * (window / np.linalg.norm(window)), axis=1)
    # |z|^2 of complex noise is exponentially distributed: its median is ln 2 of its mean.
    places = np.median(np.abs(spectra) ** 2, axis=0) / np.log(2)
    return float(np.sqrt(np.quantile(places, _QUIET)))
