"""Say what a reconstruction would take, on data and devices that need not be there."""

import sys

from pipeline.algorithms.registry import check_kind
from pipeline.config.planning import PlanSettings
from pipeline.engine.limits import MEGABYTE, Limits, planned_limits
from pipeline.engine.plan import plan_or_advise
from pipeline.engine.presentation import plan_lines
from pipeline.engine.request import Sizes, request_for
from pipeline.kinds import part_of


def estimate(
    kind: str, data: Sizes, settings: PlanSettings, *, device_mb: int, threads: int
) -> None:
    """Print the plan of an acquisition that is known by its sizes.

    Parameters
    ----------
    kind, data
        What was measured: an acquisition without its calibration, or one that is only imagined.
    settings
        How to reconstruct it, and what jobs may use.
    device_mb
        Memory of the device [MB]; 0 plans for a CPU.
    threads
        CPU threads of each job.

    Raises
    ------
    ConfigError
        If algorithm or settings are not for such data.
    PlanError
        If nothing fits: with the arithmetic, and changes that would make it fit.
    """
    check_kind(settings.reconstruction, "rf" if kind == "rf" else "mri")
    _, host_mb = planned_limits("cpu", 0, settings.memory.host_mb)
    request = request_for(
        part_of(kind, "plan").models,
        data,
        None,
        settings,
        Limits(device_mb, host_mb),
        threads=threads,
        who="estimate",
    )
    rows = plan_or_advise(request)
    work = request.work
    matrix = " x ".join(map(str, work.shape))
    images = f"{work.images} images of " if work.images > 1 else ""
    stored = work.images * work.model.bytes_per_image / MEGABYTE
    title = f"{settings.reconstruction.algorithm}: {images}{matrix} from {work.model}"
    lines = [*plan_lines(title, rows), f"The measurement itself is {stored:.0f} MB on disk."]
    sys.stdout.write("\n".join(lines) + "\n")
