"""What a plan is asked for, from the data on disk and the settings."""

from pathlib import Path

from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import image_count, image_shape
from pipeline.errors import DataError
from pipeline.geometry.phase_history import sub_apertures
from pipeline.planning.levels import choose_level
from pipeline.planning.plan import Request
from pipeline.planning.seconds import Rates, read_rates
from pipeline.planning.tiles import Limits
from pipeline.planning.work import Machine, MriSizes, PairSizes, PhaseHistorySizes, Sizes, Work
from pipeline.storage.calibration import Calibration
from pipeline.storage.open_raw import Acquisition
from pipeline.storage.raw import RawData
from pipeline.storage.rf_raw import RfRawData


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

    Raises
    ------
    DataError
        If coils are to be combined without coil maps.
    PlanError
        If no model of the wavefronts is good enough.
    """
    chosen = settings.reconstruction
    if isinstance(data, RawData):
        sizes: Sizes = _mri_sizes(data, calibration, settings, who)
    elif data.pairs:
        sizes = _pair_sizes(data, calibration, settings, who)
    else:
        sizes = _phase_history_sizes(data, settings)
    machine = Machine(
        on_device=limits.device_mb > 0,
        threads=threads,
        itemsize=8 if settings.precision == "single" else 16,
        backend=settings.nufft.backend,
        tolerance=settings.nufft.tolerance,
        deterministic=settings.deterministic,
    )
    work = Work(
        shape=image_shape(data.shape, chosen),
        settings=chosen,
        sizes=sizes,
        machine=machine,
        images=image_count(data.frames, chosen.frames_per_image),
        channels=sizes.channels,
        readouts=sizes.readouts,
    )
    rates = read_rates(tuning) if tuning else default_rates(machine)
    return Request(
        work,
        limits,
        rates,
        shards=settings.memory.shards,
        block_images=settings.memory.block_images,
        who=who,
    )


def default_rates(machine: Machine) -> Rates:
    """Return the rates of a machine that has not been tuned."""
    return Rates.device() if machine.on_device else Rates.host(machine.threads)


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


def _pair_sizes(
    data: RfRawData, calibration: Calibration, settings: PlanSettings, who: str
) -> PairSizes:
    chosen = settings.reconstruction
    level = choose_level(calibration.model_errors, chosen.model, force=chosen.force_model, who=who)
    sizes = [data.measurement_shape(pair) for pair in range(data.pairs)]
    rows = tuple(max(size[axis] for size in sizes) for axis in range(len(sizes[0])))
    return PairSizes(data.pairs, len(data.frequencies), rows, phased=level == "W+D(fc)")


def _phase_history_sizes(data: RfRawData, settings: PlanSettings) -> PhaseHistorySizes:
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
