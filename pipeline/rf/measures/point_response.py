"""What an image makes of a point: width of the main lobe and level of the side lobes.

The image is read between its voxels as the band-limited function that it samples. Its spectrum may
lie anywhere, as that of a radar image does, whose carrier is wrapped by the grid; it only has to be
narrower than the sampling rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError

_GUARD = 32  # voxels around a cut over which the image is faded out
_CHUNK_VALUES = 2**22


@dataclass(frozen=True)
class Cut:
    """An image along a straight line through a point."""

    offsets: NDArray[np.float64]  # uniform signed distances from the point, m, ascending
    values: NDArray[np.complex128]  # the phase is relative to a carrier along the line


@dataclass(frozen=True)
class LobeFigures:
    """Figures of one cut through a point; NaN where a cut is too short for them.

    The main lobe ends at the first minimum on either side. Peak and integrated side lobe ratio are
    the highest power beyond it over the peak's, and the energy beyond it, within the extent, over
    its own. The extent, to either side of the peak, is smaller than what was asked for where the
    image ends.
    """

    width: float  # between the half-power points of the main lobe, m
    pslr_db: float
    islr_db: float
    extent: tuple[float, float]  # to which side lobes were looked at, m


@dataclass(frozen=True)
class PointResponse:
    """A point in an image, with a cut and its lobes along each direction."""

    voxel: tuple[float, ...]  # index of the peak, between voxels
    magnitude: float  # at the peak
    cuts: tuple[Cut, ...]
    lobes: tuple[LobeFigures, ...]


def point_response(
    image: NDArray[Any],
    spacing: Sequence[float],
    voxel: Sequence[float],
    *,
    extent: float,
    directions: ArrayLike | None = None,
    search: float = 2.0,
    oversampling: int = 32,
) -> PointResponse:
    """Measure the response to a point.

    `DataError` if the point is outside the image, or directions do not fit its axes.

    Parameters
    ----------
    image
        Complex image of any number of axes, sampled above the rate that its bandwidth asks for.
    spacing
        Distance of neighbouring voxels on each axis [m].
    voxel, search
        Index where the peak is expected, and how far from it that may be along each axis.
    extent
        How far from the peak side lobes are looked at [m].
    directions
        ``[cut, axis]``, of any length but zero: along which cuts are made. The axes if not given.
    oversampling
        Samples of a cut per voxel.
    """
    steps = np.asarray(spacing, dtype=np.float64)
    expected = np.asarray(voxel, dtype=np.float64)
    lines = np.eye(image.ndim) if directions is None else np.asarray(directions, np.float64)
    _require_point(image, steps, expected, lines)
    lines = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    peak = _refined_peak(image, expected, search)
    cuts = tuple(
        _cut(image, steps, peak, line, extent=extent, oversampling=oversampling) for line in lines
    )
    at_peak = _Interpolant.around(image, peak, np.zeros(image.ndim))
    return PointResponse(
        voxel=tuple(peak.tolist()),
        magnitude=float(np.abs(at_peak(peak[None])[0])),
        cuts=cuts,
        lobes=tuple(lobe_figures(cut) for cut in cuts),
    )


def lobe_figures(cut: Cut) -> LobeFigures:
    """Measure main and side lobes of a cut whose main lobe's peak is near its offset 0."""
    power = np.abs(cut.values) ** 2
    start = int(np.argmin(np.abs(cut.offsets)))
    peak = _climb(power, start)
    left, right = _first_minimum(power, peak, -1), _first_minimum(power, peak, 1)
    half = power[peak] / 2
    edges = [_crossing(cut.offsets, power, peak, step, half) for step in (-1, 1)]
    beyond = np.concatenate([power[:left], power[right + 1 :]])
    # Without a minimum on both sides the main lobe fills the cut.
    complete = left > 0 and right < len(power) - 1 and power[peak] > 0
    main = float(power[left : right + 1].sum())
    return LobeFigures(
        width=edges[1] - edges[0],
        pslr_db=_decibels(float(beyond.max()), float(power[peak])) if complete else math.nan,
        islr_db=_decibels(float(beyond.sum()), main) if complete else math.nan,
        extent=(-float(cut.offsets[0]), float(cut.offsets[-1])),
    )


def _require_point(
    image: NDArray[Any],
    spacing: NDArray[np.float64],
    voxel: NDArray[np.float64],
    directions: NDArray[np.float64],
) -> None:
    axes = image.ndim
    if spacing.shape != (axes,) or voxel.shape != (axes,):
        raise DataError(
            f"point response: {spacing.size} spacings and a voxel of {voxel.size} indices, but the "
            f"image has the shape {image.shape}"
        )
    if not ((voxel >= 0) & (voxel <= np.array(image.shape) - 1)).all():
        raise DataError(
            f"point response: voxel {voxel.tolist()} is outside the image of shape {image.shape}"
        )
    if directions.ndim != 2 or directions.shape[1] != axes or not directions.any(axis=1).all():
        raise DataError(
            f"point response: directions {directions.tolist()}; expected vectors of {axes} "
            "components that are not all zero"
        )


