"""How close an RF image is to the true scene, whose scale is known."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.metrics.ssim import SSIM_WINDOW


def normalised_error_db(image: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return ``|| image - reference ||^2 / || reference ||^2`` in dB, without any scaling.

    NaN for a reference of zeros.
    """
    _require_same_shape(image, reference)
    r = reference.astype(np.complex128)
    error = np.linalg.norm(image.astype(np.complex128) - r) ** 2
    energy = np.linalg.norm(r) ** 2
    if not energy > 0:
        return math.nan
    return 10 * math.log10(error / energy) if error > 0 else -math.inf


def decibel_similarity(
    image: NDArray[Any], reference: NDArray[Any], *, floor_db: float = -50.0
) -> float:
    """Return the structural similarity [1]_ of magnitudes in dB, in [-1, 1].

    Of three axes, slices along the first are compared and averaged. Both images are in dB relative
    to the largest magnitude of the reference, and clipped to between ``floor_db`` and 0, which is
    the data range. NaN for a reference of zeros or an image smaller than the window of 7 x 7.

    References
    ----------
    .. [1] Z. Wang et al., "Image quality assessment: from error visibility to structural
       similarity", IEEE Trans. Image Process. 13, 600-612 (2004).
    """
    from skimage.metrics import structural_similarity

    _require_same_shape(image, reference)
    if not floor_db < 0:
        raise DataError(f"similarity: the floor is {floor_db} dB; expected a negative one")
    brightest = float(np.abs(reference).max(initial=0.0))
    if not brightest > 0 or min(image.shape[-2:]) < SSIM_WINDOW:
        return math.nan
    one, other = (
        _clipped_decibels(values, brightest, floor_db).reshape(-1, *image.shape[-2:])
        for values in (image, reference)
    )
    similarities = [
        structural_similarity(a, r, win_size=SSIM_WINDOW, data_range=-floor_db)  # type: ignore[no-untyped-call]
        for a, r in zip(one, other, strict=True)
    ]
    return float(np.mean(similarities))


def _clipped_decibels(
    values: NDArray[Any], brightest: float, floor_db: float
) -> NDArray[np.float64]:
    lowest = 10 ** (floor_db / 20)
    relative = np.clip(np.abs(values).astype(np.float64) / brightest, lowest, 1.0)
    return np.asarray(20 * np.log10(relative))


def _require_same_shape(image: NDArray[Any], reference: NDArray[Any]) -> None:
    if image.shape != reference.shape:
        raise DataError(
            f"image {image.shape} and reference {reference.shape} differ in shape; compare them on "
            "one grid"
        )
