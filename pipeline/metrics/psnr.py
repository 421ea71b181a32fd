"""Peak signal-to-noise ratio of the magnitudes."""

import math

from pipeline.metrics.comparison import Column, Comparison, Metric


def _ratio(compared: Comparison) -> dict[str, float]:
    """Return ``20 log10(max |r| / rms(scale |a| - |r|))``."""
    sums = compared.sums
    if sums.largest_r == 0:
        return {"psnr_db": math.nan}
    error = sums.relative_error(sums.ar) * math.sqrt(sums.rr / sums.count)
    return {"psnr_db": 20 * math.log10(sums.largest_r / error) if error > 0 else math.inf}


METRIC = Metric(
    {
        "psnr_db": Column(
            "image: peak of the reference over rms error of the magnitude [dB]", "PSNR [dB]", ".2f"
        )
    },
    _ratio,
)
