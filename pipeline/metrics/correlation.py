"""Pearson's correlation of the magnitudes."""

import math

from pipeline.metrics.comparison import Column, Comparison, Metric


def _correlation(compared: Comparison) -> dict[str, float]:
    """Return it over all voxels; NaN where image or reference is constant."""
    sums = compared.sums
    spread_a = sums.count * sums.aa - sums.a**2
    spread_r = sums.count * sums.rr - sums.r**2
    together = sums.count * sums.ar - sums.a * sums.r
    # A constant image has a spread of rounding errors only, and no correlation.
    if spread_a <= 1e-14 * sums.count * sums.aa or spread_r <= 1e-14 * sums.count * sums.rr:
        return {"correlation": math.nan}
    return {"correlation": min(1.0, max(-1.0, together / math.sqrt(spread_a * spread_r)))}


METRIC = Metric(
    {
        "correlation": Column(
            "image: Pearson's correlation of the magnitudes over all voxels", "correlation", ".4f"
        )
    },
    _correlation,
)
