"""Requests for plans of data that need not exist, from sizes given by hand. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config.reconstruction import ALGORITHMS, ReconstructionSettings
from pipeline.engine.plan import Request
from pipeline.engine.request import pair_sizes
from pipeline.engine.seconds import applications
from pipeline.engine.tiles import Limits
from pipeline.engine.tuned_choice import tuned
from pipeline.engine.work import Machine, MriSizes, PairSizes, Sizes, Work
from pipeline.errors import ConfigError
from pipeline.rf.model.normal_costs import Rates as GramRates
from pipeline.rf.model.pair_choice import PairAcquisition, choose_pair_model


@dataclass(frozen=True)
class Acquisition:
    """Sizes of a measurement, of MRI unless there are pairs.

    Attributes
    ----------
    shape
        Image matrix.
    images
        Independent images.
    coils
        MRI.
    samples
        MRI: samples of one coil of one image.
    readout_samples
        MRI: samples of one readout.
    shared_trajectory, maps
        MRI: whether all images have the same samples, and whether there are coil maps.
    pairs, frequencies
        RF pairs of antenna arrays.
    rows
        RF: rows of the factor of each axis, which are the measurements of a pair along it.
    """

    shape: tuple[int, ...]
    images: int = 1
    coils: int = 1
    samples: int = 0
    readout_samples: int = 512
    shared_trajectory: bool = False
    maps: bool = True
    pairs: int = 0
    frequencies: int = 1
    rows: tuple[int, ...] = ()


def estimate_request(
    acquisition: Acquisition,
    settings: ReconstructionSettings,
    machine: Machine,
    limits: Limits,
    *,
    shards: Literal["auto"] | int = "auto",
    tuning: Path | None = None,
) -> Request:
    """Return the request for a plan of an acquisition that is known by its sizes only.

    Raises
    ------
    ConfigError
        If sizes are missing or do not fit each other, or the algorithm is not for such data.
    """
    kind: Literal["mri", "rf"] = "rf" if acquisition.pairs else "mri"
    if settings.algorithm not in ALGORITHMS[kind]:
        raise ConfigError(
            f"{settings.algorithm} is not for {kind} data, for which there is "
            f"{', '.join(ALGORITHMS[kind])}"
        )
    machine, rates, notes = tuned(machine, acquisition.shape, tuning, "estimate")
    whole: Sizes
    others: Sequence[PairSizes] = ()
    if acquisition.pairs:
        whole, *others = _pair_sizes(acquisition, settings, machine)
    else:
        whole = _mri_sizes(acquisition)
    work = Work(
        acquisition.shape,
        settings,
        whole,
        machine,
        images=acquisition.images,
        channels=whole.channels,
        readouts=whole.readouts,
    )
    return Request(
        work,
        limits,
        rates,
        shards=shards,
        others=tuple(others),
        notes=tuple(notes),
        who="estimate",
    )


def _mri_sizes(acquisition: Acquisition) -> MriSizes:
    if acquisition.samples < 1:
        raise ConfigError("estimate: how many `--samples` has one coil of one image?")
    length = min(acquisition.readout_samples, acquisition.samples)
    return MriSizes(
        coils=acquisition.coils,
        readouts=math.ceil(acquisition.samples / length),
        samples=length,
        shared_trajectory=acquisition.shared_trajectory,
        maps=acquisition.maps and acquisition.coils > 1,
    )


def _pair_sizes(
    acquisition: Acquisition, settings: ReconstructionSettings, machine: Machine
) -> tuple[PairSizes, ...]:
    axes = len(acquisition.shape)
    if len(acquisition.rows) != axes:
        raise ConfigError(
            f"estimate: found `--rows` {acquisition.rows} for an image of {axes} axes; give the "
            "measurements of a pair along each, such as 32x16"
        )
    sizes = PairAcquisition(
        acquisition.shape, acquisition.rows, acquisition.pairs, acquisition.frequencies
    )
    choice = choose_pair_model(
        {"W": 0.0, "W+D(fc)": 0.0},
        sizes,
        model="W" if settings.model == "auto" else settings.model,
        normal=settings.normal,
        coherent=settings.fusion == "coherent",
        force=True,
        applications=applications(settings) if settings.solves else 0,
        rates=GramRates.device() if machine.on_device else GramRates.host(machine.threads),
        itemsize=machine.itemsize,
        who="estimate",
    )
    return pair_sizes(sizes, choice)
