"""Temporal bases: few components that the signals of all tissues are sums of [1]_.

References
----------
.. [1] J. I. Tamir, M. Uecker, W. Chen, P. Lai, M. T. Alley, S. S. Vasanawala, M. Lustig, "T2
   shuffling: sharp, multicontrast, volumetric fast spin-echo imaging", Magn. Reson. Med. 77,
   180-195 (2017).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config.series import SeriesSettings
from pipeline.errors import ConfigError, DataError

_RELAXATION_TIMES = 200


def temporal_basis(
    settings: SeriesSettings, images: int, source: NDArray[np.complex64] | None, who: str
) -> tuple[NDArray[np.complex128], float]:
    """Return a basis ``(image, coefficient)`` with orthonormal columns, and what it leaves.

    What it leaves of the signals of the model is the root mean square, relative to them; 0 for a
    ``source``.

    Raises
    ------
    ConfigError
        If the settings are for another number of images, or ask for more components than images.
    DataError
        If the source has no basis, or one that does not fit.
    """
    require_basis(settings, images, None if source is None else source.shape, who)
    if settings.basis == "source":
        assert source is not None
        found, sizes, turned = np.linalg.svd(source.astype(np.complex128), full_matrices=False)
        if sizes[-1] <= 1e-6 * sizes[0]:
            raise DataError(
                f"{who}: the columns of the array `basis` are linearly dependent; leave out some"
            )
        # The nearest orthonormal columns: an orthonormal basis stays as it is.
        return found @ turned, 0.0
    signals = _signals(settings)
    components, sizes, _ = np.linalg.svd(signals, full_matrices=False)
    left = np.sqrt(np.sum(sizes[settings.coefficients :] ** 2) / np.sum(sizes**2))
    return components[:, : settings.coefficients].astype(np.complex128), float(left)


def require_basis(
    settings: SeriesSettings, images: int, source: Sequence[int] | None, who: str
) -> None:
    """Refuse a basis, of a source of this shape, that is not for so many images.

    Raises
    ------
    ConfigError, DataError
        As of `temporal_basis`.
    """
    if settings.basis == "source":
        if source is None:
            raise DataError(
                f"{who}: `series.basis` is source, but the source has no array `basis`; name it in "
                "the dataset's arrays, or choose a signal model"
            )
        if source[0] != images or source[1] > images:
            raise DataError(
                f"{who}: the array `basis` has shape {tuple(source)}; expected {images} images and "
                "no more coefficients than that"
            )
        return
    measured = len(settings.times or settings.flip_angles or ())
    if measured != images or settings.coefficients > images:
        raise ConfigError(
            f"{who}: `series` has {measured} times or flip angles and "
            f"{settings.coefficients} coefficients, but there are {images} images; expected one "
            "time or angle for each, and no more coefficients than images"
        )


def _signals(settings: SeriesSettings) -> NDArray[np.float64]:
    """Return signals of the model, each of norm 1, ``(image, relaxation time)``."""
    relaxation = np.geomspace(*settings.relaxation_times, _RELAXATION_TIMES)
    if settings.basis == "flip-angles":
        # Ernst's steady state, of a spoiled gradient echo.
        angles = np.deg2rad(np.asarray(settings.flip_angles))[:, None]
        left = np.exp(-(settings.repetition_time or 0) / relaxation)
        signals = np.sin(angles) * (1 - left) / (1 - np.cos(angles) * left)
    else:
        decayed = np.exp(-np.asarray(settings.times)[:, None] / relaxation)
        signals = 1 - 2 * decayed if settings.basis == "t1-recovery" else decayed
    sizes = np.linalg.norm(signals, axis=0)
    return np.asarray(signals / np.where(sizes > 0, sizes, 1))
