"""The MRI forward model as a plan sees it, of stored data or of data that need not exist."""

import math
from dataclasses import dataclass

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.errors import ConfigError, DataError
from pipeline.mri.calibration.off_resonance import segment_counts
from pipeline.mri.combinations import require_possible
from pipeline.mri.corrected import SLAB, lies_on_grid, sampled_alike
from pipeline.mri.image_readouts import Bins, image_readouts
from pipeline.mri.model.basis import basis_size
from pipeline.mri.model.costs import MriCosts
from pipeline.mri.raw import RawData
from pipeline.mri.readouts import Pattern
from pipeline.storage.calibration import Calibration


@dataclass(frozen=True)
class ImaginedScan:
    """Sizes of a measurement; attributes as of `pipeline.mri.raw.RawData`."""

    shape: tuple[int, ...]
    frames: int
    coils: int
    readouts: int
    samples: int
    own_trajectory: bool
    pattern: Pattern = "other"
    slices: int = 1


def imagined(
    shape: tuple[int, ...],
    frames: int,
    *,
    coils: int,
    samples: int,
    readout_samples: int,
    own_trajectory: bool,
) -> ImaginedScan:
    """Return a measurement of so many samples of one coil of one frame, in whole readouts."""
    if samples < 1:
        raise ConfigError("estimate: how many `--samples` has one coil of one image?")
    length = min(readout_samples, samples)
    return ImaginedScan(shape, frames, coils, math.ceil(samples / length), length, own_trajectory)


def models(
    data: RawData | ImaginedScan,
    calibration: Calibration | None,
    settings: AlgorithmSettings,
    machine: Machine,
    rates: Rates,
    who: str,
) -> tuple[list[MriCosts], list[str]]:
    """Return the one way to run the model, and no lines; see `pipeline.engine.request.Models`."""
    mixing = None if calibration is None else calibration.mixing()
    coils = data.coils if mixing is None else mixing.shape[-2]
    maps = coils > 1 if calibration is None else calibration.coil_maps != "none"
    sets = 1 if calibration is None else calibration.map_sets
    segments = None if calibration is None else segment_counts(calibration)
    coefficients, real_basis, signals = 0, True, 0
    made_of = image_readouts(data, settings.frames_per_image, calibration)
    binned, joined = isinstance(made_of, Bins), len(made_of.frames(0))
    source = data.signals() if isinstance(data, RawData) and settings.subspace else {}
    require_possible(
        settings,
        who,
        frames=data.frames,
        slices=data.slices,
        coils=coils,
        maps=maps,
        sets=sets,
        off_resonance=segments is not None,
        signals={name: each.shape for name, each in source.items()},
        bins=() if calibration is None else calibration.bin_axes,
    )
    if settings.series is not None and settings.subspace:
        coefficients, real_basis, signals = basis_size(settings.series, made_of.images, source, who)
        made_of = image_readouts(data, "all", calibration)
    explicit = settings.normal == "explicit"
    if settings.uses_spectrum and calibration is not None and "spectrum" not in calibration.arrays:
        raise DataError(
            f"{who}: `regularization: wiener` and `preconditioner: spectrum` need signal and noise "
            "at each spatial frequency, and `calibrate` did not find them; leave both out"
        )
    alike = not data.own_trajectory
    if calibration is not None and isinstance(data, RawData):
        alike = sampled_alike(data, calibration, timed=segments is not None)
    of_a_slice = data.frames // data.slices // joined
    costs = MriCosts(
        channels=coils,
        mixed_from=0 if mixing is None else data.coils,
        mixing=0 if mixing is None else mixing.nbytes,
        readouts=made_of.readouts,
        samples=data.samples,
        shared_trajectory=alike and made_of.even,
        maps=maps,
        sets=sets,
        images_together=of_a_slice if maps and data.slices > 1 else None,
        on_grid=lies_on_grid(data.pattern, calibration),
        explicit=explicit,
        segments=segments,
        coefficients=coefficients,
        real_basis=real_basis,
        signals=signals,
        chosen_from=min(data.readouts * data.samples, SLAB) if binned else 0,
    )
    return [costs], []
