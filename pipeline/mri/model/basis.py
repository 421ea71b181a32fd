"""Temporal bases: few components that the signals of all tissues are sums of [1]_.

References
----------
.. [1] J. I. Tamir, M. Uecker, W. Chen, P. Lai, M. T. Alley, S. S. Vasanawala, M. Lustig, "T2
   shuffling: sharp, multicontrast, volumetric fast spin-echo imaging", Magn. Reson. Med. 77,
   180-195 (2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    times: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    """Relaxation times of the signals [s], or parameters of a source's, ``(entry,)``, by name."""

    def tables(self) -> dict[str, Table]:
        """Return what stands beside images or coefficients.

        ``basis``, and of a signal model or dictionary ``dictionary``, the coefficients of its
        signals, with their relaxation times or parameters.
        """
        found: dict[str, Table] = {
            "basis": (self.matrix.astype(np.complex64), ("frame", "coefficient"))
        }
        if self.dictionary is not None:
            found["dictionary"] = (self.dictionary.astype(np.complex64), ("entry", "coefficient"))
            found |= {name: (times, ("entry",)) for name, times in self.times.items()}
        return found


def temporal_basis(
    settings: SeriesSettings, images: int, source: Mapping[str, NDArray[Any]], who: str
) -> TemporalBasis:
    """Return the basis that settings ask for, of a source or of a signal model.

    ``source`` is what a source tells of signals, as of `pipeline.mri.raw.RawData.signals`.

    Raises
    ------
    ConfigError
        If the settings are for another number of images, or ask for more components than images.
    DataError
        If the source has no basis or dictionary, or one that does not fit.
    """
    require_basis(settings, images, {name: each.shape for name, each in source.items()}, who)
    if settings.basis == "source":
        basis = source["basis"].astype(np.complex128)
        found, sizes, turned = np.linalg.svd(basis, full_matrices=False)
        if sizes[-1] <= 1e-6 * sizes[0]:
            raise DataError(
                f"{who}: the columns of the array `basis` are linearly dependent; leave out some"
            )
        # The nearest orthonormal columns: an orthonormal basis stays as it is.
        return TemporalBasis(found @ turned)
    of_source = settings.basis == "dictionary"
    signals, times = _of_source(settings, source, who) if of_source else signals_of(settings)
    norms = np.sqrt(np.einsum("ij,ij->j", signals.conj(), signals).real)
    signals = signals / np.where(norms > 0, norms, 1)
    # Of thousands of signals, which are many more than images, their covariance is enough.
    energies, components = np.linalg.eigh(signals @ signals.conj().T)
    left = max(0.0, np.sum(energies[: -settings.coefficients]) / np.sum(energies))
    first = components[:, : -settings.coefficients - 1 : -1]
    dictionary = (signals.T @ first.conj()).astype(np.complex128)
    return TemporalBasis(first.astype(np.complex128), float(np.sqrt(left)), dictionary, times)


def _of_source(
    settings: SeriesSettings, source: Mapping[str, NDArray[Any]], who: str
) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
    """Return a source's signals ``(image, entry)``, real where all are, and their parameters."""
    signals: NDArray[Any] = source["dictionary"].T.astype(np.complex128)
    if not signals.imag.any():
        signals = signals.real.copy()
    parameters = source.get("parameters")
    columns = [] if parameters is None else list(parameters.T)
    if not all(np.isfinite(each).all() for each in (signals, *columns)) or not signals.any():
        raise DataError(
            f"{who}: the arrays `dictionary` and `parameters` have values that are not finite, or "
            "all signals are zero"
        )
    return signals, dict(zip(settings.parameters, columns, strict=True))


def basis_size(
    settings: SeriesSettings, images: int, source: Mapping[str, NDArray[Any]], who: str
) -> tuple[int, bool, int]:
    """Return the coefficients of a basis, whether it is real, and the bytes that making it takes.

    Without making it, unless it is that of a source.
    """
    if settings.basis == "source":
        matrix = temporal_basis(settings, images, source, who).matrix
        return matrix.shape[1], not matrix.imag.any(), 3 * matrix.nbytes
    require_basis(settings, images, {name: each.shape for name, each in source.items()}, who)
    if settings.basis == "dictionary":
        signals = source["dictionary"]
        # As stored, in double precision, conjugated, and of norm 1.
        taken = signals.size * (8 + 3 * 16) + 16 * len(signals) * settings.coefficients
        return settings.coefficients, not signals.imag.any(), taken
    return settings.coefficients, True, signal_bytes(settings, images)


def require_basis(
    settings: SeriesSettings, images: int, source: Mapping[str, Sequence[int]], who: str
) -> None:
    """Refuse a basis, of a source whose arrays have these shapes, that is not for so many images.

    Raises
    ------
    ConfigError, DataError
        As of `temporal_basis`.
    """
    if settings.basis in ("source", "dictionary"):
        name = "basis" if settings.basis == "source" else "dictionary"
        if name not in source:
            raise DataError(
                f"{who}: `series.basis` is {settings.basis}, but the source has no array `{name}`; "
                "name it in the dataset's arrays, or choose a signal model"
            )
    if settings.basis == "source":
        shape = source["basis"]
        if shape[0] != images or shape[1] > images:
            raise DataError(
                f"{who}: the array `basis` has shape {tuple(shape)}; expected {images} images and "
                "no more coefficients than that"
            )
        return
    if settings.basis == "dictionary":
        entries, length = source["dictionary"]
        if length != images or settings.coefficients > min(images, entries):
            raise DataError(
                f"{who}: the array `dictionary` has shape {(entries, length)}; expected signals of "
                f"{images} images, and as many of them as `series.coefficients`, "
                f"{settings.coefficients}, which may not be more than images either"
            )
        found, named = tuple(source.get("parameters", (entries, 0))), len(settings.parameters)
        if found != (entries, named):
            raise DataError(
                f"{who}: the array `parameters` has shape {found} for {entries} signals, and "
                f"`series.parameters` names {named}; name its columns, in their order"
            )
        return
    measured = len(settings.times or settings.flip_angles or ())
    if measured != images or settings.coefficients > images:
        raise ConfigError(
            f"{who}: `series` has {measured} times or flip angles and "
            f"{settings.coefficients} coefficients, but there are {images} images; expected one "
            "time or angle for each, and no more coefficients than images"
        )
