"""What a plan is asked for, from the data on disk and the settings."""

from pathlib import Path

from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import ReconstructionSettings, image_count, image_shape
from pipeline.config.transforms import TransformChoice
from pipeline.engine.plan import Request
from pipeline.engine.seconds import applications
from pipeline.engine.tiles import Limits
from pipeline.engine.tuned_choice import tuned
from pipeline.engine.work import Machine, MriSizes, PairSizes, PhaseHistorySizes, Sizes, Work
from pipeline.errors import DataError, PlanError
from pipeline.mri.raw import RawData
from pipeline.rf.geometry.phase_history import sub_apertures
from pipeline.rf.model.normal_costs import Rates as GramRates
from pipeline.rf.model.pair_choice import (
    PairAcquisition,
    PairChoice,
    choose_pair_model,
    decibels,
)
from pipeline.rf.raw import RfRawData
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.calibration import Calibration


def request_for(
    data: Acquisition,
    calibration: Calibration,
    settings: PlanSettings,
    limits: Limits,
    *,
    threads: int,
    tuning: Path | None,
    who: str,
) -> Request:
    """Return the request for the plan of one reconstruction; only shapes are read.

    Parameters
    ----------
    data, calibration
        The acquisition.
    settings
        How to reconstruct, and the limits.
    limits
        In numbers.
    threads
        CPU threads of each job.
    tuning
        What `kronufft tune` wrote; None goes by rules and rates that were measured elsewhere.
    who
        Dataset and reconstruction, for messages.

    Raises
    ------
    DataError
        If coils are to be combined without coil maps.
    PlanError
        If no model of the wavefronts is good enough.
    """
    chosen = settings.reconstruction
    machine = Machine(
        on_device=limits.device_mb > 0,
        threads=threads,
        itemsize=8 if settings.precision == "single" else 16,
        backend=settings.nufft.backend,
        tolerance=settings.nufft.tolerance,
        deterministic=settings.deterministic,
        choice=TransformChoice(
            oversampling=settings.nufft.oversampling, kernel_width=settings.nufft.kernel_width
        ),
    )
    shape = image_shape(data.shape, chosen)
    machine, rates, notes = tuned(machine, shape, tuning, who)
    others: list[PairSizes] = []
    if isinstance(data, RawData):
        sizes: Sizes = _mri_sizes(data, calibration, settings, who)
    elif isinstance(data, RfRawData) and data.pairs:
        choice = pair_choice(data, calibration, chosen, machine, who)
        sizes, *others = pair_sizes(pair_acquisition(data), choice)
        notes += [*([choice.warning] if choice.warning else []), *choice_lines(who, choice)]
    else:
        assert isinstance(data, RfRawData)
        sizes = _phase_history_sizes(data, settings, who)
    work = Work(
        shape=shape,
        settings=chosen,
        sizes=sizes,
        machine=machine,
        images=image_count(data.frames, chosen.frames_per_image),
        channels=sizes.channels,
        readouts=sizes.readouts,
    )
    return Request(
        work,
        limits,
        rates,
        shards=settings.memory.shards,
        block_images=settings.memory.block_images,
        others=tuple(others),
        notes=tuple(notes),
        who=who,
    )


def _mri_sizes(
    data: RawData, calibration: Calibration, settings: PlanSettings, who: str
) -> MriSizes:
    chosen = settings.reconstruction
    maps = calibration.coil_maps != "none"
    if chosen.algorithm != "gridding" and data.coils > 1 and not maps:
        raise DataError(
            f"{who}: {chosen.algorithm} of {data.coils} coils needs coil maps, and "
            "calibration.coil_maps is none; set it to auto, source or walsh"
        )
    joined = data.frames if chosen.frames_per_image == "all" else chosen.frames_per_image
    # The trajectory is shared only if each image joins equally many frames.
    whole = data.frames % joined == 0
    return MriSizes(
        coils=data.coils,
        readouts=data.readouts * min(joined, data.frames),
        samples=data.samples,
        shared_trajectory=not data.own_trajectory and whole,
        maps=maps,
    )


