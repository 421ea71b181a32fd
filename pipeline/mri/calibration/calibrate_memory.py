"""What `calibrate` needs, from the sizes of an acquisition and the settings. Pure.

Torch is not loaded: a scheduler has to be told before there is a plan, by the machine that makes
the graph of jobs. Temporaries that a formula cannot name were measured.
"""

import math
from collections.abc import Sequence

from pipeline.config.calibration import CalibrateSettings, CalibrationSettings
from pipeline.engine.needs import CHUNKS_AT_ONCE, Need, largest
from pipeline.geometry.axes import as_volume
from pipeline.mri.calibration.density_memory import (
    READOUT_BYTES,
    Parts,
    density_phases,
    nufft_library,
    pipe_menon_phases,
)
from pipeline.operators.nufft_memory import nufft_workspace_bytes
from pipeline.storage.acquired import Acquired
from pipeline.storage.blocks import image_chunks
from pipeline.storage.chunks import CHUNK_BYTES

_PROCESS_BYTES = 290 * 10**6
"""The interpreter, its packages, and the pools of their threads."""
_PROCESS_BYTES_WITH_CUDA = 2000 * 10**6
_ALLOCATOR_SHARE = 20
"""Of what a job holds, the part that is lost between arrays."""
_DEVICE_SLACK = 1.1

_READ_BYTES = 64 * 2**20
"""Trajectory or samples that are read together for the centre of k-space."""
_COVARIANCE_BYTES = 64 * 2**20
"""Covariances of coils that are made together, where not a neighbourhood alone is more."""
_REACH = 2
"""Neighbours on either side whose covariances are summed."""
_MAP_BYTES = 2 * 2**20
"""Size of the chunks of coil maps."""
_BORN_BYTES = 4 * 16 * 64 * 8
"""Bytes a measurement at one frequency while models of pairs are compared with the exact sum: its
values for 64 voxels at 8 frequencies, several times."""


def calibrate_memory(
    acquired: Acquired,
    settings: CalibrateSettings,
    *,
    threads: int,
    on_device: bool,
    density: str = "",
) -> Need:
    """Predict the peak memory of `calibrate`.

    Parameters
    ----------
    acquired
        Sizes.
    settings
        What to estimate and how.
    threads
        CPU threads.
    on_device
        Whether a CUDA device computes. It then holds the transforms, and the host the trajectory.
    density
        The method, where it is known; empty takes the one that the settings and the pattern of the
        readouts lead to.

    Returns
    -------
    Need
        Of the phase that needs most.
    """
    if acquired.kind == "rf":
        phases = _rf_phases(acquired, settings, threads, on_device, density)
    else:
        phases = _mri_phases(acquired, settings, threads, on_device, density)
    process = _PROCESS_BYTES_WITH_CUDA if on_device else _PROCESS_BYTES
    host = largest([on_host for on_host, _ in phases])
    host["allocator"] = sum(host.values()) // _ALLOCATOR_SHARE
    device = largest([held for _, held in phases])
    return Need(
        {"process": process, **host},
        {name: int(size * _DEVICE_SLACK) for name, size in device.items()},
    )


def calibrate_advice(acquired: Acquired, settings: CalibrateSettings, need: Need) -> list[str]:
    """Return the settings that would make a calibration smaller, by what is its largest part."""
    parts = {**need.host, **need.device}
    advice = []
    if not acquired.rows and any(name.startswith(("density", "trajectory")) for name in parts):
        advice.append("calibration.density: none")
        if acquired.kind == "mri":
            advice.append("calibration.density: source, with weights in the dataset's arrays")
    if any(name.startswith("Walsh") for name in parts):
        if settings.calibration.calibration_width > 8:
            advice.append("a smaller calibration.calibration_width")
        advice.append("calibration.coil_maps: source, with maps in the dataset's arrays")
    return advice


def density_method(acquired: Acquired, settings: CalibrationSettings) -> str:
    """Return how the density of MRI data will be compensated; see `calibrate`."""
    if settings.density != "auto":
        return settings.density
    return "source" if "weights" in acquired.arrays else _automatic(acquired)


def _automatic(acquired: Acquired) -> str:
    known = acquired.pattern in ("radial", "stack-of-stars")
    return acquired.pattern if known else "pipe-menon"


def _coil_maps(acquired: Acquired, settings: CalibrationSettings) -> str:
    stored = "sensitivities" in acquired.arrays
    if settings.coil_maps != "auto":
        walsh = settings.coil_maps == "walsh" and acquired.coils > 1
        return settings.coil_maps if walsh or settings.coil_maps == "source" else "none"
    return "source" if stored else "walsh" if acquired.coils > 1 else "none"


def _mri_phases(
    acquired: Acquired, settings: CalibrateSettings, threads: int, on_device: bool, density: str
) -> list[tuple[Parts, Parts]]:
    """Return what each phase holds on the host and on the device."""
    method = density or density_method(acquired, settings.calibration)
    maps = _coil_maps(acquired, settings.calibration)
    phases: list[tuple[Parts, Parts]] = [({}, {})]
    if method != "none":
        phases += density_phases(acquired, settings.nufft, method, threads, on_device)
    if maps == "source":
        one = 8 * math.prod(acquired.shape)
        chunks = min(one, CHUNKS_AT_ONCE * CHUNK_BYTES)
        phases.append(({"coil map": one, "chunks of the map": chunks}, {}))
    elif maps == "walsh":
        if method == "none":
            phases += density_phases(
                acquired, settings.nufft, _automatic(acquired), threads, on_device
            )
        phases += _walsh_phases(acquired, settings, method, threads, on_device)
    return phases


