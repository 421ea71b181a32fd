"""Density weights of phase histories: analytic ones of bistatic rotations, or Pipe and Menon's."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.operators.pipe_menon import pipe_menon_bytes, pipe_menon_weights
from pipeline.rf.calibration.bistatic_density import (
    SAMPLE_BYTES,
    bistatic_weights,
    is_bistatic_rotation,
)
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES
from pipeline.rf.geometry.phase_history import whole_aperture
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import create_weights
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "density"


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return ``bistatic``, ``pipe-menon``, ``window`` alone or ``none``; see `Step`."""
    settings, pairs = job.settings.calibration, bool(job.acquired.rows)
    if pairs and settings.window != NONE:
        raise DataError(
            f"{job.dataset}: calibration.window is {settings.window}, but pairs of antenna arrays "
            "have no weights of single measurements; set it to none"
        )
    found = _density(job, raw)
    return "window" if found == NONE and settings.window != NONE else found


def _density(job: Calibrating, raw: RfRawData | None) -> str:
    wanted, pairs = job.settings.calibration.density, bool(job.acquired.rows)
    if wanted == NONE or (wanted == "auto" and pairs):
        return NONE
    if pairs:
        raise DataError(
            f"{job.dataset}: calibration.density is {wanted}, but pairs of antenna arrays "
            "have no density weights; set it to auto or none"
        )
    if wanted == "pipe-menon":
        return wanted
    # As far as sizes tell, antennas circle every scene of two axes.
    circles = (
        len(job.acquired.shape) == 2
        if raw is None
        else is_bistatic_rotation(raw.scene, raw.paths(0))
    )
    if circles and wanted in ("auto", "bistatic"):
        return "bistatic"
    if wanted == "auto":
        return NONE
    raise DataError(
        f"{job.dataset}: calibration.density is {wanted}, which does not fit this phase history"
        + (", whose antennas do not circle a scene of two axes by even steps" * (not circles))
        + "; set it to auto, pipe-menon or none"
    )


def needs(job: Calibrating) -> list[Need]:
    """Return what the weights of a frame need."""
    acquired = job.acquired
    number = acquired.readouts * acquired.samples
    positions = {"antenna positions": PULSE_BYTES * acquired.readouts}
    if job.methods[NAME] in ("bistatic", "window"):
        return [Need({**positions, "density: weights": SAMPLE_BYTES * number})]
    whole = {**positions, "trajectory": 3 * 8 * len(acquired.shape) * number}
    phases = pipe_menon_bytes(
        acquired.shape, number, job.settings.nufft, threads=job.threads, on_device=job.on_device
    )
    return [Need(whole, part) if job.on_device else Need({**whole, **part}) for part in phases]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that would make weights need no memory."""
    parts = (*need.host, *need.device)
    return ["calibration.density: none"] * any(
        name.startswith(("density", "trajectory")) for name in parts
    )


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the weights, ``[frame or 1, pulse, freq]``, of mean 1 in each frame."""
    frames = raw.frames if raw.own_paths else 1
    shape = (frames, raw.pulses, len(raw.frequencies))
    with receipt.phase("density"):
        stored = create_weights(group, shape, ("frame", "pulse", "freq"))
        for frame in range(frames):
            weights = _weights(raw, frame, job)
            if job.settings.calibration.window != NONE:
                weights = weights * window(job.settings.calibration.window, *shape[1:])
                weights /= weights.mean()
            stored[frame] = weights
    return {}


def window(name: str, pulses: int, frequencies: int) -> NDArray[np.float32]:
    """Return a taper of aperture and band, float32 ``[pulse, freq]``, of mean 1."""
    from scipy.signal import windows

    tapers: list[NDArray[np.float64]] = [
        windows.hamming(size)
        if name == "hamming"
        else windows.taylor(size, nbar=4, sll=35, norm=False)
        for size in (pulses, frequencies)
    ]
    taper = np.outer(*tapers)
    return np.asarray(taper / taper.mean(), np.float32)


def _weights(raw: RfRawData, frame: int, job: Calibrating) -> NDArray[np.float32]:
    """Return the density weights of a frame, ``[pulse, freq]``, of mean 1."""
    if job.methods[NAME] == "window":
        return np.ones((raw.pulses, len(raw.frequencies)), np.float32)
    paths = raw.paths(frame)
    if job.methods[NAME] == "bistatic":
        return bistatic_weights(raw.scene, paths, raw.frequencies)
    weights = pipe_menon_weights(
        whole_aperture(raw.scene, paths, raw.frequencies).trajectory(),
        raw.shape,
        iterations=job.settings.calibration.density_iterations,
        nufft=job.settings.nufft,
        device=job.device,
        threads=job.threads,
    )
    if not (np.isfinite(weights).all() and weights.any()):
        raise DataError(
            f"{job.dataset} frame {frame}: pipe-menon density weights are not finite or all zero; "
            "check the positions, or set calibration.density to none"
        )
    return np.asarray(weights / weights.mean())
