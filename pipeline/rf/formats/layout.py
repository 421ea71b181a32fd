"""The layout of RF data by names of arrays, whether they lie in Zarr or in other files.

Names and axes are those of `pipeline.rf.arrays`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.lazy import Derived, LazyArray, Selection, part_bytes
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import unit_phasor


def without_last(array: LazyArray) -> Derived:
    """Return an array without its last axis, which has length one."""
    return Derived(
        array.shape[:-1],
        array.dtype,
        array.chunks[:-1],
        lambda part: array[(*part, slice(0, 1))][..., 0],
        lambda extent: array.reading_bytes((*extent, 1)),
    )


class Interleaved:
    """Measurements by elements, ``[frame, pair, freq, tx, rx]``, as ``[..., m1, m2]``.

    The grids of a pair of antennas tell the order.
    """

    def __init__(self, measured: LazyArray, antennas: Pair, who: str) -> None:
        elements = len(antennas.tx), len(antennas.rx)
        if measured.shape[3:] != elements:
            raise DataError(
                f"{who}: measurements of {measured.shape[3:]} (tx, rx), but positions of "
                f"{elements} elements; check both, and the axes of `y`"
            )
        self._measured = measured
        self._grids = antennas.grids
        self.shape = (*measured.shape[:3], *antennas.measurement_shape)
        self.dtype: np.dtype[Any] = measured.dtype
        self.chunks = (*measured.chunks[:3], *self.shape[3:])  # elements are read together

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while a part is read, of all elements, and put in order [byte]."""
        read = (*extent[:3], *self._measured.shape[3:])
        return max(self._measured.reading_bytes(read), 2 * part_bytes(self._measured, read))

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        part = self._measured[(*selection[:3], slice(None), slice(None))]
        (t1, t2), (r1, r2) = self._grids
        split = part.reshape(*part.shape[:3], t1, t2, r1, r2).swapaxes(4, 5)
        joined = split.reshape(*part.shape[:3], *self.shape[3:])
        return np.asarray(joined[:, :, :, selection[3], selection[4]])


def factors_of(
    given: Mapping[str, NDArray[Any]], scene: Scene, who: str
) -> dict[str, NDArray[Any]]:
    """Return what stands for positions in a pair, by our names; nothing if nothing does.

    ``A_i`` of all axes, or where none has ``A_i``, ``kappa_i`` and ``rowphase_i``. Given are for
    each axis of the scene ``A_i`` ``[freq, m_i, n_i]``, or ``kappa_i`` ``[freq, m_i]``, counted
    from the scene's origin; with or without ``rowphase_i`` ``[freq, m_i]`` [rad].
    """
    axes = range(1, len(scene.shape) + 1)
    factors: dict[str, NDArray[Any]] = {}
    waves: dict[str, NDArray[Any]] = {}
    for axis in axes:
        factor, kappa = given.get(f"A{axis}"), given.get(f"kappa{axis}")
        rows = given.get(f"rowphase{axis}")
        if kappa is not None and factor is None:
            waves[f"kappa{axis}"] = kappa
            waves[f"rowphase{axis}"] = np.zeros(kappa.shape) if rows is None else rows
            factor = unit_phasor(np.asarray(kappa, np.float64)[..., None] * scene.offsets(axis - 1))
        if factor is not None:
            turned = 1 if rows is None else np.exp(1j * np.asarray(rows))[..., None]
            factors[f"A{axis}"] = factor * turned
    if factors and len(factors) < len(axes):
        raise DataError(
            f"{who}: factors of the axes {', '.join(factors)}, but the scene has {len(axes)}; give "
            "`A` or `kappa` of each, or positions instead"
        )
    return waves if len(waves) == 2 * len(axes) else factors
