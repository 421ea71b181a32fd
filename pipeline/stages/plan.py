"""Plan the jobs of one reconstruction, and print the plan."""

import sys
from pathlib import Path

from pipeline.config.equations import decided
from pipeline.config.planning import PlanSettings
from pipeline.engine.images import Images
from pipeline.engine.limits import Limits, planned_limits
from pipeline.engine.needs import Need, require_fit
from pipeline.engine.plan import plan_or_advise
from pipeline.engine.presentation import plan_lines
from pipeline.engine.request import request_for
from pipeline.engine.table import PlanRow, write_plan
from pipeline.errors import ConfigError
from pipeline.kinds import open_raw, part_of
from pipeline.merge.costs import fitting_merge
from pipeline.metrics.costs import measure_memory
from pipeline.report.costs import report_memory
from pipeline.storage.acquired import Acquired
from pipeline.storage.calibration import Calibration
from pipeline.storage.receipts import Receipt


def plan(
    *,
    settings: PlanSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    receipt: Path,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Cut a reconstruction into jobs that fit the memory limits; print the table.

    Of the stores only shapes are read. The device need not be there if its memory is given.

    Raises
    ------
    ConfigError
        If deterministic images are asked for on a GPU, or a network is for images of other axes.
    PlanError
        If the work does not fit the limits: with the arithmetic, and changes that would make it
        fit.
    DataError
        If several coils are to be combined without coil maps, or the settings name a tuning file
        that is missing or damaged.
    """
    who = f"{dataset} {reconstruction}"
    identity = {"dataset": dataset, "reconstruction": reconstruction}
    with Receipt(receipt, "plan", settings=settings, **identity) as job:
        limits = planned_limits(device, settings.memory.device_mb, settings.memory.host_mb)
        if settings.deterministic and limits.device_mb:
            raise ConfigError(
                f"{who}: compute.deterministic repeats images to the last bit on CPUs alone, and "
                "this plan is for a GPU; set compute.device to cpu, or deterministic to false"
            )
        data, calibrated = open_raw(raw), Calibration.open(calibration)
        known = part_of(data.kind, "defaults").known(data, calibrated)
        algorithm, defaults = decided(settings.reconstruction, known)
        settings = settings.model_copy(update={"reconstruction": algorithm})
        request = request_for(
            part_of(data.kind, "plan").models,
            data,
            calibrated,
            settings,
            limits,
            threads=threads,
            who=who,
        )
        settings.reconstruction.check_file(len(request.work.shape))
        rows = plan_or_advise(request)
        images = Images.of(
            Acquired.of(raw),
            algorithm,
            request.work.images * request.work.outputs,
            double=settings.precision == "double",
        )
        later = _later_stages(Acquired.of(raw), images, len(rows), threads, limits)
        for stage in ("merge", "measure"):
            require_fit(later[stage], limits, who=f"{who}: {stage}")
        takes = [PlanRow.of_stage(stage, need, limits.host_mb) for stage, need in later.items()]
        write_plan(plan, [*rows, *takes])
        job.record(
            blocks=sum(row.stage == "reconstruct" for row in rows),
            shards=sum(row.stage == "accumulate" for row in rows),
            predicted_seconds=round(sum(row.seconds for row in rows), 1),
            predicted_disk_bytes=sum(row.disk_mb for row in rows) * 10**6,
            limit_device_bytes=limits.device_mb * 10**6,
            limit_host_bytes=limits.host_mb * 10**6,
            notes=list(request.notes),
            defaults=defaults,
        )
    chosen = ", ".join(f"{key} {value}" for key, value in defaults.items() if key != "because")
    notes = [f"{who}: chosen: {chosen}; {defaults['because']}"] if chosen else []
    sys.stdout.write("\n".join((*notes, *request.notes, *plan_lines(who, rows))) + "\n")


def _later_stages(
    acquired: Acquired, images: Images, jobs: int, threads: int, limits: Limits
) -> dict[str, Need]:
    """Return what the stages after the blocks need; `report`, what it takes to show these."""
    costs = part_of(acquired.kind, "image_costs")
    _, merging = fitting_merge(images, threads=threads, jobs=jobs, host_mb=limits.host_mb)
    return {
        "merge": merging,
        "measure": measure_memory(
            acquired, images, jobs=jobs, of_kind=costs.measuring(acquired, images)
        ),
        "report": report_memory(acquired, images, drawn=costs.drawn_voxels(images)),
    }
