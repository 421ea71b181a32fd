"""The RF forward models as a plan sees them, of stored data or of data that need not exist."""

import math
from collections.abc import Sequence
from dataclasses import replace

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.seconds import predicted_phases
from pipeline.engine.work import ModelCosts, Work
from pipeline.errors import ConfigError, DataError, KronufftError, PlanError
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.phase_history import sub_apertures, whole_aperture
from pipeline.rf.model.back_projection_costs import LEAST_TOLERANCE, BackProjectionCosts
from pipeline.rf.model.pair_choice import PairAcquisition, choose_pair_model, decibels
from pipeline.rf.model.pulse_costs import PulseCosts
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration

_REFERENCE = Rates.host(1)
"""The model decides what the image is, so it must not depend on the machine that plans."""


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

    Refused, besides what `choose_pair_model` refuses, is a coherent image of pairs whose phases
    cannot be compared.
    """
    if isinstance(data, RfRawData):
        if not data.pairs:
            if settings.fusion != "coherent":
                raise PlanError(
                    f"{who}: `fusion: {settings.fusion}` is of pairs of antenna arrays, and these "
                    "data are a phase history; leave `fusion` out"
                )
            return _pulse_models(data, calibration, settings, machine, who)
        coherent = data.coherent if calibration is None else calibration.coherent
        if settings.fusion == "coherent" and data.pairs > 1 and not coherent:
            raise DataError(
                f"{who}: the phases of its {data.pairs} pairs are not calibrated, so they add up "
                "to no coherent image; give their phases and delays (`pair_correction`) or a "
                "`reference_target`, or set `fusion` to phase-aligned or non-coherent"
            )
        data = _pair_acquisition(data, machine.nufft.tolerance)
    # Plane waves are taken to serve where nobody has measured by how much they err.
    errors: dict[str, float] = {"W": 0.0, "W+D(fc)": 0.0}
    if calibration is not None:
        errors = dict(calibration.model_errors)
        fine = machine.nufft.tolerance >= LEAST_TOLERANCE or settings.model == "exact"
        if data.projection is not None and fine:
            errors["exact"] = data.projection.sampling.error
    choice = choose_pair_model(
        errors,
        data,
        model="W" if calibration is None and settings.model == "auto" else settings.model,
        normal=settings.normal,
        coherent=settings.fusion == "coherent",
        force=settings.force_model or calibration is None,
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
    chosen = f"{who}: model {choice.level}{error}; normal operator, predicted: {forms}"
    return ways, [*([choice.warning] if choice.warning else []), chosen]


def _pair_acquisition(data: RfRawData, tolerance: float) -> PairAcquisition:
    """Return the sizes of the largest pair, and what came with the data of all pairs."""
    pairs = range(data.pairs)
    known = data.scene.range is None and all(data.antennas(pair) is not None for pair in pairs)
    sizes = [data.measurement_shape(pair) for pair in pairs]
    return PairAcquisition(
        shape=data.shape,
        rows=tuple(max((*size, 1)[axis] for size in sizes) for axis in range(len(data.shape))),
        pairs=data.pairs,
        frequencies=len(data.frequencies),
        frames=data.frames,
        stored=all(data.has_factors(pair) or data.has_wave_vectors(pair) for pair in pairs),
        wave_vectors=all(data.has_wave_vectors(pair) for pair in pairs),
        projection=BackProjectionCosts.of(
            data.scene,
            max(math.prod(size) for size in sizes),
            wavenumbers(data.frequencies, data.scene.speed),
            tolerance=tolerance,
        )
        if known
        else None,
    )


def _pulse_models(
    data: RfRawData,
    calibration: Calibration | None,
    settings: AlgorithmSettings,
    machine: Machine,
    who: str,
) -> tuple[list[ModelCosts], list[str]]:
    """Return the model of a phase history: along exact paths, or by sub-apertures.

    The faster of both on one core, where settings allow both.
    """
    if settings.normal == "factors":
        raise PlanError(
            f"{who}: a phase history has no Kronecker factors; leave `normal: factors` out"
        )
    if settings.model not in ("auto", "exact", "W+D(fc)"):
        raise PlanError(
            f"{who}: the model {settings.model} is of pairs of antenna arrays, and these data are "
            "a phase history; set `model` to exact or W+D(fc), or leave it out"
        )
    found: list[ModelCosts] = []
    tolerance = machine.nufft.tolerance
    fine = tolerance >= LEAST_TOLERANCE or settings.model == "exact"
    if settings.model != "W+D(fc)" and settings.normal != "toeplitz" and fine:
        whole = whole_aperture(data.scene, data.paths(0), data.frequencies)
        weights = None if calibration is None else calibration.weights(0, slice(0, 1))
        found.append(
            BackProjectionCosts.of(
                data.scene,
                data.pulses,
                whole.k,
                paths=whole.paths,
                tolerance=tolerance,
                weighted=settings.weights == "density" and weights is not None,
            )
        )
    refused: KronufftError = PlanError(
        f"{who}: `model: exact` goes forward and back and has no kernels; leave `normal: toeplitz` "
        "out"
    )
    if settings.model != "exact":
        try:
            found.append(_sub_aperture_costs(data, settings))
        except DataError as error:
            refused = error
    if not found:
        raise refused

    def seconds(costs: ModelCosts) -> float:
        host = replace(machine, on_device=False)
        work = Work.whole(data.shape, settings, costs, host, 1)
        _, efficient = costs.tile(work, 1, _REFERENCE)
        phases = predicted_phases(replace(work, readout_batch=efficient), _REFERENCE)
        return sum(phases.values())

    timed = sorted(((seconds(costs), costs) for costs in found), key=lambda one: one[0])
    chosen = timed[0][1]
    told = "; ".join(f"{costs.columns['model']} {took:.2g} s" for took, costs in timed)
    lines = [f"{who}: model {chosen.columns['model']}; predicted on one core: {told}"]
    if isinstance(chosen, BackProjectionCosts) and chosen.sampling.error > tolerance:
        lines.append(
            f"{who}: the model exact is right to {chosen.sampling.error:.1g}, not to the "
            f"`nufft.tolerance` of {tolerance:g}; W+D(fc) with a small `curvature_error` can be"
        )
    return [chosen], lines


def _sub_aperture_costs(data: RfRawData, settings: AlgorithmSettings) -> PulseCosts:
    apertures = sub_apertures(
        data.scene, data.paths(0), data.frequencies, tolerance=settings.curvature_error
    )
    return PulseCosts(
        readouts=data.pulses,
        samples=len(data.frequencies),
        apertures=len(apertures),
        aperture_samples=max(aperture.samples for aperture in apertures),
    )
