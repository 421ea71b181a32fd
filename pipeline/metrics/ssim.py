"""Structural similarity of the magnitudes, as in the fastMRI challenge.

References
----------
.. [1] Z. Wang et al., "Image quality assessment: from error visibility to structural similarity",
   IEEE Trans. Image Process. 13, 600-612 (2004).
.. [2] J. Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI",
   arXiv:1811.08839 (2018).
"""

import math

import numpy as np

from pipeline.metrics.comparison import Column, Comparison, Metric, magnitude

SSIM_WINDOW = 7
"""Side of the square window [pixel]."""


def _similarity(compared: Comparison) -> dict[str, float]:
    """Return the mean over (y, x) slices, the data range being ``max |r|`` of the volume."""
    from skimage.metrics import structural_similarity

    scale, data_range = compared.sums.scale, compared.sums.largest_r
    if not (math.isfinite(scale) and data_range > 0):
        return {"ssim": math.nan}
    similarities = []
    for image, reference in compared.slabs():
        if reference is None or min(image.shape[1:]) < SSIM_WINDOW:
            return {"ssim": math.nan}
        for a, r in zip(scale * magnitude(image), magnitude(reference), strict=True):
            similarities.append(
                structural_similarity(  # type: ignore[no-untyped-call]
                    a, r, win_size=SSIM_WINDOW, data_range=data_range
                )
            )
    return {"ssim": float(np.mean(similarities))}


METRIC = Metric(
    {
        "ssim": Column(
            "image: structural similarity per slice, 7 x 7 window, mean of slices", "SSIM", ".4f"
        )
    },
    _similarity,
)
