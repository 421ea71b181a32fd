"""How far models of the wavefronts are from the exact sum, measured at random voxels.

Torch is imported when they are measured: their memory is predicted where it need not be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.engine.chain import Calibrating
from pipeline.engine.needs import Need
from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import PULSE_BYTES
from pipeline.rf.geometry.antennas import Pair, checked_frequencies, checked_spectrum
from pipeline.rf.geometry.pair_model import LEVELS, Level, check_level, pair_model
from pipeline.rf.geometry.phase_history import whole_aperture
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.sub_arrays import WHOLE, model_name, model_of, sub_pairs
from pipeline.rf.raw import RfRawData
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr

NAME = "model_errors"

SMALLEST_SAMPLE = 64
_FREQUENCIES = 8
_PAIRS = 16
_SPLIT: tuple[Level, ...] = ("W", "W+D(fc)", "W+D")
"""Models that may be better of arrays in parts. Plane waves may where elements see the third axis
of a scene under angles of their own, as it has a single row."""
_FINE, _GAIN, _MOST_PARTS = 0.01, 0.95, 64
"""Error that is not made smaller; what halving an array must leave of it; parts at most."""

_BORN_BYTES = 4 * 16 * SMALLEST_SAMPLE * _FREQUENCIES
"""Bytes a measurement at one frequency while models are compared with the exact sum: its values for
all sampled voxels and frequencies, several times."""


@dataclass(frozen=True)
class ModelError:
    """Error of a model against the first Born sum, phase and amplitude.

    ``|y_model - y_exact| / |y_exact|``, expected for uncorrelated scatterers at the sampled voxels.
    """

    relative: float
    pairs: tuple[float, ...]  # the same for each pair that was sampled
    sampled: tuple[int, ...]  # which pairs these are


def model_errors(
    scene: Scene,
    pairs: Sequence[Pair],
    frequencies: ArrayLike,
    models: Sequence[str] = LEVELS,
    *,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
    voxels: int = SMALLEST_SAMPLE,
    seed: int = 0,
) -> dict[str, ModelError]:
    """Measure the errors of models, by name, against one exact sum, at random voxels.

    Of those that fit the scene and all pairs that were sampled: at most 16 pairs and 8
    frequencies are, the ends of both among them; none is left out where there are fewer. At 64
    voxels or more, drawn with replacement; `DataError` for fewer. The rest is as of
    `pipeline.rf.geometry.pair_model.pair_model`.
    """
    import torch

    from pipeline.rf.model.born import Born

    if voxels < SMALLEST_SAMPLE:
        raise DataError(
            f"model error: {voxels} voxels are too few to judge a model; draw {SMALLEST_SAMPLE} "
            "or more."
        )
    band = checked_frequencies(frequencies)
    response = np.ones(band.size) if spectrum is None else checked_spectrum(spectrum, band.size)
    drawn = np.random.default_rng(seed).integers(scene.voxels, size=voxels)
    chosen = _spread(len(pairs), _PAIRS)
    some = _spread(band.size, _FREQUENCIES)
    fitting = [name for name in models if all(_fits(scene, pairs[i], name) for i in chosen)]
    errors: dict[str, list[float]] = {name: [] for name in fitting}
    energies: list[float] = []
    for index in chosen:
        exact = Born(
            scene.positions(drawn),
            [pairs[index]],
            band[some],
            spectrum=response[some],
            born_k2=born_k2,
            dimensions=dimensions,
            speed=scene.speed,
        )
        truth = exact(torch.eye(voxels, dtype=torch.complex128))[:, 0].numpy()
        energies.append(float(np.sum(np.abs(truth) ** 2)))
        for name in fitting:
            level, cut = model_of(name)
            wrong = 0.0
            for part in sub_pairs(pairs[index], cut):
                model = pair_model(
                    scene,
                    part.pair,
                    band,
                    level,  # type: ignore[arg-type]  # it fits
                    spectrum=response,
                    born_k2=born_k2,
                    dimensions=dimensions,
                )
                found = np.moveaxis(model.band(some).columns(drawn), -1, 0)
                found -= truth[:, :, part.rows[0][:, None], part.rows[1]]
                wrong += float(np.linalg.norm(found)) ** 2
                del found  # before the next one
            errors[name].append(wrong)
    return {
        name: ModelError(
            relative=math.sqrt(sum(errors[name]) / sum(energies)),
            pairs=tuple(math.sqrt(e / a) for e, a in zip(errors[name], energies, strict=True)),
            sampled=tuple(int(index) for index in chosen),
        )
        for name in fitting
    }


def _models_in_parts(scene: Scene, pairs: Sequence[Pair], frequencies: ArrayLike) -> list[str]:
    """Return names of models of pairs in ever more parts, as far as that helps.

    Transmitters or receivers are halved, whichever makes the pair better whose error is largest,
    until its model is good; a level stops where halving gains little.
    """
    names: list[str] = []
    for level in _SPLIT:
        if not (found := model_errors(scene, pairs, frequencies, [level])):
            continue
        worst = max(zip(found[level].pairs, found[level].sampled, strict=True))
        error, pair, cut = worst[0], pairs[worst[1]], WHOLE
        while error > _FINE and cut.parts < _MOST_PARTS:
            halved = (
                cut._replace(**{name: 2 * parts})
                for name, parts in cut._asdict().items()
                if 2 * parts <= len(getattr(pair, name))
            )
            finer = [model_name(level, each) for each in halved]
            tried = model_errors(scene, [pair], frequencies, finer)
            best = min(tried, key=lambda name: tried[name].relative, default=None)
            if best is None or tried[best].relative > _GAIN * error:
                break
            names.append(best)
            error, cut = tried[best].relative, model_of(best)[1]
    return names


def _fits(scene: Scene, pair: Pair, name: str) -> bool:
    """Tell whether a model can have this scene and pair."""
    try:
        check_level(scene, pair, model_of(name)[0])  # type: ignore[arg-type]
    except DataError:
        return False
    return True


def _spread(size: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` indices below `size`, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.intp))


def method(job: Calibrating, raw: RfRawData | None = None) -> str:
    """Return ``measured``: errors are known of all data; see `pipeline.engine.chain.Step`."""
    return "measured"


def needs(job: Calibrating) -> list[Need]:
    """Return what the exact sum needs, or of a phase history its antenna positions."""
    if job.acquired.rows:
        return [Need({"errors of the models": _BORN_BYTES * math.prod(job.acquired.rows)})]
    return [Need({"antenna positions": PULSE_BYTES * job.acquired.readouts})]


def advice(job: Calibrating, need: Need) -> list[str]:
    """Return nothing: no setting makes it smaller."""
    return []


def run(raw: RfRawData, group: "zarr.Group", job: Calibrating, receipt: Receipt) -> dict[str, Any]:
    """Return the errors, for the record: no array is written."""
    with receipt.phase("model_error"):
        errors = _pair_errors(raw, job.dataset) if raw.pairs else _aperture_errors(raw)
    if not all(map(math.isfinite, errors.values())):
        raise DataError(
            f"{job.dataset}: an antenna stands in the scene, where its field has no limit; correct "
            "its position, or move the scene"
        )
    return {NAME: errors}


def _aperture_errors(data: RfRawData) -> dict[str, float]:
    """Return the errors of a phase history as a single aperture."""
    aperture = whole_aperture(data.scene, data.paths(0), data.frequencies)
    voxels = np.random.default_rng(0).integers(data.scene.voxels, size=SMALLEST_SAMPLE)
    return {
        "W": aperture.curvature_error(voxels, voxel_phase=False),
        "W+D(fc)": aperture.curvature_error(voxels),
    }


def _pair_errors(data: RfRawData, dataset: str) -> dict[str, float]:
    """Return the errors of each model of pairs, against the exact Born sum.

    Pairs without positions can only be modelled as they are stored, with the error that is known.
    """
    pairs = range(data.pairs)
    antennas = [data.antennas(pair) for pair in pairs]
    known = [pair for pair in antennas if pair is not None]
    errors: dict[str, float] = {}
    if data.model_error is not None:
        errors["stored"] = data.model_error
    if len(known) == len(antennas):
        models = [*LEVELS, *_models_in_parts(data.scene, known, data.frequencies)]
        measured = model_errors(data.scene, known, data.frequencies, models)
        return {name: error.relative for name, error in measured.items()} | errors
    lacking = [
        pair for pair in pairs if not (data.has_factors(pair) or data.has_wave_vectors(pair))
    ]
    if lacking:
        raise DataError(
            f"{dataset}: pair {lacking[0]} and {len(lacking) - 1} others can have no model; store "
            "`tx` and `rx` of each pair, or its factors or wave vectors"
        )
    return errors
