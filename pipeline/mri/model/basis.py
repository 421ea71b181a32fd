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
from pipeline.mri.model.signals import signal_bytes, signals_of
from pipeline.storage.archives import Table


@dataclass(frozen=True)
class TemporalBasis:
    """A basis, and the signals that it was made for."""

    matrix: NDArray[np.complex128]
    """``(image, coefficient)``, with orthonormal columns."""
    left: float = 0.0
    """What it leaves of the signals, root mean square and relative to them; 0 without signals."""
    dictionary: NDArray[np.complex128] | None = None
    """The signals in the basis, ``(entry, coefficient)``, each of norm 1 before."""
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
        if self.dictionary is not None:
            found["dictionary"] = (self.dictionary.astype(np.complex64), ("entry", "coefficient"))
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
    norms = np.sqrt(np.einsum("ij,ij->j", signals, signals))
    signals /= np.where(norms > 0, norms, 1)
    # Of thousands of signals, which are many more than images, their covariance is enough.
    energies, components = np.linalg.eigh(signals @ signals.T)
    left = max(0.0, np.sum(energies[: -settings.coefficients]) / np.sum(energies))
    real = components[:, : -settings.coefficients - 1 : -1]
    dictionary = (signals.T @ real).astype(np.complex128)
    return TemporalBasis(real.astype(np.complex128), float(np.sqrt(left)), dictionary, times)


def basis_size(
    settings: SeriesSettings, images: int, source: NDArray[np.complex64] | None, who: str
) -> tuple[int, bool, int]:
    """Return the coefficients of a basis, whether it is real, and the bytes that making it takes.

    Without making it, unless it is that of a source.
    """
    if settings.basis == "source":
        matrix = temporal_basis(settings, images, source, who).matrix
        return matrix.shape[1], not matrix.imag.any(), 3 * matrix.nbytes
    require_basis(settings, images, None, who)
    return settings.coefficients, True, signal_bytes(settings, images)


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
