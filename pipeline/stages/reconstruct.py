"""Reconstruct one block of images on one device."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.config.base import canonical_json
from pipeline.config.equations import EquationSettings, decided
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.engine.accumulation import Measurement
from pipeline.engine.block import Equations, SeriesEquations, reconstruct_block
from pipeline.engine.job import BlockJob, prepare_process
from pipeline.engine.table import Plan, PlanRow, read_plan
from pipeline.errors import DataError
from pipeline.fingerprint import code_fingerprint
from pipeline.kinds import open_raw, part_of
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.archives import first_axis, write_block
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import FINGERPRINT, open_published, read_json
from pipeline.storage.receipts import Receipt
from pipeline.storage.sealed import DAMAGE, remake
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
    start: Path | None = None,
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
    start
        Marker of the images that the solver begins with, where the settings name them.
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
            fingerprint=lambda: _fingerprint(
                settings, acquired.kind, row, [raw, calibration, *([start] if start else [])]
            ),
            seconds=checkpoint_seconds,
            who=block_job.who,
        )
        begin = None
        if settings.reconstruction.starts_from is not None:
            begin = _start(start, settings, acquired, data.shape, jobs, dataset)
        images = acquired.to_volumes(
            reconstruct_block(block_job, algorithm, data, equations, pieces, state, begin)
        )
        tables = cast(SeriesEquations, equations).tables() if algorithm.joins_images else {}
        with job.phase("write"):
            write_block(
                image,
                images,
                {**identity, "first_image": row.first_image},
                along=_along(algorithm),
                tables=tables,
            )
        job.count_bytes("write", image.stat().st_size)
    state.remove()


def _start(
    marker: Path | None,
    settings: ReconstructSettings,
    acquired: Acquisition,
    shape: Sequence[int],
    jobs: Plan,
    dataset: str,
) -> Callable[[range], NDArray[np.complexfloating]]:
    """Return what reads the images to begin with, as many as there are or one for all.

    Raises
    ------
    DataError
        If they are not there, or are other images.
    """
    name = settings.reconstruction.starts_from
    if marker is None:
        raise DataError(f"{dataset}: `start: {name}` needs the images of {name}; give --start")
    stored: Any = open_published(marker)["image"]
    count = sum(row.images for row in jobs.blocks.values())
    expected = acquired.to_volumes(np.empty((0, *shape))).shape[1:]
    along, found = _along(settings.reconstruction), first_axis(stored)
    few = (count,) if along == "coefficient" else (1, count)
    if stored.shape[1:] != expected or stored.shape[0] not in few or found != along:
        raise DataError(
            f"{dataset}: `start: {name}` has {stored.shape[0]} {found}s of "
            f"{' x '.join(map(str, stored.shape[1:]))}; expected "
            f"{' or '.join(map(str, reversed(few)))} {along}s of "
            f"{' x '.join(map(str, expected))}; choose a reconstruction with the same "
            "`frames_per_image`, `shape` and `series.images`"
        )

    def read(images: range) -> NDArray[np.complexfloating]:
        try:
            if stored.shape[0] == 1:
                first = np.asarray(stored[0])
                found = np.broadcast_to(first, (len(images), *first.shape))
            else:
                found = np.asarray(stored[images.start : images.stop])
        except DAMAGE as error:
            raise DataError(f"{marker}: damaged ({error}); {remake(marker)}") from None
        return found.reshape(len(found), *shape)

    return read


def _along(settings: EquationSettings) -> str:
    """Return the first axis of the images that are written."""
    return "coefficient" if settings.keeps_coefficients else "frame"


def _fingerprint(
    settings: ReconstructSettings, kind: str, row: PlanRow, markers: Sequence[Path]
) -> str:
    """Return what tells apart all that an image of this block depends on."""
    stores = [read_json(marker).get(FINGERPRINT) for marker in markers]
    parts = [canonical_json(settings), row.work(), *map(str, stores)]
    parts.append(code_fingerprint("reconstruct", (kind,), settings.reconstruction.modules))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
