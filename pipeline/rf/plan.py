"""The RF forward models as a plan sees them, of stored data or of data that need not exist."""

import math
from collections.abc import Sequence
from dataclasses import replace

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.work import ModelCosts
from pipeline.errors import ConfigError
from pipeline.rf.combinations import PLANE_WAVES, require_possible
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.sub_arrays import WHOLE, model_of, sub_pairs
from pipeline.rf.model.back_projection_costs import LEAST_TOLERANCE, BackProjectionCosts
from pipeline.rf.model.pair_choice import PairAcquisition, choose_pair_model, decibels
from pipeline.rf.model.phased_slabs import evenly_spaced
from pipeline.rf.model.pulse_choice import pulse_models
from pipeline.rf.model.scene_tiles import reach
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration


def imagined(
    shape: tuple[int, ...], frames: int, *, pairs: int, frequencies: int, rows: tuple[int, ...]
) -> PairAcquisition:
    """Return pairs that need not exist, each of ``rows`` measurements along the axes."""
    if len(rows) != len(shape):
        raise ConfigError(
            f"estimate: found `--rows` {rows} for an image of {len(shape)} axes; give the "
            "measurements of a pair along each, such as 32x16"
        )
    return PairAcquisition(shape, rows, pairs, frequencies, frames)


def models(
    data: RfRawData | PairAcquisition,
    calibration: Calibration | None,
    settings: AlgorithmSettings,
    machine: Machine,
    rates: Rates,
    who: str,
) -> tuple[Sequence[ModelCosts], Sequence[str]]:
    """Return the ways to run the model, the fastest first; see `pipeline.engine.request.Models`.

    Refused is what `require_possible` and `choose_pair_model` refuse.
    """
    exact_only = False
    if isinstance(data, RfRawData):
        coherent = data.coherent if calibration is None else calibration.coherent
        exact_only = data.exact_only
        require_possible(settings, who, pairs=data.pairs, coherent=coherent, exact_only=exact_only)
        if not data.pairs:
            return pulse_models(data, calibration, settings, machine, who)
        data = _pair_acquisition(data, calibration, machine.nufft.tolerance)
    # Plane waves are taken to serve where nobody has measured by how much they err.
    errors: dict[str, float] = {"W": 0.0, "W+D(fc)": 0.0}
    if calibration is not None:
        errors = dict(calibration.model_errors)
        fine = machine.nufft.tolerance >= LEAST_TOLERANCE or settings.model == "exact"
        if data.projection is not None and fine:
            errors["exact"] = data.projection.sampling.error
    if exact_only:
        assert data.projection is not None  # ingest takes no `antenna` without positions
        errors = {"exact": data.projection.sampling.error}
    if settings.single_kernel:
        errors = {level: error for level, error in errors.items() if level in PLANE_WAVES}
    unmeasured = calibration is None and settings.model == "auto"
    choice = choose_pair_model(
        errors,
        data,
        model="exact" if exact_only else "W" if unmeasured else settings.model,
        normal="toeplitz" if settings.single_kernel else settings.normal,
        coherent=settings.fusion == "coherent",
        force=settings.force_model or calibration is None,
        allowed_error=settings.model_error,
        applications=settings.applications,
        rates=rates,
        who=who,
    )
    ways = [replace(way, resident=stays) for way in choice.costs for stays in (True, False)]
    forms = "; ".join(
        f"{way.form} {way.product_seconds(data.shape, rates) * 1e3:.3g} ms, "
        f"{way.setup_seconds(data.shape, rates):.2g} s to make"
        for way in choice.costs
    )
    error = "" if choice.error is None else f", {decibels(choice.error):.1f} dB from the exact sum"
    chosen = f"{who}: model {choice.model}{error}; normal operator, predicted: {forms}"
    return ways, [*([choice.warning] if choice.warning else []), chosen]


def _pair_acquisition(
    data: RfRawData, calibration: Calibration | None, tolerance: float
) -> PairAcquisition:
    """Return the sizes of the largest pair, and what came with the data of all pairs."""
    pairs = range(data.pairs)
    antennas = [data.antennas(pair) for pair in pairs]
    known = data.scene.range is None and all(each is not None for each in antennas)
    sizes = [data.measurement_shape(pair) for pair in pairs]
    errors = {} if calibration is None else calibration.model_errors
    of_parts = {
        cut: [
            part.pair.measurement_shape for one in antennas if one for part in sub_pairs(one, cut)
        ]
        for cut in {model_of(name)[1] for name in errors} - {WHOLE}
    }

    def largest(sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(max((*size, 1)[axis] for size in sizes) for axis in range(len(data.shape)))

    k = wavenumbers(data.frequencies, data.scene.speed)
    return PairAcquisition(
        shape=data.shape,
        rows=largest(sizes),
        part_rows={cut: largest(found) for cut, found in of_parts.items()},
        pairs=data.pairs,
        frequencies=len(data.frequencies),
        frames=data.frames,
        stored=all(data.has_factors(pair) or data.has_wave_vectors(pair) for pair in pairs),
        wave_vectors=all(data.has_wave_vectors(pair) for pair in pairs),
        # With twice the reach: parts of a band are a little less even than the whole.
        even=evenly_spaced(k, 2 * reach(data.scene)),
        projection=BackProjectionCosts.of(
            data.scene,
            max(math.prod(size) for size in sizes),
            k,
            tolerance=tolerance,
            pattern=data.pattern is not None,
        )
        if known
        else None,
    )
