"""Whether RF measurements go with the positions that they are said to be of, and if not, why.

Some measurements are back-projected onto the scene, whatever the reconstruction is going to be, and
then again with the usual mistakes undone one at a time (`pipeline.rf.calibration.mistakes`). Phases
that go with their paths add up in bright places, others by chance. If they add up much better
without a mistake, it is told. The measure, of the brightest places, is the coherence factor [1]_
times the number of measurements: one where phases are random, but for the choice of the brightest.

References
----------
.. [1] K. W. Hollman, K. W. Rigby, M. O'Donnell, "Coherence factor of speckle from a multi-row
   probe", Proc. IEEE Ultrasonics Symposium, 1257-1260 (1999).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.mistakes import NAMED, told
from pipeline.engine.needs import Need
from pipeline.pieces import pieces
from pipeline.rf.arrays import PHASES
from pipeline.rf.calibration.mistakes import Pulses, mistakes
from pipeline.rf.calibration.reference_target import frequencies_together
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES, AntennaPaths
from pipeline.rf.geometry.antennas import Pair, wavenumbers
from pipeline.rf.geometry.phase_history import SubAperture, paths_of_pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.back_projection_costs import COMPILED_BYTES, PAIR_BYTES
from pipeline.rf.model.instruments import CorrectedPairs
from pipeline.rf.model.line_sampling import PAIRS_AT_ONCE, coarse_line_bytes
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import CalibrationArrays
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "consistency"

BETTER = 1.5
"""How many times better phases must add up without a mistake that is told."""
_ALIKE = 0.9
"""Mistakes explain the data alike if phases add up so well without them, of the best."""
_VOXELS, _PROJECTIONS, _FEWEST = 2**15, 2**22, 8
"""Voxels, voxels times pulses that are looked at, and pulses of which something can be said."""
_PAIRS, _BRIGHTEST, _SAMPLES_AT_ONCE = 16, 128, 2**20
_TOLERANCE = 1e-2
_SAMPLE_BYTES = 72
"""Of a measurement that is looked at, and its phase and products in double precision; measured."""


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return ``checked`` or ``none``; see `pipeline.engine.chain.Step`."""
    if raw is not None and (
        raw.scene.range is not None or any(raw.antennas(pair) is None for pair in range(raw.pairs))
    ):
        return NONE
    return "checked" if job.settings.calibration.consistency else NONE


