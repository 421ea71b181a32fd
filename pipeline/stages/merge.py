"""Merge: the images of all blocks as one store, and the files that other programs open."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.config.outputs import MergeSettings
from pipeline.engine.limits import planned_limits
from pipeline.engine.needs import Need, require_fit
from pipeline.engine.stage_memory import Images, merge_memory
from pipeline.engine.table import Plan, PlanRow, read_plan
from pipeline.geometry.axes import as_volume
from pipeline.geometry.grids import resampled_affine
from pipeline.host_memory import return_freed_memory
from pipeline.kinds import open_raw
from pipeline.merge.nifti import check_fits_nifti, nifti_affine, write_nifti
from pipeline.merge.pyramid import write_pyramid
from pipeline.merge.series import BlockSeries, store_images
from pipeline.storage.provenance import (
    PROVENANCE,
    REMAKE,
    gather_provenance,
    remake_script,
    repeatable_part,
)
from pipeline.storage.publish import (
    published_file,
    published_folder,
    published_store,
    read_json,
)
from pipeline.storage.receipts import Receipt
from pipeline.storage.research_object import RO_CRATE, research_object
from pipeline.storage.sealed import sealed_json

OME_ZARR = "magnitude.ome.zarr"
NIFTI = "magnitude.nii.gz"


def merge(
    *,
    settings: MergeSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    plan: Path,
    blocks: Sequence[Path],
    image: Path,
    receipt: Path,
    threads: int,
    host_mb: Literal["auto"] | int = "auto",
) -> None:
    """Join the blocks of one reconstruction.

    ``image.zarr``, and beside it `OME_ZARR` and `NIFTI` where the settings ask for them, are
    published whole or not at all, with the files that say where the images come from; the marker
    comes last.

    Parameters
    ----------
    settings
        Which files to write.
    dataset, reconstruction
        Names.
    raw
        Marker of the dataset, for the size and position of its voxels.
    plan
        The plan that the blocks were reconstructed by.
    blocks
        All block files of the plan, in any order.
    image
        Marker of the store to write.
    receipt
        This job's receipt.
    threads
        Chunks in work at a time; fewer where so many do not fit the limit.
    host_mb
        Limit of memory, as in `memory` of the config.

    Raises
    ------
    PlanError
        If not even one chunk at a time fits the limit.
    DataError
        If a block is missing, damaged or of another plan, or an image holds NaN or infinity; the
        message names the block.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction}
    with Receipt(receipt, "merge", settings=settings, **identity) as job:
        return_freed_memory()
        with job.phase("check"):
            source = open_raw(raw)
            jobs = read_plan(plan)
            series = BlockSeries.open(blocks, jobs.blocks)
            if settings.output.nifti:
                check_fits_nifti(series.shape)
            threads = _fitting_threads(threads, series, jobs, settings, host_mb, job)
        pyramid, nifti = image.with_name(OME_ZARR), image.with_name(NIFTI)
        volume = series.shape[1:]
        affine = resampled_affine(source.affine, as_volume(source.shape), volume)
        voxel_size = np.linalg.norm(affine[:3, :3], axis=0)
        title = f"{dataset} {reconstruction}"
        with ExitStack() as outputs:  # all are complete before the first is published
            group = outputs.enter_context(published_store(image))  # entered first, published last
            group.attrs.update(
                {
                    "dataset": dataset,
                    "reconstruction": reconstruction,
                    "voxel_size": voxel_size.tolist(),
                    "affine": affine.tolist(),
                    "plan": [
                        {"block": row.block, "first_image": row.first_image, "images": row.images}
                        for row in series.rows
                    ],
                }
            )
            with job.phase("images"):
                images = store_images(series, group, threads=threads)
            job.count_bytes("images", images.nbytes)
            if settings.output.ome_zarr:
                folder = outputs.enter_context(published_folder(pyramid))
                with job.phase("ome_zarr"):
                    write_pyramid(folder, images, voxel_size, name=title, threads=threads)
            if settings.output.nifti:
                file = outputs.enter_context(published_file(nifti))
                description = f"kronufft {version('kronufft')} {title}"
                with job.phase("nifti"):
                    write_nifti(file, images, nifti_affine(affine), description=description)
            with job.phase("provenance"):
                history = gather_provenance(
                    [*_receipts_before(raw, jobs, receipt), job.account()],
                    [row.model_dump() for row in _rows(jobs)],
                )
                group.attrs["provenance"] = repeatable_part(history)
                for name, text in _provenance_files(history, settings).items():
                    outputs.enter_context(published_file(image.with_name(name))).write_text(text)
        # What an earlier run left must not stand beside images that it does not show.
        if not settings.output.ome_zarr:
            shutil.rmtree(pyramid, ignore_errors=True)
        if not settings.output.nifti:
            nifti.unlink(missing_ok=True)
        job.record(
            shape=list(series.shape), blocks=len(series.rows), voxel_size=voxel_size.tolist(),
        )  # fmt: skip


def _fitting_threads(
    threads: int,
    series: BlockSeries,
    jobs: Plan,
    settings: MergeSettings,
    host_mb: Literal["auto"] | int,
    job: Receipt,
) -> int:
    """Return how many chunks can be in work within the limit, and record what they need."""
    images = Images(series.shape, series.dtype.itemsize)
    count = len(list(jobs.jobs()))
    _, limit = planned_limits("cpu", "auto", host_mb)

    def need(threads: int) -> Need:
        return merge_memory(images, threads=threads, jobs=count, nifti=settings.output.nifti)

    while threads > 1 and need(threads).host_mb > limit:
        threads -= 1
    who = f"{job.content['dataset']} {job.content['reconstruction']}: merge"
    require_fit(need(threads), host_mb=limit, who=who)
    job.record(
        threads=threads,
        predicted_host_bytes=need(threads).host_bytes,
        limit_host_bytes=limit * 10**6,
    )
    return threads


def _receipts_before(raw: Path, jobs: Plan, receipt: Path) -> list[dict[str, Any]]:
    """Return the receipts of the jobs before this one; a stage run by hand may have left none."""
    files = [
        *(raw.parent / "receipts" / f"{name}.json" for name in ("ingest", "calibrate")),
        *(receipt.with_name(f"{name}.json") for name in ("plan", *jobs.jobs())),
    ]
    return [read_json(file) for file in files if file.exists()]


def _rows(jobs: Plan) -> Iterator[PlanRow]:
    for block, row in jobs.blocks.items():
        yield from jobs.shards(block)
        yield row


def _provenance_files(history: Mapping[str, Any], settings: MergeSettings) -> dict[str, str]:
    """Return the content of the files that say where the images come from."""
    magnitudes = {OME_ZARR: settings.output.ome_zarr, NIFTI: settings.output.nifti}
    written = [name for name, wanted in magnitudes.items() if wanted]
    crate = research_object(history, workflow=REMAKE, results=written)
    return {
        PROVENANCE: sealed_json(history),
        REMAKE: remake_script(history),
        RO_CRATE: json.dumps(crate, indent=2) + "\n",
    }
