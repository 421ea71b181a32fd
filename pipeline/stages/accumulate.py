"""Accumulate: reduce one shard of a block to its share of the normal equations."""

from pathlib import Path

from pipeline.config.equations import AccumulateSettings, decided
from pipeline.engine.accumulation import Measurement, accumulate_shard
from pipeline.engine.job import BlockJob, prepare_process
from pipeline.engine.table import read_plan
from pipeline.errors import DataError
from pipeline.kinds import open_raw, part_of
from pipeline.storage.calibration import Calibration
from pipeline.storage.receipts import Receipt
from pipeline.storage.shares import write_share


def accumulate(
    *,
    settings: AccumulateSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    block: str,
    shard: str,
    share: Path,
    receipt: Path,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Reduce one shard of a block to its share of the normal equations.

    Parameters
    ----------
    shard
        Name of the shard in the plan.
    share
        The shard's share, a .zarr.zip.

    Raises
    ------
    DataError
        If the shard is not in the plan, or samples are not finite.
    DeviceError
        If the device is absent or has too little memory.
    CanaryError
        If the checks before the computation fail.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction, "block": block}
    with Receipt(receipt, "accumulate", settings=settings, **identity, shard=shard) as job:
        row = read_plan(plan).shard(block, shard)
        if row is None:
            raise DataError(f"{plan}: no shard `{shard}` of block `{block}`; run `plan` again")
        prepare_process(job, device, threads)
        acquired, calibrated = open_raw(raw), Calibration.open(calibration)
        known = part_of(acquired.kind, "defaults").known(acquired, calibrated)
        equations, defaults = decided(settings.reconstruction, known)
        job.record(defaults=defaults)
        chosen = settings.model_copy(update={"reconstruction": equations})
        shard_job = BlockJob(chosen, dataset, row, job)
        data: Measurement = part_of(acquired.kind, "measurement").measurement_of(
            shard_job, acquired, calibrated
        )
        arrays = accumulate_shard(shard_job, data)
        with job.phase("write"):
            write_share(share, arrays, {**identity, "shard": shard, "first_image": row.first_image})
        job.count_bytes("write", share.stat().st_size)
