"""Reconstruct one block of images on one device."""

from pathlib import Path

from pipeline.config.reconstruction import ReconstructSettings
from pipeline.errors import DataError
from pipeline.planning.table import read_plan
from pipeline.reconstruction.block import reconstruct_block
from pipeline.reconstruction.job import BlockJob, prepare_process
from pipeline.reconstruction.measurement import measurement_of
from pipeline.storage.blocks import write_block
from pipeline.storage.calibration import Calibration
from pipeline.storage.open_raw import open_raw
from pipeline.storage.receipts import Receipt
from pipeline.storage.shares import share_path


def reconstruct(
    *,
    settings: ReconstructSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    block: str,
    shares: Path,
    image: Path,
    receipt: Path,
    device: str,
    threads: int,
) -> None:
    """Reconstruct the images of one block and write them as one file.

    Parameters
    ----------
    settings
        How to reconstruct.
    dataset, reconstruction, block
        Whose block this is.
    raw, calibration, plan
        Markers of the stores, and the plan.
    shares
        Folder of what `accumulate` wrote; not looked at where the plan cuts no shards.
    image, receipt
        Files to write.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads to use.

    Raises
    ------
    DataError
        If the block is not in the plan, a share is missing, or samples are not finite.
    DeviceError
        If the device is absent or has too little memory.
    CanaryError
        If the checks before the reconstruction fail.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction, "block": block}
    with Receipt(receipt, "reconstruct", **identity) as job:
        jobs = read_plan(plan)
        row = jobs.blocks.get(block)
        if row is None:
            raise DataError(f"{plan}: no block `{block}`; run `plan` again")
        prepare_process(job, device, threads)
        block_job = BlockJob(settings, dataset, row, job)
        data = measurement_of(block_job, open_raw(raw), Calibration.open(calibration))
        pieces = [
            (piece, share_path(shares, piece.block, piece.shard)) for piece in jobs.shards(block)
        ]
        images = reconstruct_block(block_job, data, pieces)
        with job.phase("write"):
            write_block(image, images, {**identity, "first_image": row.first_image})
        job.count_bytes("write", image.stat().st_size)