def _walsh_phases(
    acquired: Acquired, settings: CalibrateSettings, method: str, threads: int, on_device: bool
) -> list[tuple[Parts, Parts]]:
    """Return what gridding the centre, its covariances, and interpolation need."""
    calibration, nufft = settings.calibration, settings.nufft
    axes, coils = len(acquired.shape), acquired.coils
    grid = tuple(2 * min(calibration.calibration_width, size) + 2 for size in acquired.shape)
    voxels = math.prod(grid)
    images = 8 * coils * voxels

    rows = max(1, _READ_BYTES // (4 * axes * acquired.samples))
    slab = min(rows, acquired.readouts) * acquired.samples
    tile = min(coils, max(1, _READ_BYTES // (8 * slab)))
    # Samples within the centre, as many as spokes have there or twice that.
    spread = 1 if acquired.pattern in ("radial", "stack-of-stars") else 2
    inside = int(slab * min(1.0, spread * calibration.calibration_width / min(acquired.shape)))
    kept = 0
    if method == "none":  # then weights are not stored, but held for one frame after the other
        a_sample = {"radial": 0, "stack-of-stars": 8}.get(_automatic(acquired), 4)
        kept = (a_sample * acquired.samples + READOUT_BYTES) * acquired.readouts
    library = nufft_library(grid, nufft, on_device)
    transform = nufft_workspace_bytes(
        grid,
        inside,
        tile,
        backend=library,
        tolerance=nufft.tolerance,
        itemsize=8,
        threads=threads,
        workers=threads if not on_device else 1,
        oversampling=nufft.oversampling,
    )
    # The trajectory and the taper of the slab before are there until the next ones are.
    several = slab < acquired.readouts * acquired.samples or (
        acquired.own_trajectory and acquired.frames > 1
    )
    tapering = {
        "Walsh: trajectory of the centre": (4 * axes + several * (4 * axes + 8)) * slab,
        "Walsh: taper in double precision": 16 * axes * slab,
        "density: weights held": kept,
    }
    gridding = {
        "Walsh: trajectory of the centre": (4 * axes + 8) * slab + 12 * axes * inside,
        "Walsh: samples": 8 * tile * (slab + 2 * inside) + 24 * inside,
        "density: weights held": kept,
    }
    on_grid = {"Walsh: coil images": images}
    transforming = {"Walsh: transform": transform + 8 * tile * voxels, **on_grid}
    covariances = {
        "Walsh: coil images": 3 * images,
        "Walsh: covariances": _covariances(grid, coils),
    }
    planes = _map_planes(acquired.shape)
    # As interpolated, its squares, and divided by their root; then in chunks as they are written.
    full = 8 * coils * planes * math.prod(as_volume(acquired.shape)[1:])
    chunks = 2 * min(full, CHUNKS_AT_ONCE * _MAP_BYTES)
    writing = {"Walsh: planes of the maps": 3 * full, **on_grid}
    if on_device:
        return [
            (tapering, on_grid),
            (gridding, transforming),
            ({}, covariances),
            ({"Walsh: planes of the maps": full, "chunks of the maps": chunks}, writing),
        ]
    return [
        ({**tapering, **on_grid}, {}),
        ({**gridding, **transforming}, {}),
        (covariances, {}),
        ({**writing, "chunks of the maps": chunks}, {}),
    ]


def _covariances(grid: Sequence[int], coils: int) -> int:
    """Return what the covariances of neighbourhoods need; see `walsh_maps`."""
    depth, *plane = as_volume(grid)
    plane_bytes = 8 * coils**2 * math.prod(plane)
    reach = _REACH if depth > 1 else 0
    together = max(1, _COVARIANCE_BYTES // plane_bytes - 2 * reach)
    parts = min(depth, together + 2 * reach)
    # The covariances, with an edge on both sides of an axis, and their sum.
    edge = max(2 * _REACH / size for size in (parts, *plane) if size > 1)
    return int((3.2 + edge) * parts * plane_bytes)


def _map_planes(shape: Sequence[int]) -> int:
    return image_chunks(as_volume(shape), 8, target_bytes=_MAP_BYTES)[0]


def _rf_phases(
    acquired: Acquired, settings: CalibrateSettings, threads: int, on_device: bool, density: str
) -> list[tuple[Parts, Parts]]:
    """Return what the errors of models need, and the weights of a phase history."""
    if acquired.rows:
        return [({"errors of the models": _BORN_BYTES * math.prod(acquired.rows)}, {})]
    number = acquired.readouts * acquired.samples
    positions = {"antenna positions": 7 * 8 * 3 * acquired.readouts}
    method = density or settings.calibration.density
    if method == "none" or (method == "auto" and len(acquired.shape) > 2):
        return [(positions, {})]
    if method != "pipe-menon":
        return [({**positions, "density: weights": (8 + 5 * 8 + 4) * number}, {})]
    whole = {**positions, "trajectory": 3 * 8 * len(acquired.shape) * number}
    phases = pipe_menon_phases(acquired.shape, number, settings.nufft, threads, on_device)
    if on_device:
        return [(whole, parts) for parts in phases]
    return [({**whole, **parts}, {}) for parts in phases]
