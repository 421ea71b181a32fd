"""What is measured of RF images beyond what is measured of all images: errors, targets, points."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.outputs import MetricsSettings
from pipeline.metrics.references import reference_image
from pipeline.metrics.streams import pair_totals
from pipeline.metrics.tables import Rows
from pipeline.rf.measures.scenes import SceneMeasurement
from pipeline.rf.raw import RfRawData
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr


def measure(
    record: Receipt,
    raw: RfRawData,
    images: "zarr.Array[Any]",
    groups: Sequence[range],
    rows: Rows,
    jobs: Sequence[Mapping[str, Any]],
    settings: MetricsSettings,
) -> tuple[Rows, dict[str, Any]]:
    """Measure the images of a reconstruction, complex ``[frame, z, y, x]``.

    Columns are added to the images' ``rows`` of the metrics, whose ``groups`` are the measured
    frames of each. Return further rows, of points, and what the receipt keeps for the report.
    """
    points: Rows = []
    curves: Rows = []
    with record.phase("points"):
        measurement = SceneMeasurement(raw, settings)
        for row, group in zip(rows, groups, strict=True):
            frame = row["frame"]
            image = raw.from_volumes(np.asarray(images[frame]))
            reference = reference_image(raw, group, images.shape[1:])
            found = measurement.rows(
                image, None if reference is None else raw.from_volumes(reference)
            )
            row.update(found.image)
            points += [{"frame": frame, **point} for point in found.points]
            if frame == len(groups) // 2:  # the one that the report shows
                curves = [{"frame": frame, **curve} for curve in found.curves]
    return points, {"points": curves, "pairs": _pairs(raw, jobs)}


def _pairs(raw: RfRawData, jobs: Sequence[Mapping[str, Any]]) -> Rows:
    """Return what is known of each pair of antenna arrays: its model, weight, and streaming."""
    streamed = {entry["pair"]: entry for entry in pair_totals(jobs)}
    models = {job["model"] for job in jobs if job.get("stage") == "reconstruct" and "model" in job}
    found = []
    for pair in range(raw.pairs):
        entry: dict[str, Any] = {"pair": pair}
        if len(models) == 1:
            entry["model"] = next(iter(models))
        weights = raw.weights(pair)
        if weights is not None:
            entry["weight"] = float(np.sqrt(np.mean(np.abs(weights) ** 2)))
        found.append({**entry, **streamed.get(pair, {})})
    return found