def needs(job: Calibrating) -> list[Need]:
    """Return what drawn measurements need, and their image."""
    acquired = job.acquired
    if job.methods[NAME] == NONE:
        return []
    voxels = _coarse_shape(acquired.shape)
    frequencies = acquired.arrays["frequencies"][0]
    pulses, slab = _most(math.prod(voxels)), _SAMPLES_AT_ONCE
    if acquired.rows:
        rows = math.prod(acquired.rows)
        slab = rows * min(frequencies, frequencies_together(acquired.rows))
        # Of one pair, or of several as many of each.
        several = min(acquired.pairs, _PAIRS)
        pulses = max(count * min(rows, -(-pulses // count)) for count in (1, several))
    else:
        pulses = min(pulses, acquired.readouts)
        slab = min(acquired.readouts * frequencies, max(_SAMPLES_AT_ONCE, frequencies))
    held = {f"{NAME}: measurements": _SAMPLE_BYTES * pulses * frequencies}
    if not acquired.rows:
        held["antenna positions"] = PULSE_BYTES * acquired.readouts
    image = {
        f"{NAME}: lines": 4 * coarse_line_bytes(voxels, frequencies, pulses),
        f"{NAME}: image": 4 * 8 * math.prod(voxels) + PAIR_BYTES * pulses * _BRIGHTEST,
    }
    read = Need({**held, f"{NAME}: as read": 32 * slab})
    if job.on_device:
        return [read, Need(held, {**image, f"{NAME}: loops": PAIRS_AT_ONCE * PAIR_BYTES})]
    return [read, Need({**held, **image, f"{NAME}: loops": COMPILED_BYTES})]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return the setting that does without, where it needs most."""
    names = (*need.host, *need.device)
    return ["calibration.consistency: false"] * any(name.startswith(NAME) for name in names)


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Say how well phases add up, and warn if it is much better without a usual mistake."""
    with receipt.phase(NAME):
        found, warning = judged(drawn(raw, CalibrationArrays(group, raw.marker)), job)
    if warning is not None:
        receipt.warn(warning)
    return {NAME: found}


def judged(pulses: Pulses, job: Calibrating) -> tuple[dict[str, Any], str | None]:
    """Return what is to be recorded, and a warning where phases add up better without a mistake."""
    if len(pulses.paths) < _FEWEST or not np.any(pulses.y):
        return {}, None
    whole, outside = coherence(pulses, job), _outside(pulses)
    tried = {
        mistake: coherence(without, job)
        for mistake in mistakes(pulses, job.dataset)
        if _outside(without := mistake.undone(pulses)) >= outside
    }
    found: dict[str, Any] = {
        "coherence": round(whole, 3),
        "tried": {mistake.name: round(one, 3) for mistake, one in tried.items()},
    }
    most = max(tried.values(), default=0.0)
    if most < BETTER * whole:
        return found, None
    likely = [mistake for mistake, one in tried.items() if one >= _ALIKE * most][:NAMED]
    found["mistakes"] = [mistake.name for mistake in likely]
    return found, (
        f"{job.dataset}: measurements and positions do not go together: phases add up "
        f"{most / whole:.1f} times as well without a usual mistake; {told(likely)}"
    )


def coherence(pulses: Pulses, job: Calibrating) -> float:
    """Return how many times stronger the brightest voxels are than if phases were by chance.

    ``sum |b|^4 / sum |b|^2 sum_p |B_p|^2`` over them, with ``b = sum_p B_p`` of what pulses add.
    """
    import torch

    from pipeline.rf.model.back_projection import BackProjection

    measured = np.conj(_whole(pulses).weights()) * pulses.y
    data = torch.from_numpy(measured.astype(np.complex64)).to(job.device)
    operator = BackProjection(
        pulses.scene,
        pulses.paths,
        pulses.k,
        tolerance=_TOLERANCE,
        factorised=False,  # of pulses that are no neighbours
        device=job.device,
        threads=job.threads,
    )
    power = operator.adjoint(data).abs().flatten()
    brightest = power.topk(min(_BRIGHTEST, len(power))).indices.cpu().numpy()
    added = operator.contributions(data, brightest).to(torch.complex128)
    together, apart = added.sum(0).abs().square(), added.abs().square().sum(0)
    return float(together.square().sum() / (together * apart).sum())


def _outside(pulses: Pulses) -> bool:
    """Tell whether all antennas stand outside the ball that holds the scene."""
    scene = pulses.scene
    radius = math.hypot(*(np.abs(scene.offsets(axis)).max() for axis in range(len(scene.shape))))
    return all(
        float(np.linalg.norm(antennas - scene.centre, axis=1).min()) > radius
        for antennas in (pulses.paths.transmitter, pulses.paths.receiver)
    )


def _whole(pulses: Pulses) -> SubAperture:
    every = slice(0, len(pulses.paths))
    return SubAperture(pulses.scene, pulses.paths, pulses.k, every, slice(None))


def _stride(shape: Sequence[int]) -> int:
    """Return of how many voxels along each axis one is looked at."""
    stride = 1
    while math.prod(-(-size // stride) for size in shape) > _VOXELS:
        stride += 1
    return stride


def _coarse_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-size // _stride(shape)) for size in shape)


def _most(voxels: int) -> int:
    """Return how many pulses are looked at, of an image of so many voxels."""
    return min(512, max(128, _PROJECTIONS // voxels))


def drawn(raw: RfRawData, calibration: CalibrationArrays) -> Pulses:
    """Draw measurements of the first frame, and as many of their frequencies as voxels resolve."""
    stride = _stride(raw.shape)
    coarse = replace(
        raw.scene,
        shape=_coarse_shape(raw.shape),
        spacing=tuple(stride * step for step in raw.scene.spacing),
    )
    read = _drawn_of_pairs if raw.pairs else _drawn_pulses
    found = read(raw, calibration, coarse, _most(coarse.voxels))
    if stride == 1:
        return found
    # What coarser voxels do not resolve would be taken for something else.
    whole = _whole(found)
    gradients = found.paths.gradients(coarse.centre)[:, None, : len(coarse.shape)]
    turns = whole.wavenumbers()[..., None] * gradients * coarse.spacing
    resolved = np.all(np.abs(turns - turns.mean((0, 1))) <= np.pi, axis=-1)
    return replace(found, y=np.where(resolved, found.y, 0))


def _drawn_of_pairs(
    raw: RfRawData, calibration: CalibrationArrays, scene: Scene, most: int
) -> Pulses:
    corrected, draw = CorrectedPairs(raw, calibration), np.random.default_rng(0)
    coherent = raw.coherent or "phase" in calibration.arrays
    pairs = np.unique(np.linspace(0, raw.pairs - 1, _PAIRS if coherent else 1).astype(int))
    parts: list[tuple[AntennaPaths, AntennaPaths, NDArray[np.complex64]]] = []
    for pair in map(int, pairs):
        antennas, shape = raw.antennas(pair), raw.measurement_shape(pair)
        assert antennas is not None  # `method` has looked
        rows = math.prod(shape)
        some = np.sort(draw.permutation(rows)[: -(-most // len(pairs))])
        y = np.concatenate(
            [
                corrected.measurements(0, pair, band).reshape(-1, rows)[:, some]
                for band in pieces(len(raw.frequencies), frequencies_together(shape))
            ]
        ).T
        weights = raw.weights(pair)
        reference = 0.0
        if weights is not None:  # their phase is that of the way from centre to centre
            reference = sum(float(np.linalg.norm(scene.centre - one)) for one in antennas.centres)
            y = y * np.exp(-1j * np.angle(weights))
        y /= max(float(np.linalg.norm(y)), float(np.finfo(np.float32).tiny))  # pairs count alike
        way = np.full(len(some), reference)
        own, other = (
            replace(paths_of_pair(each)[some], reference_path=way)
            for each in (antennas, _exchanged(antennas))
        )
        parts.append((own, other, y))
    return Pulses(
        scene,
        AntennaPaths.joined([own for own, _, _ in parts]),
        wavenumbers(raw.frequencies, scene.speed),
        np.concatenate([y for _, _, y in parts]),
        AntennaPaths.joined([other for _, other, _ in parts]),
    )


def _exchanged(pair: Pair) -> Pair:
    """Return a pair with its arrays exchanged, or as it is where they differ in size."""
    if len(pair.tx) != len(pair.rx):
        return pair
    return replace(pair, tx=pair.rx, rx=pair.tx)


def _drawn_pulses(
    raw: RfRawData, calibration: CalibrationArrays, scene: Scene, most: int
) -> Pulses:
    half = np.random.default_rng(0).permutation(raw.pulses // 2)[: most // 2]
    # For each pulse the one that it would be if their order were reversed.
    some = np.sort(np.concatenate([half, raw.pulses - 1 - half]))
    phases, parts = calibration.array(PHASES), []
    for slab in pieces(raw.pulses, max(1, _SAMPLES_AT_ONCE // len(raw.frequencies))):
        own = some[(some >= slab.start) & (some < slab.stop)]
        if len(own):
            y = raw.pulse_measurements(0, slab)[own - slab.start]
            turn = 1 if phases is None else np.exp(-1j * phases[0, own, None])
            parts.append((y * turn).astype(np.complex64))
    y = np.concatenate(parts) if parts else np.zeros((0, len(raw.frequencies)), np.complex64)
    return Pulses(scene, raw.paths(0)[some], wavenumbers(raw.frequencies, scene.speed), y)
