"""Reconstruct one block of images on one device."""

import hashlib
from pathlib import Path

from pipeline.config.base import canonical_json
from pipeline.config.equations import decided
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.engine.accumulation import Measurement
from pipeline.engine.block import Equations, reconstruct_block
from pipeline.engine.job import BlockJob, prepare_process
from pipeline.engine.table import PlanRow, read_plan
from pipeline.errors import DataError
from pipeline.fingerprint import code_fingerprint
from pipeline.kinds import open_raw, part_of
from pipeline.storage.archives import write_block
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import FINGERPRINT, read_json
from pipeline.storage.receipts import Receipt
from pipeline.storage.shares import share_path
from pipeline.storage.solver_state import SolverState, state_path


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
    device: str = "auto",
    threads: int = 1,
    checkpoint_seconds: float = 0.0,
) -> None:
    """Reconstruct one block of images.

    Parameters
    ----------
    shares
        Folder of the shards' shares.
    image
        The block's image, a .zarr.zip.
    checkpoint_seconds
        Seconds after which the state of a solve is kept; 0: never.

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
    with Receipt(receipt, "reconstruct", settings=settings, **identity) as job:
        jobs = read_plan(plan)
        row = jobs.blocks.get(block)
        if row is None:
            raise DataError(f"{plan}: no block `{block}`; run `plan` again")
        prepare_process(job, device, threads)
        acquired, calibrated = open_raw(raw), Calibration.open(calibration)
        known = part_of(acquired.kind, "defaults").known(acquired, calibrated)
        algorithm, defaults = decided(settings.reconstruction, known)
        job.record(defaults=defaults)
        chosen = settings.model_copy(update={"reconstruction": algorithm})
        block_job = BlockJob(chosen, dataset, row, job)
        data: Measurement = part_of(acquired.kind, "measurement").measurement_of(
            block_job, acquired, calibrated
        )
        equations: Equations = part_of(acquired.kind, "equations").equations_of(data)
        pieces = [
            (piece, share_path(shares, piece.block, piece.shard)) for piece in jobs.shards(block)
        ]
        state = SolverState(
            state_path(image),
            fingerprint=lambda: _fingerprint(settings, acquired.kind, row, raw, calibration),
            seconds=checkpoint_seconds,
            who=block_job.who,
        )
        images = acquired.to_volumes(
            reconstruct_block(block_job, algorithm, data, equations, pieces, state)
        )
        with job.phase("write"):
            write_block(image, images, {**identity, "first_image": row.first_image})
        job.count_bytes("write", image.stat().st_size)
    state.remove()


def _fingerprint(
    settings: ReconstructSettings, kind: str, row: PlanRow, raw: Path, calibration: Path
) -> str:
    """Return what tells apart all that an image of this block depends on."""
    stores = [read_json(marker).get(FINGERPRINT) for marker in (raw, calibration)]
    parts = [canonical_json(settings), row.work(), *map(str, stores)]
    parts.append(code_fingerprint("reconstruct", (kind,), settings.reconstruction.modules))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
