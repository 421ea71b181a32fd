"""Autofocus of phase histories: the phase of each pulse that makes the image sharpest [1]_.

What each pulse adds to some voxels, ``B_p(x)``, is kept, and the sum of ``|sum_p exp(-j phi_p)
B_p(x)|^4`` is raised pulse by pulse: as a function of one phase it is a constant and two harmonics,
whose maximum is found to rounding. The voxels are those about the brightest places of the sum of
``|B_p|^4``, which phases do not change. A linear trend of phases moves the image and sharpens
nothing, so a shift across range may remain.

References
----------
.. [1] J. N. Ash, "An autofocus method for backprojection imagery in synthetic aperture radar", IEEE
   Geosci. Remote Sens. Lett. 9, 104-108 (2012).
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.progress import track
from pipeline.rf.arrays import PHASES
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES
from pipeline.rf.geometry.phase_history import whole_aperture
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import store_array
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "autofocus"

_VOXELS = 4096
_KEPT_BYTES = 2**28
_LATTICE = 4
"""Every so many voxels are looked at along each axis, to find bright places."""
_SWEEPS = 20
_STILL = 0.01
"""Change of all phases below which they have converged [rad]."""
_TOLERANCE = 1e-2
_PATHS_BYTES, _LINES_BYTES = 170 * 10**6, 280 * 10**6
"""Of those voxels and pulses, and of the lines, that `BackProjection` works on together."""


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return ``sharpness`` or ``none``; see `pipeline.engine.chain.Step`."""
    wanted = job.settings.calibration.autofocus
    if wanted != NONE and job.acquired.rows:
        raise DataError(
            f"{job.dataset}: calibration.autofocus is {wanted}, but it is for phase histories; set "
            "it to none, and `fusion: phase-aligned` where phases of pairs are unknown"
        )
    return wanted


def needs(job: Calibrating) -> list[Need]:
    """Return what the pulses of a frame and their contributions need."""
    if job.methods[NAME] == NONE:
        return []
    pulses, frequencies = job.acquired.readouts, job.acquired.samples
    return [
        Need(
            {
                "antenna positions": PULSE_BYTES * pulses,
                "autofocus: pulses": 48 * pulses * frequencies,
                "autofocus: lines": min(4 * 8 * 16 * pulses * frequencies, _LINES_BYTES),
                "autofocus: contributions": 3 * 8 * pulses * _count(pulses),
                "autofocus: paths": _PATHS_BYTES,
            }
        )
    ]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that would make it need no memory."""
    return ["calibration.autofocus: none"] * any(name.startswith(NAME) for name in need.host)


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the phases of all pulses of each frame."""
    if job.methods[NAME] == NONE:
        return {}
    phases = np.empty((raw.frames, raw.pulses))
    changes = []
    with (
        receipt.phase(NAME),
        track(f"{job.dataset}: autofocus", raw.frames * _SWEEPS) as advance,
    ):
        for frame in range(raw.frames):
            contributions = _contributions(raw, frame, job.threads)
            phases[frame], change = sharpest_phases(contributions, advance)
            changes.append(change)
    store_array(group, PHASES, phases, ("frame", "pulse"))
    return {NAME: {"last_change_rad": changes}}


def sharpest_phases(
    contributions: NDArray[np.complexfloating], advance: Any = lambda done: None
) -> tuple[NDArray[np.float64], float]:
    """Return the phases that make the sum of contributions sharpest, and their last change.

    Of contributions ``[pulse, voxel]`` float64 ``[pulse]`` [rad].
    """
    phases = np.zeros(len(contributions))
    image = contributions.sum(0).astype(np.complex128)
    angles = np.linspace(-np.pi, np.pi, 64, endpoint=False)
    change = math.inf
    for sweep in range(_SWEEPS):
        change = 0.0
        for pulse, own in enumerate(contributions):
            others = image - np.exp(-1j * phases[pulse]) * own
            cross = np.conj(others) * own
            first = 4 * np.sum((np.abs(others) ** 2 + np.abs(own) ** 2) * cross)
            second = 2 * np.sum(cross**2)
            value = np.real(first * np.exp(-1j * angles) + second * np.exp(-2j * angles))
            best = float(angles[value.argmax()])
            for _ in range(4):  # Newton's method, from the best of 64 angles
                once, twice = first * np.exp(-1j * best), second * np.exp(-2j * best)
                curvature = float(np.real(-once - 4 * twice))
                if curvature >= 0:
                    break
                best -= float(np.real(-1j * (once + 2 * twice))) / curvature
            change = max(change, abs(float(np.angle(np.exp(1j * (best - phases[pulse]))))))
            phases[pulse] = best
            image = others + np.exp(-1j * best) * own
        advance(1)
        if change < _STILL:
            advance(_SWEEPS - 1 - sweep)
            break
    return phases, change


def _contributions(raw: RfRawData, frame: int, threads: int) -> NDArray[np.complexfloating]:
    """Return what each pulse adds to the voxels that are looked at, ``[pulse, voxel]``."""
    import torch

    from pipeline.rf.model.back_projection import BackProjection

    aperture = whole_aperture(raw.scene, raw.paths(frame), raw.frequencies)
    measured = np.conj(aperture.weights()) * raw.pulse_measurements(frame)
    data = torch.from_numpy(measured.astype(np.complex64))
    operator = BackProjection(
        raw.scene, aperture.paths, aperture.k, tolerance=_TOLERANCE, threads=threads
    )
    lattice = _lattice(raw.scene)
    power = np.zeros(len(lattice))
    step = _count(raw.pulses)
    for start in range(0, len(lattice), step):
        some = operator.contributions(data, lattice[start : start + step]).numpy()
        power[start : start + step] = np.sum(np.abs(some) ** 4, axis=0)
    chosen = _about(raw.scene, lattice[np.argsort(-power)], _count(raw.pulses))
    return operator.contributions(data, chosen).numpy()


def _count(pulses: int) -> int:
    """Return how many voxels are looked at."""
    return max(64, min(_VOXELS, _KEPT_BYTES // (8 * pulses)))


def _lattice(scene: Scene) -> NDArray[np.intp]:
    """Return every fourth voxel along each axis, as flat indices."""
    axes = np.meshgrid(*(np.arange(0, size, _LATTICE) for size in scene.shape), indexing="ij")
    return np.asarray(np.ravel_multi_index([axis.ravel() for axis in axes], scene.shape))


def _about(scene: Scene, centres: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return the voxels about the first of these centres, at most so many, as flat indices."""
    offsets = np.indices((3 * _LATTICE,) * len(scene.shape)).reshape(len(scene.shape), -1)
    chosen: NDArray[np.intp] = np.empty(0, np.intp)
    for centre in centres:
        corner = np.array(np.unravel_index(centre, scene.shape))[:, None] - 3 * _LATTICE // 2
        voxels = corner + offsets
        inside = ((voxels >= 0) & (voxels < np.array(scene.shape)[:, None])).all(axis=0)
        flat = np.ravel_multi_index(tuple(voxels[:, inside]), scene.shape)
        grown = np.union1d(chosen, flat)
        if len(grown) > most:
            break
        chosen = grown
    return chosen if len(chosen) else centres[:most]
