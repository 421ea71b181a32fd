"""What instruments add to pairs or pulses: given, or told by a reference target.

Nothing is taken away here: what is found is applied whenever measurements are read; see
`pipeline.rf.model.instruments`.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.calibration import InstrumentSettings
from pipeline.engine.chain import NONE, Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import ConfigError
from pipeline.progress import track
from pipeline.rf.arrays import CLOCKS, GAINS, PHASES
from pipeline.rf.calibration.reference_target import SAMPLE_BYTES, SeenTarget, frequencies_together
from pipeline.rf.calibration.target_phases import SAMPLE_BYTES as PULSE_SAMPLE_BYTES
from pipeline.rf.calibration.target_phases import samples_at_once, target_phases
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES
from pipeline.rf.model.instruments import PairCorrection
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import store_array
from pipeline.storage.chunks import CHUNK_BYTES, CHUNKS_AT_ONCE
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "instruments"
TARGET = "reference target"
"""The method that also makes phases of pairs comparable."""


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return ``given``, ``reference target`` or ``as measured``; of pulses the second or none."""
    who, chosen = job.dataset, job.settings.instruments or InstrumentSettings()
    if not job.acquired.rows:
        return _method_of_pulses(job, chosen)
    given = dict(chosen.pair_correction or ())
    known = [name for name in CLOCKS if name in job.acquired.arrays or given.get(name) is not None]
    if raw is not None:
        own = [raw.gains(pair) for pair in range(raw.pairs)]
        known += [name for name in GAINS if any(name in gains for gains in own)]
    if chosen.reference_target is None:
        return "given" if known else "as measured"
    if known:
        raise ConfigError(
            f"{who}: sources.{who} has a reference_target, but corrections are known "
            f"({', '.join(known)}); leave one of them out"
        )
    return TARGET


def _method_of_pulses(job: Calibrating, chosen: InstrumentSettings) -> str:
    """Return ``reference target`` or none, as the settings of a phase history say."""
    who, target = job.dataset, chosen.reference_target
    names = ("coherent", "pair_correction")
    of_pairs = [name for name in names if getattr(chosen, name) is not None]
    if target is not None:
        alone = type(target)(position=target.position)
        of_pairs += [
            f"reference_target.{name}" for name, value in target if value != getattr(alone, name)
        ]
    if of_pairs:
        raise ConfigError(
            f"{who}: sources.{who}.{of_pairs[0]} is for pairs of antenna arrays, but this is "
            "a phase history; leave it out"
        )
    if target is None and "y_target" in job.acquired.arrays:
        raise ConfigError(
            f"{who}: the data have `y_target`, but nothing says where that target is; give "
            f"sources.{who}.reference_target.position, or leave `y_target` out"
        )
    if target is not None and job.settings.calibration.autofocus != NONE:
        raise ConfigError(
            f"{who}: the phases of pulses are to be found by sources.{who}.reference_target and by "
            "calibration.autofocus; leave one of them out"
        )
    return NONE if target is None else "reference target"


def needs(job: Calibrating) -> list[Need]:
    """Return what looking for a reference target needs; what is given is small."""
    acquired = job.acquired
    if job.methods[NAME] != TARGET:
        return []
    if not acquired.rows:
        together = samples_at_once(acquired.readouts, acquired.samples)
        held = {"antenna positions": PULSE_BYTES * acquired.readouts}
        return [Need({**held, "reference target": PULSE_SAMPLE_BYTES * together})]
    together = min(frequencies_together(acquired.rows), acquired.arrays["frequencies"][0])
    samples = together * math.prod(acquired.rows)
    chunks = min(8 * samples, CHUNKS_AT_ONCE * CHUNK_BYTES)
    return [Need({"reference target": SAMPLE_BYTES * samples, "chunks as read": chunks})]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return nothing: no setting makes it smaller."""
    return []


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Write phases and delays of all pairs and gains of their elements; or phases of pulses."""
    chosen = job.settings.instruments or InstrumentSettings()
    if not raw.pairs:
        assert chosen.reference_target is not None  # `method`
        with receipt.phase("instruments"):
            phases, coherence = target_phases(raw, chosen.reference_target.position, job.dataset)
        store_array(group, PHASES, phases, ("frame", "pulse"))
        return {"coherence": coherence}
    found = {"coherent": raw.coherent if chosen.coherent is None else chosen.coherent}
    if job.methods[NAME] == "as measured":
        return found
    with receipt.phase("instruments"):
        if chosen.reference_target is None:
            corrections = _given(raw, chosen, job.dataset)
            seen: list[dict[str, float]] = [{} for _ in corrections]
        else:
            found["coherent"] = True
            corrections, seen = [], []
            with track(f"{job.dataset}: reference target", raw.pairs) as advance:
                for pair in range(raw.pairs):
                    target = SeenTarget(raw, pair, chosen.reference_target, job.dataset)
                    correction, record = target.correction()
                    corrections.append(correction)
                    seen.append(record)
                    advance()
        store_array(
            group, "phase", np.stack([each.phase for each in corrections], 1), ("frame", "pair")
        )
        store_array(group, "delay", np.array([each.delay for each in corrections]), ("pair",))
        for pair, each in enumerate(corrections):
            for name in GAINS:
                gains = getattr(each, name)
                if gains is not None:
                    store_array(group, f"pair/{pair}/{name}", gains, ("element",))
    pairs = [each.record() | more for each, more in zip(corrections, seen, strict=True)]
    return {**found, "corrections": pairs}


def _given(raw: RfRawData, chosen: InstrumentSettings, who: str) -> list[PairCorrection]:
    """Return what source and settings say; the settings go before, and nothing said is zero."""
    given, count = dict(chosen.pair_correction or ()), raw.pairs
    clocks: list[NDArray[np.float64]] = []
    for name, shape in (("phase", (raw.frames, count)), ("delay", (count,))):
        values = getattr(raw, name)()
        if given.get(name) is not None:
            values = np.asarray(given[name])
            if len(values) != count:
                raise ConfigError(
                    f"{who}: sources.{who}.pair_correction.{name} has {len(values)} values, but "
                    f"there are {count} pairs; give one each"
                )
        values = np.zeros(1) if values is None else values
        clocks.append(np.array(np.broadcast_to(values, shape), np.float64))
    phase, delay = clocks
    return [
        PairCorrection(phase=phase[:, pair], delay=float(delay[pair]), **raw.gains(pair))
        for pair in range(count)
    ]
