"""Merge: the images of all blocks as one store, and the files that other programs open."""

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.outputs import MergeSettings, output_names
from pipeline.engine.images import Images
from pipeline.engine.limits import Megabytes, planned_limits
from pipeline.engine.needs import require_fit
from pipeline.engine.table import Plan, read_plan
from pipeline.geometry.axes import resampled_affine
from pipeline.host_memory import return_freed_memory
from pipeline.kinds import open_raw
from pipeline.merge.costs import fitting_merge
from pipeline.merge.outputs import Merged, Output, outputs
from pipeline.merge.series import BlockSeries, store_images
from pipeline.merge.slices import StackedSlices, stacked_shape
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.manifest import describe_whole
from pipeline.storage.provenance import (
    PROVENANCE,
    REMAKE,
    gather_provenance,
    remake_script,
    repeatable_part,
)
from pipeline.storage.publish import (
    FINGERPRINT,
    published_file,
    published_folder,
    published_store,
    read_json,
)
from pipeline.storage.receipts import Receipt, read_receipt
from pipeline.storage.research_object import RO_CRATE, research_object
from pipeline.storage.sealed import sealed_json


def merge(
    *,
    settings: MergeSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    plan: Path,
    image: Path,
    receipt: Path,
    blocks: Path,
    threads: int = 1,
    host_mb: Megabytes = "auto",
) -> None:
    """Join the blocks into image.zarr, an OME-Zarr pyramid and NIfTI.

    ``image.zarr``, and beside it the outputs that the settings ask for, are published whole or not
    at all, with the files that say where the images come from; the marker comes last.
    So many chunks are in work at a time as there are threads, or fewer to keep the limit.

    Parameters
    ----------
    blocks
        Folder of the plan's block images.

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
            files = [blocks / f"{block}.zarr.zip" for block in jobs.blocks]
            series = BlockSeries.open(files, jobs.blocks)
            asked = outputs(settings.output)
            unsuited = {
                name: why
                for name, output in asked.items()
                if (why := output.unsuited(source, series.tables))
            }
            for name, why in unsuited.items():
                print(f"{dataset} {reconstruction}: output.{name} is left out, as it is {why}")  # noqa: T201
            wanted = {name: output for name, output in asked.items() if name not in unsuited}
            for output in wanted.values():
                output.check(stacked_shape(series.shape, source.slices))
            limits = planned_limits("cpu", "auto", host_mb)
            threads, need = fitting_merge(
                Images(series.shape, series.dtype.itemsize),
                threads=threads,
                jobs=len(list(jobs.jobs())),
                host_mb=limits.host_mb,
                settings=settings.output,
            )
            require_fit(need, limits, who=f"{dataset} {reconstruction}: merge")
            job.record(
                threads=threads,
                predicted_host_bytes=need.host_bytes,
                limit_host_bytes=limits.host_mb * 10**6,
            )
        volume = series.shape[1:]
        affine = resampled_affine(source.affine, source.volume, volume)
        voxel_size = np.linalg.norm(affine[:3, :3], axis=0)
        duration = _duration(source, settings) if series.along == "frame" else None
        with ExitStack() as published:  # all are complete before the first is published
            group = published.enter_context(published_store(image))  # entered first, published last
            group.attrs.update(
                {
                    "dataset": dataset,
                    "reconstruction": reconstruction,
                    "voxel_size": voxel_size.tolist(),
                    "affine": affine.tolist(),
                    "oriented": source.oriented,
                    "duration": duration,
                    "slices": source.slices,
                    "plan": [
                        {"block": row.block, "first_image": row.first_image, "images": row.images}
                        for row in series.rows
                    ],
                }
            )
            with job.phase("images"):
                images = store_images(series, group, threads=threads)
            job.count_bytes("images", images.nbytes)
            merged = Merged(
                images if source.slices == 1 else StackedSlices(images, source.slices),
                affine,
                source.oriented,
                duration,
                dataset,
                reconstruction,
                source.kind,
                str(read_json(raw)[FINGERPRINT]),
                source.header,
                source.radar,
                threads,
                settings.output,
                history=lambda: _history(raw, jobs, job),
                written={},
                along=series.along,
                tables=series.tables,
            )
            names = output_names()
            checksums: dict[str, str] = {}
            for name, output in wanted.items():
                publish = published_folder if output.folder else published_file
                path = published.enter_context(publish(image.with_name(names[name])))
                with job.phase(name):
                    output.write(path, merged)
                    merged.written[name] = path
                    if not output.checksums:
                        checksums |= describe_whole(path, names[name])
            with job.phase("provenance"):
                history = merged.history()
                group.attrs["provenance"] = repeatable_part(history)
                for name, text in _provenance_files(history, wanted, names).items():
                    published.enter_context(published_file(image.with_name(name))).write_text(text)
        # What an earlier run left must not stand beside images that it does not show.
        for path in (image.with_name(names[name]) for name in names.keys() - wanted.keys()):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        job.record(
            outputs=checksums,
            left_out=[f"{name}, {why}" for name, why in sorted(unsuited.items())],
            shape=list(series.shape), blocks=len(series.rows), voxel_size=voxel_size.tolist(),
        )  # fmt: skip


def _duration(source: Acquisition, settings: MergeSettings) -> float | None:
    """Return the time from the start of an image to that of the next [s], where it is known."""
    joined = settings.frames_per_image
    if source.frame_duration is None or isinstance(joined, str):
        return None
    return source.frame_duration * joined


def _history(raw: Path, jobs: Plan, merging: Receipt) -> dict[str, Any]:
    """Return where the images come from, as far as the jobs have left receipts."""
    files = [
        *(raw.parent / "receipts" / f"{name}.json" for name in ("ingest", "calibrate")),
        *(merging.path.with_name(f"{name}.json") for name in ("plan", *jobs.jobs())),
    ]
    # A stage run by hand may have left none.
    receipts = [read_receipt(file) for file in files if file.exists()]
    rows = [
        row.model_dump()
        for block, last in jobs.blocks.items()
        for row in (*jobs.shards(block), last)
    ]
    return gather_provenance([*receipts, merging.account()], rows)


def _provenance_files(
    history: Mapping[str, Any], written: Mapping[str, Output], names: Mapping[str, str]
) -> dict[str, str]:
    """Return the content of the files that say where the images come from."""
    described = {
        f"{names[setting]}/" if output.folder else names[setting]: (output.about, output.encoding)
        for setting, output in written.items()
    }
    crate = research_object(history, workflow=REMAKE, outputs=described)
    return {
        PROVENANCE: sealed_json(history),
        REMAKE: remake_script(history),
        RO_CRATE: json.dumps(crate, indent=2) + "\n",
    }
