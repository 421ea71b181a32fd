"""Image quality: how close an image is to a reference, and what can be said without one.

Every figure but the complex NRMSE compares **magnitudes**, after the one real factor that brings
the image closest to its reference, because the absolute scale and the phase of an MR image depend
on the receive chain. Images arrive in slabs ``[z, y, x]`` and sums are kept in float64, so memory
is that of one slab however large the volume is.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SSIM_WINDOW = 7
"""Side of the square window of the structural similarity [pixel], as in the fastMRI challenge."""

_HISTOGRAM_BINS = 4096


@dataclass(frozen=True)
class Quality:
    """Agreement of an image with its reference; NaN where a figure is undefined.

    Parameters
    ----------
    scale
        Real factor on the image's magnitude that brings it closest to the reference's.
    nrmse
        ``|| scale |a| - |r| || / || r ||``.
    nrmse_complex
        ``min_s || s a - r || / || r ||`` over complex ``s``: phase counts.
    correlation
        Pearson's correlation of the magnitudes over all voxels.
    psnr_db
        ``20 log10(max |r| / rms(scale |a| - |r|))``.
    ssim
        Structural similarity [1]_ of the magnitudes in each (y, x) slice, uniform 7 x 7 window,
        data range ``max |r|`` of the whole volume, averaged over slices; as in fastMRI [2]_.

    References
    ----------
    .. [1] Z. Wang et al., "Image quality assessment: from error visibility to structural
       similarity", IEEE Trans. Image Process. 13, 600-612 (2004).
    .. [2] J. Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI",
       arXiv:1811.08839 (2018).
    """

    scale: float
    nrmse: float
    nrmse_complex: float
    correlation: float
    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Statistics:
    """What an image's magnitude says by itself; NaN where a figure is undefined.

    Parameters
    ----------
    maximum
        Largest magnitude.
    mean
        Mean magnitude.
    signal_to_background_db
        ``20 log10`` of mean foreground over rms background, divided by Otsu's threshold [1]_.
        Noise, artefacts and faint tissue all count as background: it ranks reconstructions of
        one object and is no signal-to-noise ratio.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms",
       IEEE Trans. Syst. Man Cybern. 9, 62-66 (1979).
    """

    maximum: float
    mean: float
    signal_to_background_db: float


@dataclass
class _Sums:
    """Running sums over an image ``a`` and its reference ``r``."""

    count: int = 0
    a: float = 0.0
    r: float = 0.0
    aa: float = 0.0
    rr: float = 0.0
    ar: float = 0.0
    inner: complex = 0.0
    maximum: float = 0.0

    def add(self, image: Array, reference: Array) -> None:
        if image.shape != reference.shape:
            raise ValueError(f"image {image.shape} and reference {reference.shape} differ in shape")
        a, r = _magnitude(image), _magnitude(reference)
        self.count += a.size
        self.a += float(a.sum())
        self.r += float(r.sum())
        self.aa += float(np.vdot(a, a))
        self.rr += float(np.vdot(r, r))
        self.ar += float(np.vdot(a, r))
        self.inner += complex(np.vdot(image.astype(np.complex128), reference))
        self.maximum = max(self.maximum, float(r.max(initial=0.0)))

    @property
    def scale(self) -> float:
        return _ratio(self.ar, self.aa)

    def nrmse(self) -> float:
        return _relative_residual(self.ar, self.aa, self.rr)

    def nrmse_complex(self) -> float:
        return _relative_residual(abs(self.inner), self.aa, self.rr)

    def correlation(self) -> float:
        spread_a = self.count * self.aa - self.a**2
        spread_r = self.count * self.rr - self.r**2
        together = self.count * self.ar - self.a * self.r
        # A constant image has a spread of rounding errors only, and no correlation.
        if spread_a <= 1e-14 * self.count * self.aa or spread_r <= 1e-14 * self.count * self.rr:
            return math.nan
        return min(1.0, max(-1.0, together / math.sqrt(spread_a * spread_r)))

    def psnr_db(self) -> float:
        if self.maximum == 0:
            return math.nan
        error = self.nrmse() * math.sqrt(self.rr / self.count)
        return 20 * math.log10(self.maximum / error) if error > 0 else math.inf


def _magnitude(values: Array) -> NDArray[np.float64]:
    # Widened before the root: a magnitude rounded to single precision would cap the complex NRMSE
    # of equal images at 1e-4.
    magnitude: NDArray[np.float64] = np.abs(
        values.astype(np.promote_types(values.dtype, np.float64))
    )
    return magnitude


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.nan


def _relative_residual(inner: float, aa: float, rr: float) -> float:
    """Return ``min_s ||s a - r|| / ||r||`` from inner products; 1 for an image of zeros.

    Errors below about 1e-8 drown in rounding.
    """
    if not rr > 0:
        return math.nan
    explained = inner**2 / aa / rr if aa > 0 else 0.0
    return math.sqrt(max(0.0, 1.0 - explained))


def scaled_nrmse(image: Array, reference: Array) -> float:
    """Return the relative error after the best scale factor.

    Parameters
    ----------
    image, reference
        Arrays of one shape. If both are real the factor is real, otherwise it is complex; give
        magnitudes to leave the phase out.

    Returns
    -------
    float
        ``min_s || s image - reference || / || reference ||``, in [0, 1]; NaN for a reference of
        zeros.
    """
    if image.shape != reference.shape:
        raise ValueError(f"image {image.shape} and reference {reference.shape} differ in shape")
    a, r = image.astype(np.complex128), reference.astype(np.complex128)
    energy = float(np.vdot(a, a).real)
    factor = complex(np.vdot(a, r)) / energy if energy > 0 else 0.0
    return _ratio(float(np.linalg.norm(factor * a - r)), float(np.linalg.norm(r)))


def magnitude_correlation(image: Array, reference: Array) -> float:
    """Return Pearson's correlation of the magnitudes over all voxels; NaN if one is constant."""
    sums = _Sums()
    sums.add(image, reference)
    return sums.correlation()


