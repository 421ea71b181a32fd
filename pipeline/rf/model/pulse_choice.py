"""Which model of the wavefronts a phase history gets: the fastest that is right enough."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.seconds import predicted_phases
from pipeline.engine.work import ModelCosts, Work
from pipeline.errors import KronufftError, PlanError
from pipeline.rf.combinations import PULSE_MODELS
from pipeline.rf.geometry.phase_history import sub_apertures, whole_aperture
from pipeline.rf.geometry.planar_scan import RangeMigration, migration_error
from pipeline.rf.model.back_projection_costs import LEAST_TOLERANCE, BackProjectionCosts
from pipeline.rf.model.omega_k_costs import OmegaKCosts
from pipeline.rf.model.pair_choice import decibels
from pipeline.rf.model.pulse_costs import PulseCosts
from pipeline.rf.raw import RfRawData
from pipeline.storage.calibration import Calibration

_REFERENCE = Rates.host(1)
"""The model decides what the image is, so it must not depend on the machine that plans."""


def pulse_models(
    data: RfRawData,
    calibration: Calibration | None,
    settings: AlgorithmSettings,
    machine: Machine,
    who: str,
) -> tuple[list[ModelCosts], list[str]]:
    """Return the model of a phase history, and lines for the log.

    Along exact paths, by range migration or by sub-apertures: the fastest on one core of those that
    settings and positions allow.
    """
    found: list[ModelCosts] = []
    refused: list[KronufftError] = []
    for model in ("exact",) if data.exact_only else PULSE_MODELS:
        if settings.model in ("auto", model):
            try:
                found += _costs(model, data, calibration, settings, machine, who)
            except KronufftError as error:
                refused.append(error)
    if not found:
        raise refused[-1]

    def seconds(costs: ModelCosts) -> float:
        host = replace(machine, on_device=False)
        work = Work.whole(data.shape, settings, costs, host, 1)
        _, efficient = costs.tile(work, 1, _REFERENCE)
        phases = predicted_phases(replace(work, readout_batch=efficient), _REFERENCE)
        return sum(phases.values())

    timed = sorted(((seconds(costs), costs) for costs in found), key=lambda one: one[0])
    chosen = timed[0][1]
    told = "; ".join(f"{costs.columns['model']} {took:.2g} s" for took, costs in timed)
    return [chosen], [*_caution(chosen, machine, who), f"{who}: predicted on one core: {told}"]


def _caution(chosen: ModelCosts, machine: Machine, who: str) -> Iterator[str]:
    """Yield what is to be said of the model and its error."""
    tolerance = machine.nufft.tolerance
    said = f"{who}: model {chosen.columns['model']}"
    if isinstance(chosen, OmegaKCosts):
        said += f", {decibels(chosen.error):.1f} dB from the exact sum at random voxels"
    yield said
    if isinstance(chosen, BackProjectionCosts) and chosen.sampling.error > tolerance:
        yield (
            f"{who}: the model exact is right to {chosen.sampling.error:.1g}, not to the "
            f"`nufft.tolerance` of {tolerance:g}; W+D(fc) with a small `model_error` can be"
        )


def _costs(
    model: str,
    data: RfRawData,
    calibration: Calibration | None,
    settings: AlgorithmSettings,
    machine: Machine,
    who: str,
) -> list[ModelCosts]:
    """Return the costs of a model, or none where `auto` does not take it.

    Raises `PlanError` or `DataError` where it cannot be had.
    """
    insisted, tolerance = settings.model == model or data.exact_only, machine.nufft.tolerance
    if model == "W+D(fc)":
        return [_sub_aperture_costs(data, settings)]
    if settings.normal == "toeplitz":
        return []
    whole = whole_aperture(data.scene, data.paths(0), data.frequencies)
    weights = None if calibration is None else calibration.weights(0, slice(0, 1))
    weighted = settings.weights == "density" and weights is not None
    if model == "exact":
        if tolerance < LEAST_TOLERANCE and not insisted:
            return []
        return [
            BackProjectionCosts.of(
                data.scene,
                data.pulses,
                whole.k,
                tolerance=tolerance,
                weighted=weighted,
                paths=whole.paths,
                pattern=data.pattern is not None,
            )
        ]
    migration = RangeMigration.of(data.scene, whole.paths)
    if migration is None:
        if not insisted:
            return []
        raise PlanError(
            f"{who}: `model: omega-k` is for a scene of three axes before antennas that lie on a "
            "grid in a plane across one of them; set `model: exact`"
        )
    error = migration_error(migration, whole.paths, whole.k)
    if error > settings.model_error:
        raise PlanError(
            f"{who}: the model omega-k leaves {decibels(error):.1f} dB of error, and "
            f"`model_error` allows {decibels(settings.model_error):.1f} dB; set `model: "
            "exact`, or raise it"
        )
    return [OmegaKCosts.of(migration, data.pulses, whole.k, error=error, weighted=weighted)]


def _sub_aperture_costs(data: RfRawData, settings: AlgorithmSettings) -> PulseCosts:
    apertures = sub_apertures(
        data.scene, data.paths(0), data.frequencies, tolerance=settings.model_error
    )
    return PulseCosts(
        readouts=data.pulses,
        samples=len(data.frequencies),
        apertures=len(apertures),
        aperture_samples=max(aperture.samples for aperture in apertures),
    )
