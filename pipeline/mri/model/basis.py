"""Temporal bases: few components that the signals of all tissues are sums of [1]_.

References
----------
.. [1] J. I. Tamir, M. Uecker, W. Chen, P. Lai, M. T. Alley, S. S. Vasanawala, M. Lustig, "T2
   shuffling: sharp, multicontrast, volumetric fast spin-echo imaging", Magn. Reson. Med. 77,
   180-195 (2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.config.series import SeriesSettings
from pipeline.errors import ConfigError, DataError
from pipeline.mri.model.signals import signals_of
from pipeline.storage.archives import Table


@dataclass(frozen=True)
class TemporalBasis:
    """A basis, and the signals that it was made for."""

    matrix: NDArray[np.complex128]
    """``(image, coefficient)``, with orthonormal columns."""
    left: float = 0.0
    """What it leaves of the signals, root mean square and relative to them; 0 without signals."""
    signals: NDArray[np.float64] | None = None
    """``(image, entry)``, each of norm 1."""
    times: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Relaxation times of the signals [s], ``(entry,)``, by name."""

    def tables(self) -> dict[str, Table]:
        """Return what stands beside images or coefficients.

        ``basis``, and of a signal model ``dictionary``, the coefficients of its signals, with their
        relaxation times.
        """
        found: dict[str, Table] = {
            "basis": (self.matrix.astype(np.complex64), ("frame", "coefficient"))
        }
        if self.signals is not None:
            projected = (self.matrix.conj().T @ self.signals).T
            found["dictionary"] = (projected.astype(np.complex64), ("entry", "coefficient"))
            found |= {name: (times, ("entry",)) for name, times in self.times.items()}
        return found


def temporal_basis(
    settings: SeriesSettings, images: int, source: NDArray[np.complex64] | None, who: str
) -> TemporalBasis:
    """Return the basis that settings ask for, of a source or of a signal model.

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
        return TemporalBasis(found @ turned)
    signals, times = signals_of(settings)
    norms = np.linalg.norm(signals, axis=0)
    signals = signals / np.where(norms > 0, norms, 1)
    components, sizes, _ = np.linalg.svd(signals, full_matrices=False)
    left = np.sqrt(np.sum(sizes[settings.coefficients :] ** 2) / np.sum(sizes**2))
    matrix = components[:, : settings.coefficients].astype(np.complex128)
    return TemporalBasis(matrix, float(left), signals, times)


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
