"""Measure: the table of what each job of a reconstruction took and how good each image is."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.outputs import MeasureSettings, MetricsSettings
from pipeline.engine.images import Images
from pipeline.engine.limits import Megabytes, planned_limits
from pipeline.engine.needs import require_fit
from pipeline.engine.table import read_plan
from pipeline.errors import DataError
from pipeline.host_memory import return_freed_memory
from pipeline.kinds import open_raw, part_of
from pipeline.metrics.comparison import Array, Comparison
from pipeline.metrics.costs import measure_memory
from pipeline.metrics.images import image_metrics
from pipeline.metrics.misfit import misfit_warning
from pipeline.metrics.references import frame_slabs, reference_image
from pipeline.metrics.streams import stream_totals
from pipeline.metrics.tables import as_table, job_row, write_table
from pipeline.progress import track
from pipeline.storage.acquired import Acquired
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.archives import first_axis
from pipeline.storage.publish import open_published, read_json
from pipeline.storage.receipts import Receipt, warnings_of

if TYPE_CHECKING:
    import zarr

_KEPT_OF_BLOCKS = (
    "block", "first_image", "algorithm", "weight", "penalty", "penalty_value", "stopped",
    "iterations", "residuals", "defaults", "backend", "normal", "device", "threads", "coils",
    "samples", "shape", "canary", "model", "sub_apertures", "operator_evaluations", "fusion",
    "misfit", "expected_misfit", "misfit_resolution", "normalised_maps",
)  # fmt: skip


def measure(
    *,
    settings: MeasureSettings,
    dataset: str,
    reconstruction: str,
    raw: Path,
    image: Path,
    plan: Path,
    receipts: Path,
    metrics: Path,
    receipt: Path,
    host_mb: Megabytes = "auto",
) -> None:
    """Measure image quality and collect what the jobs used.

    Parameters
    ----------
    receipts
        Folder of the jobs' receipts.
    metrics
        Table; .parquet goes beside it.

    Raises
    ------
    PlanError
        If the comparison does not fit the limit.
    DataError
        If an input is missing, an image holds NaN or infinity, or the number of images is not
        what joining frames gives.
    """
    identity = {"dataset": dataset, "reconstruction": reconstruction}
    with Receipt(receipt, "measure", settings=settings, **identity) as record:
        return_freed_memory()
        with record.phase("read"):
            names = ("plan", *read_plan(plan).jobs(), "merge")
            jobs = [read_json(receipts / f"{name}.json") for name in names]
            measured = open_raw(raw)
            images = _stored_images(image)
            limits = planned_limits("cpu", "auto", host_mb)
            acquired, sizes = Acquired.of(raw), Images(images.shape, images.dtype.itemsize)
            of_kind = part_of(acquired.kind, "image_costs").measuring(acquired, sizes)
            need = measure_memory(acquired, sizes, jobs=len(jobs), of_kind=of_kind)
        require_fit(need, limits, who=f"{dataset} {reconstruction}: measure")
        record.record(predicted_host_bytes=need.host_bytes, limit_host_bytes=limits.host_mb * 10**6)
        blocks = [job for job in jobs if job.get("stage") == "reconstruct"]
        groups = _joined_frames(settings.frames_per_image, measured.frames, images, image)
        rows: list[dict[str, Any]] = []
        who = f"{dataset}/{reconstruction}"
        with record.phase("compare"), track(f"measure {who}", len(groups)) as advance:
            for frame, group in enumerate(groups):
                compared = settings.frames_per_image != "bins" and first_axis(images) == "frame"
                row = _image_row(images, measured, frame, group, image, compared=compared)
                rows.append({**row, "kind": "image", **_solution_of(frame, blocks)})
                advance()
        points, told = part_of(acquired.kind, "measures").measure(
            record, measured, images, groups, rows, jobs, settings.metrics or MetricsSettings()
        )
        for row in (*rows, *points):
            row.update(dataset=dataset, reconstruction=reconstruction)
        with record.phase("write"):
            write_table(as_table([*map(job_row, jobs), *rows, *points]), metrics)
        told["streaming"] = stream_totals(jobs)
        record.record(**{name: value for name, value in told.items() if value})
        record.record(
            frames_per_image=settings.frames_per_image,
            images=len(rows),
            blocks=[{key: job[key] for key in _KEPT_OF_BLOCKS if key in job} for job in blocks],
            made_with=blocks[0].get("settings", {}),  # of all blocks the same
            outputs_left_out=jobs[-1].get("left_out", []),
        )
        for warning in warnings_of(jobs):  # the report reads no receipts of blocks
            record.content.setdefault("warnings", []).append(warning)
        if implausible := misfit_warning(blocks):
            record.warn(f"{who}: {implausible}")


def _stored_images(marker: Path) -> "zarr.Array[Any]":
    import zarr

    images = open_published(marker).get("image")
    if not isinstance(images, zarr.Array) or images.ndim != 4:
        raise DataError(
            f"{marker}: expected an array `image` with the axes frame, z, y, x, found "
            f"{images}; run `merge` again"
        )
    return images


def _joined_frames(
    frames_per_image: int | str, frames: int, stored: "zarr.Array[Any]", marker: Path
) -> list[range]:
    """Return the measured frames of each image; each bin or coefficient may be of all."""
    images = stored.shape[0]
    if frames_per_image == "bins" or first_axis(stored) != "frame":
        return [range(frames)] * images
    step = frames if isinstance(frames_per_image, str) else frames_per_image
    groups = [range(first, min(first + step, frames)) for first in range(0, frames, step)]
    if len(groups) != images:
        raise DataError(
            f"{marker}: {images} images, but {frames} frames joined by {step} make "
            f"{len(groups)}; run `reconstruct` and `merge` again with the present settings"
        )
    return groups


def _image_row(
    images: "zarr.Array[Any]",
    raw: Acquisition,
    frame: int,
    group: range,
    marker: Path,
    *,
    compared: bool,
) -> dict[str, Any]:
    row: dict[str, Any] = {"frame": frame, "first_frame": group.start, "frames": len(group)}
    reference = reference_image(raw, group, images.shape[1:]) if compared else None

    def slabs() -> Iterator[tuple[Array, Array | None]]:
        for where, slab in frame_slabs(images, frame, marker):
            yield slab, None if reference is None else reference[where]

    row.update(image_metrics(Comparison(slabs), compares=reference is not None))
    if reference is not None:
        row["reference"] = _describe_reference(raw.volume, images.shape[1:], group)
        if len(group) > 1:  # a mean of magnitudes has no phase
            del row["nrmse_complex"]
    return row


def _describe_reference(stored: Sequence[int], shape: Sequence[int], group: range) -> str:
    text = f"frame {group.start}"
    if len(group) > 1:
        text = f"mean magnitude of frames {group.start} to {group[-1]}"
    if tuple(shape) != tuple(stored):
        matrix = stored if stored[0] > 1 else stored[1:]
        text += f", Fourier-resampled from {' x '.join(map(str, matrix))}"
    return text


def _solution_of(frame: int, blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return which block an image is in, and how far its solver came."""
    for block in blocks:
        place = frame - block.get("first_image", 0)
        if 0 <= place < block.get("images", 0):
            row = {"block": block.get("block")}
            curves = block.get("residuals") or []
            # Images that are one problem share what is told of it.
            if curves and (curve := curves[min(place, len(curves) - 1)]):
                row["final_residual"] = curve[-1]
                row["iterations"] = len(curve)
            for name in ("misfit", "expected_misfit"):
                if values := block.get(name):
                    row[name] = values[min(place, len(values) - 1)]
            row["misfit_resolution"] = block.get("misfit_resolution")
            return row
    return {}
