"""Say what a reconstruction would take, on data and devices that need not be there."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipeline.config.reconstruction import ReconstructionSettings, image_count
from pipeline.engine.advice import plan_or_advise
from pipeline.engine.estimate import Acquisition, estimate_request
from pipeline.engine.limits import MEGABYTE, planned_limits
from pipeline.engine.presentation import plan_lines
from pipeline.engine.tiles import Limits
from pipeline.engine.work import Machine
from pipeline.errors import ConfigError
from pipeline.kinds import open_raw
from pipeline.mri.raw import RawData
from pipeline.rf.raw import RfRawData


def estimate(
    acquisition: Acquisition,
    settings: ReconstructionSettings,
    *,
    machine: Machine,
    device_mb: int,
    host_mb: Literal["auto"] | int,
    shards: Literal["auto"] | int,
    tuning: Path | None,
) -> None:
    """Print the plan of an acquisition that is known by its sizes.

    Parameters
    ----------
    acquisition, settings
        What was measured, and how to reconstruct it.
    machine
        What the jobs compute with; whether on a device is decided by its memory.
    device_mb
        Memory of the device [MB]; 0 plans for a CPU.
    host_mb, shards
        As in `memory`.
    tuning
        What `kronufft tune` measured, for the seconds.

    Raises
    ------
    PlanError
        If nothing fits: with the arithmetic, and changes that would make it fit.
    """
    _, host = planned_limits("cpu", 0, host_mb)
    request = estimate_request(
        acquisition,
        settings,
        replace(machine, on_device=device_mb > 0),
        Limits(device_mb, host),
        shards=shards,
        tuning=tuning,
    )
    rows = plan_or_advise(request)
    raw = request.work.sizes.bytes_per_image * acquisition.images / MEGABYTE
    lines = [
        *plan_lines(_title(acquisition, settings), rows),
        f"The measurement itself is {raw:.0f} MB on disk.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def stored_acquisition(raw: Path, settings: ReconstructionSettings) -> Acquisition:
    """Return the sizes of an ingested acquisition, without its calibration.

    Raises
    ------
    ConfigError
        If it is a phase history, whose sub-apertures depend on more than sizes.
    """
    data = open_raw(raw)
    images = image_count(data.frames, settings.frames_per_image)
    shape = tuple(settings.shape or data.shape)
    if isinstance(data, RawData):
        joined = -(-data.frames // images)
        return Acquisition(
            shape,
            images,
            coils=data.coils,
            samples=data.readouts * data.samples * joined,
            readout_samples=data.samples,
            shared_trajectory=not data.own_trajectory,
        )
    assert isinstance(data, RfRawData)
    if not data.pairs:
        raise ConfigError(f"{raw}: a phase history is planned from its pulses; use `kronufft plan`")
    sizes = [data.measurement_shape(pair) for pair in range(data.pairs)]
    rows = tuple(max((*size, 1)[axis] for size in sizes) for axis in range(len(shape)))
    return Acquisition(
        shape, images, pairs=data.pairs, frequencies=len(data.frequencies), rows=rows
    )


def _title(acquisition: Acquisition, settings: ReconstructionSettings) -> str:
    matrix = " x ".join(map(str, acquisition.shape))
    images = f"{acquisition.images} images of " if acquisition.images > 1 else ""
    measured = (
        f"{acquisition.pairs} pairs of {acquisition.frequencies} frequencies"
        if acquisition.pairs
        else f"{acquisition.coils} coils of {acquisition.samples:,} samples"
    )
    return f"{settings.algorithm}: {images}{matrix} from {measured}"
