"""Plan the blocks of one reconstruction, and print the plan."""

import math
from pathlib import Path
from typing import Any

from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import ReconstructionSettings, image_count, image_shape
from pipeline.errors import DataError
from pipeline.geometry.phase_history import sub_apertures
from pipeline.planning.levels import choose_level
from pipeline.planning.limits import planned_limits
from pipeline.planning.memory import Work
from pipeline.planning.plan import Limits, plan_blocks
from pipeline.planning.table import PlanRow, write_plan
from pipeline.storage.calibration import Calibration
from pipeline.storage.open_raw import open_raw
from pipeline.storage.raw import RawData
from pipeline.storage.receipts import Receipt
from pipeline.storage.rf_raw import RfRawData


def plan(
    *,
    settings: PlanSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    receipt: Path,
    device: str,
    threads: int,
) -> None:
    """Write the table of blocks of one reconstruction.

    Parameters
    ----------
    settings
        How to reconstruct, and the limits.
    dataset, reconstruction
        Whose plan this is.
    raw, calibration
        Markers of the stores: only shapes are read.
    plan, receipt
        Files to write.
    device
        What the jobs will compute on; it need not be there if its memory is given.
    threads
        CPU threads of each job.

    Raises
    ------
    PlanError
        If the work does not fit the limits.
    DataError
        If cg-sense is asked for without coil maps.
    """
    who = f"{dataset} {reconstruction}"
    with Receipt(receipt, "plan", dataset=dataset, reconstruction=reconstruction) as job:
        data = open_raw(raw)
        device_mb, host_mb = planned_limits(
            device, settings.memory.device_mb, settings.memory.host_mb
        )
        chosen = settings.reconstruction
        work = Work(
            shape=image_shape(data.shape, chosen),
            images=1,
            image_batch=1,
            coil_batch=1,
            algorithm=chosen.algorithm,
            normal="explicit" if chosen.normal == "explicit" else "toeplitz",
            iterations=chosen.iterations,
            backend=settings.nufft.backend,
            tolerance=settings.nufft.tolerance,
            itemsize=8 if settings.precision == "single" else 16,
            on_device=device_mb > 0,
            threads=threads,
            deterministic=settings.deterministic,
            **(
                _mri_measurement(data, chosen, calibration, who)
                if isinstance(data, RawData)
                else _pairs_measurement(data, chosen, calibration, who)
                if data.pairs
                else _phase_history_measurement(data, chosen)
            ),
        )
        rows = plan_blocks(
            work,
            images=image_count(data.frames, chosen.frames_per_image),
            limits=Limits(device_mb, host_mb),
            who=who,
        )
        write_plan(plan, rows)
        job.record(
            blocks=len(rows),
            predicted_seconds=round(sum(row.seconds for row in rows), 1),
            limit_device_bytes=device_mb * 10**6,
            limit_host_bytes=host_mb * 10**6,
        )
    _print_plan(who, rows)


def _mri_measurement(
    data: RawData, chosen: ReconstructionSettings, calibration: Path, who: str
) -> dict[str, Any]:
    """Return what the measurement adds to the work of an MRI reconstruction."""
    maps = Calibration.open(calibration).coil_maps != "none"
    if chosen.algorithm == "cg-sense" and data.coils > 1 and not maps:
        raise DataError(
            f"{who}: cg-sense of {data.coils} coils needs coil maps, and calibration.coil_maps "
            "is none; set it to auto, source or walsh"
        )
    joined = data.frames if chosen.frames_per_image == "all" else chosen.frames_per_image
    return {
        "coils": data.coils,
        "channels": data.coils,
        "readouts": data.readouts * min(joined, data.frames),
        "samples": data.readouts * data.samples * min(joined, data.frames),
        "shared_trajectory": not data.own_trajectory,
        "maps": maps,
    }


def _pairs_measurement(
    data: RfRawData, chosen: ReconstructionSettings, calibration: Path, who: str
) -> dict[str, Any]:
    """Return what pairs of antenna arrays add to the work of an RF reconstruction."""
    errors = Calibration.open(calibration).model_errors
    level = choose_level(errors, chosen.model, force=chosen.force_model, who=who)
    sizes = [data.measurement_shape(pair) for pair in range(data.pairs)]
    return {
        "coils": 1,
        "channels": data.pairs,
        "readouts": len(data.frequencies),
        "samples": max(map(math.prod, sizes)) * len(data.frequencies),
        "shared_trajectory": False,
        "maps": False,
        "kernels": data.pairs if level == "W+D(fc)" else 1,
        "factor_numbers": len(data.frequencies)
        * max(
            sum(rows * voxels for rows, voxels in zip(size, data.shape, strict=False))
            for size in sizes
        ),
    }


def _phase_history_measurement(data: RfRawData, chosen: ReconstructionSettings) -> dict[str, Any]:
    """Return what the measurement adds to the work of an RF reconstruction."""
    apertures = sub_apertures(
        data.scene, data.paths(0), data.frequencies, tolerance=chosen.curvature_error
    )
    return {
        "coils": 1,
        "channels": 1,
        "readouts": data.pulses,
        "samples": max(aperture.samples for aperture in apertures),
        "shared_trajectory": False,
        "maps": False,
        "kernels": len(apertures),
    }


def _print_plan(who: str, rows: list[PlanRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Plan of {who}: {len(rows)} blocks")
    columns = ("block", "images", "at once", "coils at once", "device MB", "host MB", "seconds")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("largest part")
    for row in rows if len(rows) <= 20 else [*rows[:10], *rows[-3:]]:
        table.add_row(
            row.block,
            f"{row.first_image}-{row.first_image + row.images - 1}",
            str(row.image_batch),
            str(row.coil_batch),
            f"{row.device_mb} of {row.limit_device_mb}" if row.limit_device_mb else "-",
            f"{row.host_mb} of {row.limit_host_mb}",
            f"{row.seconds:.0f}",
            row.dominant,
        )
    Console().print(table)
