"""Autofocus of phase histories: a phase of each pulse that brings the image into focus.

What each pulse adds to some voxels, ``B_p(x)``, is kept; what phases are made of it stands in
`pipeline.rf.calibration.pulse_phases`. The voxels are those about the brightest places of the sum
of ``|B_p|^4``, which phases do not change.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.progress import track
from pipeline.rf.arrays import PHASES
from pipeline.rf.calibration.pulse_phases import METHODS, SWEEPS
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES
from pipeline.rf.geometry.phase_history import whole_aperture
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.line_sampling import coarse_line_bytes
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
_TOLERANCE = 1e-2
_PULSE_SAMPLE, _PATH, _PATHS_AT_ONCE = 32, 56, 2**20
"""Bytes of a sample as it is held; of a voxel and pulse, so many of which `BackProjection` has in
work at once. Measured."""


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return what the setting says; see `pipeline.engine.chain.Step`."""
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
    looked_at = pulses * _count(pulses)
    held = {
        "antenna positions": PULSE_BYTES * pulses,
        "autofocus: pulses": _PULSE_SAMPLE * pulses * frequencies,
        "autofocus: contributions": 8 * looked_at,
    }
    found = {
        "autofocus: lines": 2 * coarse_line_bytes(job.acquired.shape, frequencies, pulses),
        "autofocus: paths": _PATH * min(looked_at, _PATHS_AT_ONCE),
    }
    return [Need({**held, **found}), Need({**held, "autofocus: in focus": 8 * looked_at})]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that would make it need no memory."""
    return ["calibration.autofocus: none"] * any(name.startswith(NAME) for name in need.host)


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write the phases of all pulses of each frame."""
    if job.methods[NAME] == NONE:
        return {}
    find = METHODS[job.methods[NAME]]
    phases = np.empty((raw.frames, raw.pulses))
    changes = []
    with (
        receipt.phase(NAME),
        track(f"{job.dataset}: autofocus", raw.frames * SWEEPS) as advance,
    ):
        for frame in range(raw.frames):
            contributions = _contributions(raw, frame, job.threads)
            phases[frame], change = find(contributions, advance)
            changes.append(change)
    store_array(group, PHASES, phases, ("frame", "pulse"))
    return {NAME: {"last_change_rad": changes}}


def _contributions(raw: RfRawData, frame: int, threads: int) -> NDArray[np.complexfloating]:
    """Return what each pulse adds to the voxels that are looked at, ``[pulse, voxel]``."""
    import torch

    from pipeline.rf.model.back_projection import BackProjection

    aperture = whole_aperture(raw.scene, raw.paths(frame), raw.frequencies)
    measured = np.conj(aperture.weights()) * raw.pulse_measurements(frame)
    data = torch.from_numpy(measured.astype(np.complex64))
    operator = BackProjection(
        raw.scene,
        aperture.paths,
        aperture.k,
        tolerance=_TOLERANCE,
        path_loss=raw.path_loss,
        pattern=raw.pattern,
        factorised=False,  # contributions are of each pulse
        threads=threads,
    )
    lattice = _lattice(raw.scene)
    power = np.zeros(len(lattice))
    step = _count(raw.pulses)
    for start in range(0, len(lattice), step):
        some = operator.contributions(data, lattice[start : start + step]).numpy()
        power[start : start + step] = np.sum(np.abs(some) ** 4, axis=0)
        del some  # before the next ones
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