def pair_choice(
    data: RfRawData,
    calibration: Calibration,
    settings: ReconstructionSettings,
    machine: Machine,
    who: str,
) -> PairChoice:
    """Choose how pairs of antenna arrays are modelled, and how their normal operator runs.

    Raises
    ------
    PlanError
        If no model of the wavefronts is good enough.
    DataError
        If a coherent image is asked for of pairs whose phases cannot be compared.
    """
    if settings.fusion == "coherent" and data.pairs > 1 and not data.coherent:
        raise DataError(
            f"{who}: the phases of its {data.pairs} pairs are not calibrated, so they add up to no "
            "coherent image; give their phases and delays (`pair_correction`) or a "
            "`reference_target`, or set `fusion` to phase-aligned or non-coherent"
        )
    return choose_pair_model(
        calibration.model_errors,
        pair_acquisition(data),
        model=settings.model,
        normal=settings.normal,
        coherent=settings.fusion == "coherent",
        force=settings.force_model,
        applications=applications(settings) if settings.solves else 0,
        rates=GramRates.device() if machine.on_device else GramRates.host(machine.threads),
        itemsize=machine.itemsize,
        who=who,
    )


def pair_acquisition(data: RfRawData) -> PairAcquisition:
    """Return the sizes of the largest pair, and what came with the data of all pairs."""
    pairs = range(data.pairs)
    sizes = [data.measurement_shape(pair) for pair in pairs]
    axes = len(data.shape)
    return PairAcquisition(
        shape=data.shape,
        rows=tuple(max((*size, 1)[axis] for size in sizes) for axis in range(axes)),
        pairs=data.pairs,
        frequencies=len(data.frequencies),
        stored=all(data.has_factors(pair) or data.has_wave_vectors(pair) for pair in pairs),
        wave_vectors=all(data.has_wave_vectors(pair) for pair in pairs),
    )


def pair_sizes(acquisition: PairAcquisition, choice: PairChoice) -> tuple[PairSizes, ...]:
    """Return the ways to run a choice: the fastest first, and what needs less memory after it."""
    reads = choice.level == "stored" and not acquisition.wave_vectors
    common = {
        "pairs": acquisition.pairs,
        "readouts": acquisition.frequencies,
        "rows": acquisition.rows,
        "level": choice.level,
        "reads_factors": reads,
    }
    return tuple(
        PairSizes(**common, form=cost.form, resident=resident)  # type: ignore[arg-type]
        for cost in choice.costs
        for resident in (True, False)
    )


def choice_lines(who: str, choice: PairChoice) -> list[str]:
    """Return, for a log, which model was chosen and what each form of its normal operator costs."""
    forms = "; ".join(
        f"{cost.form} {cost.seconds * 1e3:.3g} ms ({cost.flops / 1e9:.3g} Gflop), "
        f"{cost.setup_seconds:.2g} s to make, {cost.held_bytes / 1e6:.3g} MB"
        for cost in choice.costs
    )
    error = "" if choice.error is None else f", {decibels(choice.error):.1f} dB from the exact sum"
    return [f"{who}: model {choice.level}{error}; normal operator, predicted: {forms}"]


def _phase_history_sizes(data: RfRawData, settings: PlanSettings, who: str) -> PhaseHistorySizes:
    if settings.reconstruction.normal == "factors":
        raise PlanError(
            f"{who}: a phase history has no Kronecker factors; leave `normal: factors` out"
        )
    apertures = sub_apertures(
        data.scene,
        data.paths(0),
        data.frequencies,
        tolerance=settings.reconstruction.curvature_error,
    )
    return PhaseHistorySizes(
        readouts=data.pulses,
        samples=len(data.frequencies),
        apertures=len(apertures),
        aperture_samples=max(aperture.samples for aperture in apertures),
    )
