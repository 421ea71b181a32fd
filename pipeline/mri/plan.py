"""The MRI forward model as a plan sees it, of stored data or of data that need not exist."""

import math
from dataclasses import dataclass

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.errors import ConfigError, DataError
from pipeline.mri.calibration.off_resonance import segment_counts
from pipeline.mri.corrected import SLAB, lies_on_grid, sampled_alike
from pipeline.mri.image_readouts import Bins, image_readouts
from pipeline.mri.model.basis import temporal_basis
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
    coils = data.coils if mixing is None else len(mixing)
    maps = coils > 1 if calibration is None else calibration.coil_maps != "none"
    if settings.solves and coils > 1 and not maps:
        raise DataError(
            f"{who}: {settings.algorithm} of {coils} coils needs coil maps, and "
            "calibration.coil_maps is none; set it to auto, source or espirit"
        )
    segments = None if calibration is None else segment_counts(calibration)
    coefficients, real_basis = 0, True
    made_of = image_readouts(data, settings.frames_per_image, calibration)
    binned, joined = isinstance(made_of, Bins), len(made_of.frames(0))
    if binned and (data.slices > 1 or settings.subspace):
        raise ConfigError(
            f"{who}: `frames_per_image: bins` is for one slice, and for a `series` with the basis "
            "frames; set frames_per_image to 1 or all, or ingest each slice as a dataset"
        )
    if binned and calibration and len(calibration.bin_axes) > 1 and settings.orders_images:
        raise ConfigError(
            f"{who}: a penalty along the series needs bins of one axis, and these have "
            f"{' x '.join(map(str, calibration.bin_axes))}; take `penalty: llr`, or `along: space`"
        )
    if data.slices > 1 and (data.frames // data.slices) % joined:
        raise ConfigError(
            f"{who}: frames_per_image {settings.frames_per_image} joins frames of different "
            f"slices: there are {data.slices} slices of {data.frames // data.slices} frames; set "
            "it to a divisor of these"
        )
    if settings.joins_images and data.slices > 1:
        raise ConfigError(
            f"{who}: a `series` of {data.slices} slices, whose coil maps differ; ingest each slice "
            "as a dataset of its own"
        )
    if settings.series is not None and settings.subspace:
        source = data.basis() if isinstance(data, RawData) else None
        basis, _ = temporal_basis(settings.series, made_of.images, source, who)
        coefficients, real_basis = basis.shape[1], not basis.imag.any()
        if segments is not None:
            raise ConfigError(
                f"{who}: a `series` with the basis {settings.series.basis} knows no off-resonance; "
                "set calibration.off_resonance to none, or series.basis to frames"
            )
        made_of = image_readouts(data, "all", calibration)
    explicit = settings.normal == "explicit"
    if settings.single_kernel and (explicit or segments is not None or coefficients):
        raise ConfigError(
            f"{who}: `preconditioner: circulant` and `kronecker` need a normal operator of a "
            "single Toeplitz kernel, and `normal: explicit`, off-resonance and a temporal basis "
            "have none; leave it out"
        )
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
        readouts=made_of.readouts,
        samples=data.samples,
        shared_trajectory=alike and made_of.even,
        maps=maps,
        images_together=of_a_slice if maps and data.slices > 1 else None,
        on_grid=lies_on_grid(data.pattern, calibration),
        explicit=explicit,
        segments=segments,
        coefficients=coefficients,
        real_basis=real_basis,
        chosen_from=min(data.readouts * data.samples, SLAB) if binned else 0,
    )
    return [costs], []
