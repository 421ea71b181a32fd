"""Density weights of phase histories: analytic ones of bistatic rotations, or Pipe and Menon's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.calibration import CalibrateSettings
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
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import create_weights

if TYPE_CHECKING:
    import zarr

NAME = "density"


def method(
    acquired: Acquired, settings: CalibrateSettings, who: str, raw: RfRawData | None = None
) -> str:
    """Return ``bistatic``, ``pipe-menon`` or ``none``; see `pipeline.engine.chain.Step`."""
    wanted, pairs = settings.calibration.density, bool(acquired.rows)
    if wanted == NONE or (wanted == "auto" and pairs):
        return NONE
    if pairs:
        raise DataError(
            f"{who}: calibration.density is {wanted}, but pairs of antenna arrays "
            "have no density weights; set it to auto or none"
        )
    if wanted == "pipe-menon":
        return wanted
    # As far as sizes tell, antennas circle every scene of two axes.
    circles = (
        len(acquired.shape) == 2 if raw is None else is_bistatic_rotation(raw.scene, raw.paths(0))
    )
    if circles and wanted in ("auto", "bistatic"):
        return "bistatic"
    if wanted == "auto":
        return NONE
    raise DataError(
        f"{who}: calibration.density is {wanted}, which does not fit this phase history"
        + (", whose antennas do not circle a scene of two axes by even steps" * (not circles))
        + "; set it to auto, pipe-menon or none"
    )


def needs(
    acquired: Acquired,
    settings: CalibrateSettings,
    methods: Mapping[str, str],
    *,
    threads: int,
    on_device: bool,
) -> list[Need]:
    """Return what the weights of a frame need."""
    number = acquired.readouts * acquired.samples
    positions = {"antenna positions": PULSE_BYTES * acquired.readouts}
    if methods[NAME] == "bistatic":
        return [Need({**positions, "density: weights": SAMPLE_BYTES * number})]
    whole = {**positions, "trajectory": 3 * 8 * len(acquired.shape) * number}
    phases = pipe_menon_bytes(
        acquired.shape, number, settings.nufft, threads=threads, on_device=on_device
    )
    return [Need(whole, part) if on_device else Need({**whole, **part}) for part in phases]


def advice(acquired: Acquired, settings: CalibrateSettings, need: Need) -> list[str]:
    """Return the setting that would make weights need no memory."""
    parts = (*need.host, *need.device)
    return ["calibration.density: none"] * any(
        name.startswith(("density", "trajectory")) for name in parts
    )


def run(raw: RfRawData, group: "zarr.Group", work: Calibrating) -> dict[str, Any]:
    """Write the weights, ``[frame or 1, pulse, freq]``, of mean 1 in each frame."""
    frames = raw.frames if raw.own_paths else 1
    shape = (frames, raw.pulses, len(raw.frequencies))
    with work.receipt.phase("density"):
        stored = create_weights(group, shape, ("frame", "pulse", "freq"))
        for frame in range(frames):
            stored[frame] = _weights(raw, frame, work)
    return {}


def _weights(raw: RfRawData, frame: int, work: Calibrating) -> NDArray[np.float32]:
    """Return the density weights of a frame, ``[pulse, freq]``, of mean 1."""
    paths = raw.paths(frame)
    if work.methods[NAME] == "bistatic":
        return bistatic_weights(raw.scene, paths, raw.frequencies)
    weights = pipe_menon_weights(
        whole_aperture(raw.scene, paths, raw.frequencies).trajectory(),
        raw.shape,
        iterations=work.settings.calibration.density_iterations,
        nufft=work.settings.nufft,
        device=work.device,
        threads=work.threads,
    )
    if not (np.isfinite(weights).all() and weights.any()):
        raise DataError(
            f"{work.dataset} frame {frame}: pipe-menon density weights are not finite or all zero; "
            "check the positions, or set calibration.density to none"
        )
    return np.asarray(weights / weights.mean())