def _refined_peak(
    image: NDArray[Any], voxel: NDArray[np.float64], search: float
) -> NDArray[np.float64]:
    """Return the maximum of the magnitude between voxels, to a thousandth of one."""
    last = np.array(image.shape) - 1.0
    first = np.maximum(np.ceil(voxel - search), 0).astype(int)
    window = tuple(
        slice(low, int(high) + 1)
        for low, high in zip(first, np.minimum(np.floor(voxel + search), last), strict=True)
    )
    magnitude = np.abs(image[window])
    peak = np.array(np.unravel_index(magnitude.argmax(), magnitude.shape)) + first.astype(float)
    interpolant = _Interpolant.around(image, peak, np.ones(image.ndim))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * image.ndim), axis=-1)
    grid = grid.reshape(-1, image.ndim)
    step = 1.0
    while step > 5e-4:
        candidates = np.clip(peak + step * grid, 0, last)
        peak = candidates[np.abs(interpolant(candidates)).argmax()]
        step /= 2
    return np.asarray(peak)


def _cut(
    image: NDArray[Any],
    spacing: NDArray[np.float64],
    peak: NDArray[np.float64],
    direction: NDArray[np.float64],
    *,
    extent: float,
    oversampling: int,
) -> Cut:
    per_metre = direction / spacing  # voxels
    step = 1 / (np.abs(per_metre).max() * oversampling)
    moving = per_metre != 0
    ahead = np.where(per_metre > 0, np.array(image.shape) - 1 - peak, peak)[moving]
    behind = np.where(per_metre > 0, peak, np.array(image.shape) - 1 - peak)[moving]
    reach = [
        min(extent, float(np.min(room / np.abs(per_metre[moving])))) for room in (behind, ahead)
    ]
    # Rounded, because reach is often a whole number of steps but for rounding.
    samples = [math.floor(round(length / step, 6)) for length in reach]
    offsets = np.arange(-samples[0], samples[1] + 1) * step
    interpolant = _Interpolant.around(image, peak, np.abs(per_metre) * max(reach))
    return Cut(offsets, interpolant(peak + offsets[:, None] * per_metre))


@dataclass(frozen=True)
class _Interpolant:
    """The band-limited function that part of an image samples."""

    first: NDArray[np.float64]  # index of the part's first voxel
    spectrum: NDArray[np.complex128]  # after its carrier has been moved to frequency 0

    @classmethod
    def around(
        cls, image: NDArray[Any], centre: NDArray[np.float64], reach: NDArray[np.float64]
    ) -> Self:
        """Take the part of ``image`` that is at most ``reach`` voxels away, and a guard."""
        low = np.maximum(np.floor(centre - reach) - _GUARD, 0).astype(int)
        high = np.minimum(np.ceil(centre + reach) + _GUARD + 1, image.shape).astype(int)
        part = np.array(image[tuple(map(slice, low, high))], dtype=np.complex128)
        for axis, size in enumerate(part.shape):
            shape = [1] * part.ndim
            shape[axis] = size
            # The part is taken to be periodic: fade it out where it was cut off.
            fade = np.ones(size)
            ramp = np.sin(np.pi / 2 * (np.arange(_GUARD) + 0.5) / _GUARD) ** 2
            if low[axis] > 0:
                fade[:_GUARD] = ramp[:size]
            if high[axis] < image.shape[axis]:
                fade[-_GUARD:] *= ramp[::-1][-size:]
            carrier = _carrier(part, axis)
            part *= (fade * np.exp(-1j * carrier * np.arange(size))).reshape(shape)
        return cls(low.astype(np.float64), np.fft.fftn(part))

    def __call__(self, voxels: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the function, but for its carrier, at ``voxels`` ``[point, axis]``."""
        rest = self.spectrum.size // self.spectrum.shape[0]
        chunk = max(1, _CHUNK_VALUES // rest)
        return np.concatenate(
            [self._at(voxels[i : i + chunk] - self.first) for i in range(0, len(voxels), chunk)]
        )

    def _at(self, positions: NDArray[np.float64]) -> NDArray[np.complex128]:
        waves = [
            np.exp(2j * np.pi * positions[:, axis, None] * np.fft.fftfreq(size)) / size
            for axis, size in enumerate(self.spectrum.shape)
        ]
        values = np.tensordot(waves[0], self.spectrum, axes=1)
        for wave in waves[1:]:
            values = np.einsum("pa,pa...->p...", wave, values)
        return np.asarray(values)


def _carrier(part: NDArray[np.complex128], axis: int) -> float:
    """Return the centre of the spectrum along an axis, on the circle [rad/voxel]."""
    moved = np.moveaxis(part, axis, 0)
    return float(np.angle(np.vdot(moved[:-1], moved[1:])))


def _climb(power: NDArray[np.float64], index: int) -> int:
    """Return the local maximum that is uphill from ``index``."""
    while True:
        low = max(index - 1, 0)
        best = low + int(np.argmax(power[low : index + 2]))
        if power[best] <= power[index]:
            return index
        index = best


def _first_minimum(power: NDArray[np.float64], index: int, step: int) -> int:
    """Return where power rises again from ``index`` on, or the end."""
    while 0 <= index + step < len(power) and power[index + step] <= power[index]:
        index += step
    return index


def _crossing(
    offsets: NDArray[np.float64], power: NDArray[np.float64], index: int, step: int, level: float
) -> float:
    """Return where power falls below ``level`` from ``index`` on, or NaN."""
    while power[index] > level:
        index += step
        if not 0 <= index < len(power):
            return math.nan
    before = index - step
    if power[before] == power[index]:
        return math.nan
    part = (power[before] - level) / (power[before] - power[index])
    return float(offsets[before] + part * (offsets[index] - offsets[before]))


def _decibels(numerator: float, denominator: float) -> float:
    if not denominator > 0:
        return math.nan
    return 10 * math.log10(numerator / denominator) if numerator > 0 else -math.inf
