"""Kronecker models of the measurement of a pair.

The paths of `pipeline.rf.geometry.wavefronts` are separable over the scene axes in their first two
terms, and in the third where the antennas are broadside. Which terms are kept, and how, is the
*level*; what it leaves out is measured, not estimated, by `pipeline.rf.calibration.model_error`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.geometry.axes import voxel_positions
from pipeline.rf.geometry.antennas import (
    Pair,
    centre_wavenumber,
    checked_spectrum,
    green,
    wavenumbers,
)
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import chirp_paths, path_curvature, separable_rows, unit_phasor

Level = Literal["W", "W+D(fc)", "W+D", "F", "UPA", "N"]
"""How much of the wavefronts is kept.

- ``W``: plane waves, at any aspect. All pairs and frequencies collapse to one Toeplitz operator.
- ``W+D(fc)``: plane waves after a voxel phase for each pair that holds the curvature at the centre
  frequency. Collapses to one Toeplitz operator a pair.
- ``W+D``: the same with a voxel phase for each frequency. Nothing collapses.
- ``F``: Fresnel; the part of the curvature that separates is in the factors.
- ``UPA``: plane waves of a distant scene whose axes are direction cosines.
- ``N``: narrowband; the apertures see the centre frequency only and the band is a third factor.
"""

PairLevel = Level | Literal["exact", "stored"]
"""A level, exact paths, or the factors or wave vectors that came with the data."""

LEVELS: tuple[Level, ...] = get_args(Level)
"""All levels, those that are cheap to invert first."""


@dataclass(frozen=True, eq=False)
class PairModel:
    """The measurement of one pair: ``y = w * (A_1 (x) ... (x) A_d) (D c)``.

    The factors have a block for each frequency and measure ``[freq, m1, m2(, 1)]``. Level ``N`` has
    no blocks: it measures ``[m1, m2, freq]``, or ``[m1, freq]`` of a scene of two axes.

    Voxel phases and chirps see the transmitters and the receivers at their centres. Row phases are
    the paths of the elements, which the factors contain and which cancel in ``A^H A``. Weights are
    path loss, gain and carrier phase at the centre of the scene.
    """

    level: Level
    scene: Scene
    centres: tuple[NDArray[np.float64], NDArray[np.float64]]  # (3,) each, m
    wavenumbers: tuple[NDArray[np.float64], ...]  # (*blocks, m_i) each, rad/voxel, not wrapped
    row_phases: tuple[NDArray[np.float64], ...]  # (*blocks, m_i) each, rad
    weights: NDArray[np.complex128]  # (freq,)
    k: NDArray[np.float64]  # (freq,), rad/m
    centre_k: float  # of the centre frequency, rad/m

    @property
    def has_voxel_phase(self) -> bool:
        """Whether the image is multiplied by a voxel phase before the factors."""
        return self.level in ("W+D", "W+D(fc)")

    def band(self, frequencies: NDArray[np.integer] | slice) -> Self:
        """Return the model of some of the frequencies; the centre frequency stays."""
        selected = [
            (kappa[frequencies], rows[frequencies])
            if self.level != "N" or axis == len(self.scene.shape) - 1
            else (kappa, rows)
            for axis, (kappa, rows) in enumerate(
                zip(self.wavenumbers, self.row_phases, strict=True)
            )
        ]
        return dataclasses.replace(
            self,
            wavenumbers=tuple(kappa for kappa, _ in selected),
            row_phases=tuple(rows for _, rows in selected),
            weights=self.weights[frequencies],
            k=self.k[frequencies],
        )

    def factor(
        self, axis: int, voxels: NDArray[np.integer] | None = None
    ) -> NDArray[np.complex128]:
        """Return the factor of a scene axis, or its columns for the ``voxels`` along that axis.

        complex128 ``(*blocks, m_i, column)``, of unit modulus. Its phases were formed in float64
        and reduced modulo 2 pi, so that it may be cast.
        """
        columns = slice(None) if voxels is None else voxels
        steps = voxel_positions(self.scene.shape[axis])[columns]
        phase = self.wavenumbers[axis][..., None] * steps + self.row_phases[axis][..., None]
        if self.level == "F":
            chirp = chirp_paths(self.scene, self.centres)[axis][columns]
            phase = phase + self.k[:, None, None] * chirp
        return unit_phasor(phase)

    def columns(self, voxels: NDArray[np.integer]) -> NDArray[np.complex128]:
        """Return what single voxels of reflectivity 1 give, complex128 ``(freq, m1, m2, voxel)``.

        Of flat indices in C order, ``(voxel,)``.
        """
        indices = np.unravel_index(voxels, self.scene.shape)
        parts = [self.factor(axis, index) for axis, index in enumerate(indices)]
        if self.level == "N":  # as if it had blocks: one row of the last factor in each
            parts = [*(part[None] for part in parts[:-1]), parts[-1][:, None]]
        result = self.weights[:, None, None, None] * parts[0][:, :, None] * parts[1][:, None]
        for part in parts[2:]:
            result = result * part[:, :, None]
        if self.has_voxel_phase:
            k = self.k if self.level == "W+D" else np.array([self.centre_k])
            positions = self.scene.positions(voxels)
            path = path_curvature(positions, self.scene.centre, *self.centres)
            result = result * unit_phasor(k[:, None] * path)[:, None, None]
        return np.asarray(result)


def pair_model(
    scene: Scene,
    pair: Pair,
    frequencies: ArrayLike,
    level: Level,
    *,
    spectrum: ArrayLike | None = None,
    born_k2: bool = False,
    dimensions: int = 3,
) -> PairModel:
    """Build the Kronecker model of a pair whose antennas are not paired one by one.

    Parameters
    ----------
    scene, pair, level
        Grid of the image, antennas, and which terms to keep; `DataError` if they do not fit.
    frequencies
        ``(freq,)``, increasing [Hz].
    spectrum
        Complex spectrum of the waveform, ``(freq,)``; ones if `None`.
    born_k2
        Weight by ``k^2``: the image is a contrast, not point reflectivities.
    dimensions
        3, or 2 for cylindrical waves in the plane of a scene of two axes; third coordinates are
        then ignored.
    """
    check_level(scene, pair, level)
    if dimensions == 2:
        scene, pair = _in_plane(scene, pair)
    k = wavenumbers(frequencies, scene.speed)
    centre_k = centre_wavenumber(frequencies, scene.speed)
    rows = separable_rows(scene, pair)
    # On axes of direction cosines an offset of 1 is as long as the range.
    stretch = (scene.range or 1.0, scene.range or 1.0, 1.0)
    rates = [
        direction * step * length
        for direction, step, length in zip(rows.directions, scene.spacing, stretch, strict=False)
    ]
    if level == "N":
        kappa = [*(centre_k * rate for rate in rates[:-1]), k * rates[-1]]
        phases = [*(centre_k * path for path in rows.paths[:-1]), k * rows.paths[-1]]
    else:
        kappa = [k[:, None] * rate for rate in rates]
        phases = [k[:, None] * path for path in rows.paths]
    transmitted, received = (green(k, np.float64(range_), dimensions) for range_ in rows.ranges)
    weights = pair.gain * transmitted * received
    if born_k2:
        weights = weights * k**2
    if spectrum is not None:
        weights = weights * checked_spectrum(spectrum, len(k))
    return PairModel(
        level=level,
        scene=scene,
        centres=pair.centres,
        wavenumbers=tuple(kappa),
        row_phases=tuple(np.remainder(phase, 2 * np.pi) for phase in phases),
        weights=weights,
        k=k,
        centre_k=centre_k,
    )


def check_level(scene: Scene, pair: Pair, level: Level) -> None:
    """Raise `DataError` unless a level fits the scene and the pair."""
    if level not in LEVELS:
        raise DataError(f"model {level}: unknown; it is one of {', '.join(LEVELS)}.")
    if pair.paired:
        raise DataError(
            f"model {level}: antennas paired one by one make no Kronecker product; treat them as a "
            "phase history (non-uniform Fourier transform)."
        )
    if level == "UPA" and scene.range is None:
        raise DataError(
            "model UPA: the axes of the scene are Cartesian, but UPA needs direction cosines; give "
            "the scene a range, or use W."
        )
    if level != "UPA" and scene.range is not None:
        raise DataError(
            f"model {level}: the axes of the scene are direction cosines, which only UPA is for; "
            "give the scene no range, or use UPA."
        )
    last = (*pair.measurement_shape, 1)[len(scene.shape) - 1]
    if level == "N" and last != 1:
        raise DataError(
            f"model N: the last scene axis is resolved by the band, but the pair has {last} "
            "measurements along it; it must have one, or the scene three axes."
        )


def _in_plane(scene: Scene, pair: Pair) -> tuple[Scene, Pair]:
    """Return a scene and a pair without their third coordinates."""
    if len(scene.shape) != 2 or scene.range is not None:
        raise DataError(
            f"model: a field of 2 dimensions needs a scene of 2 Cartesian axes, found shape "
            f"{scene.shape} and range {scene.range}."
        )
    plane = np.array([1.0, 1.0, 0.0])
    return (
        dataclasses.replace(scene, origin=(*scene.origin[:2], 0.0)),
        dataclasses.replace(pair, tx=pair.tx * plane, rx=pair.rx * plane),
    )
