"""Calibrate: run the steps that a kind of data has, in order; see `pipeline.engine.chain`.

Torch is imported when the steps run: what they need is asked before there are jobs.
"""

from pathlib import Path
from typing import Any

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine.chain import NONE, Calibrating, Step, chain_need, with_methods
from pipeline.engine.limits import Megabytes, planned_limits
from pipeline.engine.needs import Need, require_fit
from pipeline.errors import KronufftError
from pipeline.kinds import open_raw, part_of
from pipeline.storage.acquired import Acquired
from pipeline.storage.publish import published_store
from pipeline.storage.receipts import Receipt


def calibrate_need(
    acquired: Acquired, settings: CalibrateSettings, *, threads: int, on_device: bool
) -> Need:
    """Predict the peak memory of `calibrate`, as far as the sizes tell what it will do. Pure."""
    steps = _steps(acquired)
    job = Calibrating("", acquired, settings, threads, "cuda" if on_device else "cpu")
    try:
        return chain_need(steps, with_methods(steps, job))
    except KronufftError:  # the job itself says what is wrong
        return chain_need((), job)


def calibrate(
    *,
    settings: CalibrateSettings,
    dataset: str,
    raw: Path,
    calibration: Path,
    receipt: Path,
    device: str = "auto",
    threads: int = 1,
    host_mb: Megabytes = "auto",
    device_mb: Megabytes = "auto",
) -> None:
    """Estimate coil sensitivities and density compensation.

    Raises
    ------
    PlanError
        If the calibration does not fit the limits: before it computes anything, with the
        arithmetic.
    DataError
        If the source lacks what the settings take from it, or a method does not fit the data.
    DeviceError
        If the device is absent.
    """
    from pipeline.engine.job import prepare_process, record_device_memory

    with Receipt(receipt, "calibrate", settings=settings, dataset=dataset) as record:
        prepare_process(record, device, threads)
        data, acquired = open_raw(raw), Acquired.of(raw)
        steps = _steps(acquired)
        job = Calibrating(dataset, acquired, settings, threads, record.content["device"])
        job = with_methods(steps, job, data)
        need = chain_need(steps, job)
        limits = planned_limits(job.device, device_mb, host_mb)
        require_fit(
            need,
            limits,
            who=f"{dataset}: calibrate",
            advice=[line for step in steps for line in step.advice(job, need)],
        )
        record.record(
            predicted_host_bytes=need.host_bytes,
            predicted_device_bytes=need.device_mb * 10**6,
            limit_host_bytes=limits.host_mb * 10**6,
            limit_device_bytes=limits.device_mb * 10**6,
        )
        # Whoever reads a calibration asks for maps and weights of every kind of data.
        found: dict[str, Any] = {"coil_maps": NONE, "density": NONE, **job.methods}
        with published_store(calibration) as group:
            for step in steps:
                if job.methods[step.NAME] != NONE:
                    found |= step.run(data, group, job, record)
            group.attrs.update(
                {"dataset": dataset, **found, "settings": settings.model_dump(mode="json")}
            )
        record.record(**found, frames=acquired.frames)
        record_device_memory(record)


def _steps(acquired: Acquired) -> tuple[Step, ...]:
    steps: tuple[Step, ...] = part_of(acquired.kind, "calibrate").STEPS
    return steps
