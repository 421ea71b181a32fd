"""What a plan is asked for, from data, stored or only imagined, and the settings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.config.equations import image_count, image_shape
from pipeline.config.planning import PlanSettings
from pipeline.engine.limits import Limits
from pipeline.engine.machine import Machine
from pipeline.engine.plan import Request
from pipeline.engine.rates import Rates
from pipeline.engine.tuned_choice import tuned
from pipeline.engine.work import ModelCosts, Work
from pipeline.storage.calibration import Calibration

Models = Callable[
    [object, Calibration | None, AlgorithmSettings, Machine, Rates, str],
    tuple[Sequence[ModelCosts], Sequence[str]],
]
"""A kind's ``models(data, calibration, settings, machine, rates, who)``: the ways to run the model
of a reconstruction, the fastest first, and lines for the log. Without calibration it assumes a
usual one."""


class Sizes(Protocol):
    """What the plan itself asks of data of any kind."""

    frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Image matrix."""


def request_for(
    models: Models,
    data: Sizes,
    calibration: Calibration | None,
    settings: PlanSettings,
    limits: Limits,
    *,
    threads: int,
    who: str,
) -> Request:
    """Return the request for the plan of one reconstruction; only shapes are read.

    The acquisition is stored or imagined; without calibration a usual one is assumed. `threads` of
    the CPU are those of each job.

    Raises
    ------
    DataError
        If coils or pairs cannot be combined as the settings ask, or the tuning file is missing or
        damaged.
    PlanError
        If the data do not allow what the settings ask for, or no model is good enough.
    """
    chosen, tuning = settings.reconstruction, settings.nufft.tuning
    machine = Machine.of(settings, on_device=limits.device_mb > 0, threads=threads)
    shape = image_shape(data.shape, chosen, who)
    machine, rates, notes = tuned(machine, shape, Path(tuning) if tuning else None, who)
    (model, *others), said = models(data, calibration, chosen, machine, rates, who)
    bins = 0 if calibration is None else calibration.bins
    images = image_count(data.frames, chosen.frames_per_image, bins)
    work = Work.whole(shape, chosen, model, machine, images)
    if chosen.subspace:
        outputs = model.unknowns if chosen.keeps_coefficients else images
        work = replace(work, images=1, outputs=outputs)
    return Request(
        work,
        limits,
        rates,
        shards=settings.memory.shards,
        block_images=settings.memory.block_images,
        others=tuple(others),
        notes=(*notes, *said),
        who=who,
    )
