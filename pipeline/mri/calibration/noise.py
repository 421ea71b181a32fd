"""The noise of each coil: as measured without signal, or estimated from the outermost k-space.

Short stretches of readouts, Fourier transformed, show a projection of the object, of which far from
the centre of k-space only edges are left: most places hold noise alone. So the noise is a low
quantile over the places of the median over many stretches, which what signal there is hardly
moves.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import Calibrating
from pipeline.engine.needs import Need
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
_QUIET = 0.25
"""Of the places along a stretch, those quieter than the one that tells the noise."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``measured`` or ``estimated``; see `pipeline.engine.chain.Step`."""
    return "measured" if "noise" in job.acquired.arrays else "estimated"


def needs(job: Calibrating) -> list[Need]:
    """Return what the noise measurement needs, or stretches of one coil and their transforms."""
    acquired = job.acquired
    if job.methods[NAME] == "measured":
        return [Need({"noise": 24 * acquired.coils * acquired.arrays["noise"][1]})]
    return needs_of_extracts(job, NAME, 48)


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
    data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
    with receipt.phase("noise"):
        measured = data.noise()
        if measured is None:
            levels = estimated_noise(data)
        else:
            levels = np.sqrt(np.mean(np.abs(measured) ** 2, axis=1, dtype=np.float64))
        store_array(group, "noise_level", levels.astype(np.float32), ("coil",))
    return {}


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
