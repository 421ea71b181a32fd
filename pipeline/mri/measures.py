"""What is measured of MRI images beyond what is measured of all images: nothing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.outputs import MetricsSettings
from pipeline.metrics.tables import Rows
from pipeline.mri.raw import RawData
from pipeline.storage.receipts import Receipt

if TYPE_CHECKING:
    import zarr


def measure(
    record: Receipt,
    raw: RawData,
    images: "zarr.Array[Any]",
    groups: Sequence[range],
    rows: Rows,
    jobs: Sequence[Mapping[str, Any]],
    settings: MetricsSettings,
) -> tuple[Rows, dict[str, Any]]:
    """Return no further rows, and nothing for the receipt."""
    return [], {}