def image_quality(slabs: Callable[[], Iterable[tuple[Array, Array]]]) -> Quality:
    """Compare an image with its reference, slab by slab.

    Parameters
    ----------
    slabs
        Called twice; each time yields pairs (image, reference) of arrays ``[z, y, x]``, which
        together are the whole volume: once for the scale and the data range, once for the
        similarity, which needs both.
    """
    sums = _Sums()
    for image, reference in slabs():
        sums.add(image, reference)
    return Quality(
        scale=sums.scale,
        nrmse=sums.nrmse(),
        nrmse_complex=sums.nrmse_complex(),
        correlation=sums.correlation(),
        psnr_db=sums.psnr_db(),
        ssim=_mean_similarity(slabs(), sums.scale, sums.maximum),
    )


def _mean_similarity(
    slabs: Iterable[tuple[Array, Array]], scale: float, data_range: float
) -> float:
    from skimage.metrics import structural_similarity

    if not (math.isfinite(scale) and data_range > 0):
        return math.nan
    similarities = []
    for image, reference in slabs:
        if min(image.shape[1:]) < SSIM_WINDOW:
            return math.nan
        for a, r in zip(scale * _magnitude(image), _magnitude(reference), strict=True):
            similarities.append(
                structural_similarity(  # type: ignore[no-untyped-call]
                    a, r, win_size=SSIM_WINDOW, data_range=data_range
                )
            )
    return float(np.mean(similarities))


def image_statistics(slabs: Callable[[], Iterable[Array]]) -> Statistics:
    """Describe an image by itself, slab by slab.

    Parameters
    ----------
    slabs
        Called twice; each time yields arrays ``[z, y, x]`` that together are the whole volume:
        once for the range, once for the histogram.
    """
    from skimage.filters import threshold_otsu

    count, total, maximum = 0, 0.0, 0.0
    for image in slabs():
        magnitude = _magnitude(image)
        count += magnitude.size
        total += float(magnitude.sum())
        maximum = max(maximum, float(magnitude.max(initial=0.0)))
    contrast = math.nan
    if maximum > 0:
        edges = np.linspace(0.0, maximum, _HISTOGRAM_BINS + 1)
        histogram = np.zeros(_HISTOGRAM_BINS)
        for image in slabs():
            histogram += np.histogram(_magnitude(image), bins=edges)[0]
        levels = (edges[:-1] + edges[1:]) / 2
        threshold = threshold_otsu(hist=(histogram, levels))  # type: ignore[no-untyped-call]
        foreground = levels > threshold
        background = histogram * ~foreground
        if background.sum() > 0 and (histogram * foreground).sum() > 0:
            signal = float(np.average(levels, weights=histogram * foreground))
            rms = math.sqrt(float(np.average(levels**2, weights=background)))
            contrast = 20 * math.log10(signal / rms)
    return Statistics(maximum, _ratio(total, count), contrast)
