"""The metrics of images, and all of them of one image. To add one: a module, and a line here."""

from pipeline.metrics import contrast, correlation, nrmse, psnr, scale, ssim
from pipeline.metrics.comparison import Comparison

METRICS = tuple(module.METRIC for module in (nrmse, ssim, psnr, correlation, scale, contrast))
"""In the order of their columns in the table."""

IMAGE_COLUMNS = {name: column for metric in METRICS for name, column in metric.columns.items()}


def image_metrics(compared: Comparison, *, compares: bool) -> dict[str, float]:
    """Return the values of all columns; without a reference, of those that need none."""
    found: dict[str, float] = {}
    for metric in METRICS:
        if compares or not metric.compares:
            found.update(metric.of(compared))
    return found
