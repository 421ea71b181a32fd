"""Density compensation: the volume of k-space that each sample stands for.

All weights are in image units: with them, the adjoint of the Fourier operator of
`pipeline.geometry.axes` is a discretised inverse Fourier transform,

    image[r] = sum_k weights(k) kspace(k) exp(+j k.r),        weights = dk / (2 pi)**d,

so that the gridded image of an object of intensity 1 has intensity 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.mri.calibration.cartesian_density import CartesianDensity, cartesian_bytes
from pipeline.mri.calibration.radial_density import (
    READOUT_BYTES,
    SAMPLE_BYTES,
    RadialDensity,
    stack_of_stars_weights,
)
from pipeline.mri.calibration.voronoi_density import SAMPLE_BYTES as VORONOI_BYTES
from pipeline.mri.calibration.voronoi_density import voronoi_weights
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import (
    SAMPLES_AT_A_TIME,
    Pattern,
    Readouts,
    is_radial,
    is_stack_of_stars,
    readout_slabs,
    sampling_pattern,
)
from pipeline.operators.pipe_menon import pipe_menon_bytes, pipe_menon_weights
from pipeline.pieces import pieces
from pipeline.progress import track
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import CalibrationArrays, create_weights
from pipeline.storage.chunks import image_chunks
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "density"

Method = Literal["cartesian", "radial", "stack-of-stars", "pipe-menon", "voronoi"]

Weights = Callable[[slice], NDArray[np.float32]]
"""Returns the weights of some readouts, ``[readout, sample]``."""


def method(job: Calibrating, raw: RawData | None = None) -> str:
    """Return ``source``, ``none`` or how weights are computed; see `pipeline.engine.chain.Step`."""
    wanted, in_source = job.settings.calibration.density, "weights" in job.acquired.arrays
    if wanted == "source" and not in_source:
        raise DataError(
            f"{job.dataset}: calibration.density is source, but the source has no density "
            "weights; set it to auto, or name `weights` in the dataset's arrays"
        )
    if wanted == "bistatic":
        raise DataError(
            f"{job.dataset}: calibration.density is bistatic, which is for RF phase "
            "histories; set it to auto"
        )
    if wanted == "voronoi" and len(job.acquired.shape) != 2:
        raise DataError(
            f"{job.dataset}: calibration.density is voronoi, which is for 2D trajectories; set it "
            "to auto"
        )
    if wanted != "auto":
        return wanted
    if in_source:
        return "source"
    return computed_method(job.acquired.pattern if raw is None else pattern_of(raw))


def pattern_of(raw: RawData) -> Pattern:
    """Return what ingest saw of the readouts; look at them where the store is another program's."""
    return raw.pattern or sampling_pattern(raw.readouts_of(0))


def computed_method(pattern: str | None) -> Method:
    """Return how weights of readouts of a pattern are computed, unless the settings say it."""
    analytic: tuple[Method, ...] = ("cartesian", "radial", "stack-of-stars")
    return next((each for each in analytic if each == pattern), "pipe-menon")


def needs(job: Calibrating) -> list[Need]:
    """Return what the weights of one frame need, and writing some of its readouts."""
    return weights_needs(job, job.methods[NAME])


