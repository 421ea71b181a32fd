"""Reconstruct one block of images on one device."""

from pathlib import Path

import torch

from pipeline.config.reconstruction import ReconstructSettings
from pipeline.errors import DataError, DeviceError
from pipeline.host_memory import return_freed_memory
from pipeline.planning.levels import choose_level
from pipeline.planning.limits import torch_device
from pipeline.planning.table import read_plan
from pipeline.reconstruction.job import BlockJob
from pipeline.reconstruction.mri import MriBlock
from pipeline.reconstruction.pairs import PairsBlock
from pipeline.reconstruction.phase_history import PhaseHistoryBlock
from pipeline.storage.blocks import write_block
from pipeline.storage.calibration import Calibration
from pipeline.storage.open_raw import Acquisition, open_raw
from pipeline.storage.raw import RawData
from pipeline.storage.receipts import Receipt


def reconstruct(
    *,
    settings: ReconstructSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    calibration: Path,
    plan: Path,
    block: str,
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
    image, receipt
        Files to write.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads to use.

    Raises
    ------
    DataError
        If the block is not in the plan, or samples are not finite.
    DeviceError
        If the device is absent or runs out of memory.
    CanaryError
        If the checks before the reconstruction fail.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction, "block": block}
    with Receipt(receipt, "reconstruct", **identity) as job:
        row = read_plan(plan).blocks.get(block)
        if row is None:
            raise DataError(f"{plan}: no block `{block}`; run `plan` again")
        return_freed_memory()
        torch.set_num_threads(threads)
        job.record(device=torch_device(device), threads=threads)
        data = open_raw(raw)
        block_job = BlockJob(settings, dataset, row, job)
        work = _work(block_job, data, Calibration.open(calibration))
        try:
            images = work.run()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceError(
                f"{dataset} block {block}: the device ran out of memory ({error}); predicted were "
                f"{row.device_mb} MB of {row.limit_device_mb} MB. Another process may be using it; "
                "lower memory.device_mb and plan again"
            ) from None
        with job.phase("write"):
            write_block(image, images, {**identity, "first_image": row.first_image})
        job.count_bytes("write", image.stat().st_size)
        if block_job.device.startswith("cuda"):
            job.record(peak_device_bytes=torch.cuda.max_memory_allocated(block_job.device))


def _work(
    job: BlockJob, data: Acquisition, calibration: Calibration
) -> MriBlock | PairsBlock | PhaseHistoryBlock:
    """Return what reconstructs this kind of data."""
    if isinstance(data, RawData):
        return MriBlock(job, data, calibration)
    if not data.pairs:
        return PhaseHistoryBlock(job, data)
    chosen = job.settings
    level = choose_level(
        calibration.model_errors, chosen.model, force=chosen.force_model, who=job.who
    )
    return PairsBlock(job, data, level)