def weights_needs(job: Calibrating, how: str) -> list[Need]:
    """Return the phases of `needs`, for weights that are computed by the method ``how``."""
    acquired = job.acquired
    readouts, samples = acquired.readouts, acquired.samples
    chunk = image_chunks((readouts, samples), 4)[0] * samples
    written = {"density: weights as written": 4 * chunk}
    if how == "source":
        return [Need({**written, "density: weights as read": 8 * chunk})]
    slab = min(readouts, max(1, SAMPLES_AT_A_TIME // samples)) * samples
    radial = {
        "density: readouts": READOUT_BYTES * readouts,
        "density: slab of readouts": SAMPLE_BYTES * slab,
    }
    if how == "cartesian":
        one = min(slab, max(SAMPLES_AT_A_TIME, samples))
        counted = cartesian_bytes(acquired.shape, max(one, chunk))
        return [Need({"density: cells of k-space": counted, **written})]
    if how == "radial":
        # In double precision, in single precision, and as they are written.
        return [Need({**radial, **written, "density: weights": 12 * chunk})]
    number = readouts * samples
    whole = {"trajectory": 4 * len(acquired.shape) * number}
    own = acquired.own_trajectory and acquired.frames > 1
    if how == "stack-of-stars":
        # A plane of spokes is copied; planes are taken for as many as the matrix has.
        one = number // min(acquired.shape[0], readouts)
        radial["density: slab of readouts"] = SAMPLE_BYTES * min(slab, one)
        earlier = {"density: weights of the frame before": 8 * number if own else 0}
        checking = {"density: heights": 12 * number}
        weighting = {"density: weights": 8 * number, "density: plane": 28 * one, **radial}
        return [Need({**whole, **earlier, **parts}) for parts in (checking, weighting)]
    earlier = {"density: weights of the frame before": 4 * number if own else 0}
    if how == "voronoi":
        cells = {"density: Voronoi cells": VORONOI_BYTES * number, "density: weights": 16 * number}
        phases: Sequence[Mapping[str, int]] = [cells]
    else:
        phases = pipe_menon_bytes(
            acquired.shape, number, job.settings.nufft, threads=job.threads, on_device=job.on_device
        )
        if job.on_device:
            points = {"trajectory as points": whole["trajectory"]}
            return [Need({**whole, **earlier, **points}, parts) for parts in phases]
    return [Need({**whole, **earlier, **parts}) for parts in phases]


def held_bytes(acquired: Acquired) -> int:
    """Return the bytes of what `frame_weights` holds of a frame whose weights are not stored."""
    if acquired.pattern == "cartesian":
        return 4 * math.prod(acquired.shape)
    a_sample = {"radial": 0, "stack-of-stars": 8, "pipe-menon": 4}[
        computed_method(acquired.pattern)
    ]
    return (a_sample * acquired.samples + READOUT_BYTES) * acquired.readouts


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the settings that would make weights need less memory."""
    if not any(name.startswith(("density", "trajectory")) for name in (*need.host, *need.device)):
        return []
    return [
        "calibration.density: none",
        "calibration.density: source, with weights in the dataset's arrays",
    ]


def run(raw: RawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the weights, frame by frame; of the first only where all frames share them."""
    how = job.methods[NAME]
    data = CorrectedData(raw, CalibrationArrays(group, raw.marker))
    own = raw.own_weights if how == "source" else raw.own_trajectory
    frames = raw.frames if own else 1
    with receipt.phase("density"):
        stored = create_weights(group, (frames, raw.readouts, raw.samples))
        slabs = pieces(raw.readouts, stored.chunks[1])
        with track(f"{job.dataset}: density weights", frames * len(slabs)) as advance:
            for frame in range(frames):
                weights = frame_weights(data, how, frame, job)
                for slab in slabs:
                    stored[frame, slab] = weights(slab)
                    advance()
    return {}


def frame_weights(raw: RawData, how: str, frame: int, job: Calibrating) -> Weights:
    """Return the density weights of one frame, to be asked for some readouts at a time.

    They are float32 ``[readout, sample]``, in image units. ``how`` is ``source`` or a method.
    Radial weights are computed when they are asked for, however long the trajectory is; the other
    methods need all of it at once.

    Raises
    ------
    DataError
        If the method does not apply to the trajectory.
    """
    if how == "source":
        return lambda readouts: np.asarray(raw.weights(frame, readouts))
    who, trajectory = f"{job.dataset} frame {frame}", raw.readouts_of(frame)
    # Lines that were moved a little are weighed as the lines that they were meant to be.
    nominal = (raw.acquired if isinstance(raw, CorrectedData) else raw).readouts_of(frame)
    if not any(trajectory[slab].any() for slab in readout_slabs(trajectory)):
        raise DataError(
            f"{who}: all samples are at the centre of k-space; check the trajectory in the source"
        )
    useless = DataError(
        f"{who}: {how} density weights are not finite or all zero; check the trajectory, or "
        "set calibration.density to another method"
    )
    if how == "radial":
        compute = _radial(trajectory, nominal, who)
    elif how == "cartesian":
        if pattern_of(raw) != "cartesian":
            raise DataError(
                f"{who}: calibration.density is cartesian, but not all samples lie at whole "
                "numbers of cycles per field of view; set it to auto or pipe-menon"
            )
        compute = CartesianDensity(trajectory, raw.shape).weights
    else:
        whole = trajectory[slice(None)]
        if how == "stack-of-stars":
            found: NDArray[np.floating] = _stack_of_stars(whole, nominal, who)
        elif how == "voronoi":
            found = voronoi_weights(whole, who)
        else:
            found = pipe_menon_weights(
                whole,
                raw.shape,
                iterations=job.settings.calibration.density_iterations,
                nufft=job.settings.nufft,
                device=job.device,
                threads=job.threads,
            )
        if not found.any():
            raise useless
        compute = found.__getitem__

    def weights(readouts: slice) -> NDArray[np.float32]:
        some = compute(readouts).astype(np.float32)
        if not np.isfinite(some).all():
            raise useless
        return some

    return weights


def _radial(
    trajectory: Readouts, nominal: Readouts, who: str
) -> Callable[[slice], NDArray[np.floating]]:
    if not is_radial(nominal):
        raise DataError(
            f"{who}: calibration.density is radial, but not all readouts are straight lines "
            "through the centre of k-space; set it to auto or pipe-menon"
        )
    return RadialDensity(trajectory).weights


def _stack_of_stars(
    trajectory: NDArray[np.floating], nominal: Readouts, who: str
) -> NDArray[np.float64]:
    if not is_stack_of_stars(nominal):
        raise DataError(
            f"{who}: calibration.density is stack-of-stars, but not all readouts are straight "
            "lines through the kz axis, each at one kz; set it to auto or pipe-menon"
        )
    return stack_of_stars_weights(trajectory)
