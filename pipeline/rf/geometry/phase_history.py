"""Phase histories as samples of the image's Fourier transform.

Pulse ``p`` at wavenumber ``k`` sees a plane wave of wave vector ``kappa = k (uhat_t + uhat_r)``, so
on the uniform grid of a scene it is the sample of a non-uniform Fourier transform [1]_ at

    omega_d = kappa_d spacing_d   [rad/voxel],

wrapped to ``[-pi, pi)``, which changes nothing because voxels lie at whole numbers. The path to the
centre of the scene is a phase of the sample. What the curvature of the wavefront adds is a phase of
the voxel: one for each *sub-aperture*, a range of pulses and of frequencies short enough for the
mean phase of its pulses at the middle frequency to hold throughout.

References
----------
.. [1] D. C. Munson, J. D. O'Brien, W. K. Jenkins, "A tomographic formulation of spotlight-mode
   synthetic aperture radar", Proc. IEEE 71, 917-925 (1983).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair, wavenumbers
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import path_curvature, unit_phasor

_SAMPLED_VOXELS = 64
_SAMPLED_PULSES = 64
_HELD_ANGLE = np.deg2rad(5)


@dataclass(frozen=True, eq=False)
class SubAperture:
    """Some pulses and frequencies of a phase history that share one voxel phase.

    Their measurements of an image ``c`` are ``weights * NUFFT(trajectory)(c * phase)``, with the
    phase of `pipeline.rf.model.voxel_phases.aperture_phase`. Paths and wavenumbers are those of the
    whole phase history, the axes of the scene Cartesian.
    """

    scene: Scene
    paths: AntennaPaths
    k: NDArray[np.float64]  # [freq], rad/m
    pulses: slice
    band: slice

    @property
    def samples(self) -> int:
        """Number of measurements."""
        return len(self.paths[self.pulses]) * len(self.k[self.band])

    def trajectory(self) -> NDArray[np.float64]:
        """Return where the samples lie, float64 ``[pulse, freq, axis]`` [rad/voxel]."""
        gradients = self.paths[self.pulses].gradients(self.scene.centre)
        rates = gradients[:, : len(self.scene.shape)] * self.scene.spacing
        return _wrapped(self.wavenumbers()[..., None] * rates[:, None, :])

    def wavenumbers(self) -> NDArray[np.float64]:
        """Return the wavenumbers, ``[pulse, freq]`` or, if all pulses have the same, ``[1, freq]``.

        float64 [rad/m].
        """
        return self.paths[self.pulses].wavenumbers(self.k[self.band], self.scene.speed)

    def weights(self, *, path_loss: bool = False) -> NDArray[np.complex128]:
        """Return the phase of each sample at the scene's centre, complex128 ``[pulse, freq]``.

        With ``path_loss`` times ``1 / ((4 pi)^2 R_t R_r)``, the amplitude of point scatterers
        there.
        """
        paths, centre = self.paths[self.pulses], self.scene.centre
        excess = paths.path_differences(centre)
        phases = unit_phasor(self.wavenumbers() * excess[:, None])
        if not path_loss:
            return phases
        legs = (
            np.linalg.norm(centre - antenna, axis=1)
            for antenna in (paths.transmitter, paths.receiver)
        )
        return np.asarray(phases / ((4 * np.pi) ** 2 * math.prod(legs))[:, None])

    def curvature_error(self, voxels: NDArray[np.integer], *, voxel_phase: bool = True) -> float:
        """Return the relative l2 error of the measurements of uncorrelated scatterers.

        The root mean square of ``|exp(-j model) - exp(-j exact)|``, with or without the voxel
        phase, over the voxels of these flat indices, at most 64 pulses, and the lowest, middle and
        highest frequency.
        """
        positions, centre = self.scene.positions(voxels), self.scene.centre
        held = np.zeros(len(voxels))
        if voxel_phase:
            held = self.middle_k * np.mean(
                [path_curvature(positions, centre, *antennas) for antennas in self.held_antennas],
                axis=0,
            )
        paths = self.paths[self.pulses]
        paths = paths[:: -(-len(paths) // _SAMPLED_PULSES)]
        k = self.k[self.band]
        k = paths.wavenumbers(k[np.unique([0, len(k) // 2, len(k) - 1])], self.scene.speed)
        squares = []
        for pulse, own in enumerate(np.broadcast_to(k, (len(paths), k.shape[1]))):
            antennas = paths.transmitter[pulse], paths.receiver[pulse]
            curvature = path_curvature(positions, centre, *antennas)
            squares.append(np.mean(np.abs(unit_phasor(np.outer(own, curvature) - held) - 1) ** 2))
        return float(np.sqrt(np.mean(squares)))

    @cached_property
    def middle_k(self) -> float:
        """Wavenumber of the middle of the band [rad/m]."""
        k = self.wavenumbers()
        return float(np.mean(k[:, 0] + k[:, -1])) / 2

    @cached_property
    def held_antennas(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Antennas of evenly spread pulses, whose mean curvature the voxel phase holds.

        Seen under nearly one angle it is that of the middle pulse. Where the angles differ more, no
        single pulse stands for all, and their mean leaves the least error.
        """
        paths = self.paths[self.pulses]
        middle = len(paths) // 2
        spread = 0.0
        for antennas in (paths.transmitter, paths.receiver):
            sight = antennas - self.scene.centre
            sight = sight / np.linalg.norm(sight, axis=1, keepdims=True)
            spread = max(spread, float(np.arccos(np.clip(sight @ sight[middle], -1, 1)).max()))
        count = min(len(paths), _SAMPLED_PULSES, max(1, math.ceil(spread / _HELD_ANGLE)))
        chosen = ((np.arange(count) + 0.5) * len(paths) / count).astype(int)
        return [(paths.transmitter[pulse], paths.receiver[pulse]) for pulse in chosen]


def whole_aperture(scene: Scene, paths: AntennaPaths, frequencies: ArrayLike) -> SubAperture:
    """Return a phase history as a single sub-aperture; frequencies increase [Hz].

    `DataError` if there are no pulses or the axes of the scene are direction cosines.
    """
    if scene.range is not None:
        raise DataError("phase history: the axes of the scene must be Cartesian, not cosines.")
    if not len(paths):
        raise DataError("phase history: there are no pulses.")
    k = wavenumbers(frequencies, scene.speed)
    return SubAperture(scene, paths, k, slice(0, len(paths)), slice(None))


def sub_apertures(
    scene: Scene,
    paths: AntennaPaths,
    frequencies: ArrayLike,
    *,
    tolerance: float = 0.1,
    most: int = 1024,
    seed: int = 0,
) -> list[SubAperture]:
    """Split a phase history until each part is served by one voxel phase.

    Pulses or frequencies are halved, whichever helps more, until the relative l2 error of the
    measurements, at voxels that the seed draws, is below the tolerance; 0.1 is -20 dB. The parts
    together hold each measurement once. Each costs a voxel phase and a transform: `DataError` if
    there would have to be more than ``most``.
    """
    whole = whole_aperture(scene, paths, frequencies)
    voxels = np.random.default_rng(seed).integers(scene.voxels, size=_SAMPLED_VOXELS)

    def split(pulses: int, bands: int) -> tuple[float, list[SubAperture]]:
        parts = [
            dataclasses.replace(whole, pulses=pulse_range, band=band)
            for pulse_range in _ranges(len(paths), pulses)
            for band in _ranges(len(whole.k), bands)
        ]
        squares = [part.curvature_error(voxels) ** 2 for part in parts]
        return math.sqrt(sum(squares) / len(squares)), parts

    counts = (1, 1)
    error, parts = split(*counts)
    while error > tolerance:
        pulses, bands = counts
        finer = {
            (min(2 * pulses, len(paths)), bands),
            (pulses, min(2 * bands, len(whole.k))),
        } - {counts}
        tried = {choice: split(*choice) for choice in finer if math.prod(choice) <= most}
        if not tried:
            raise DataError(
                f"phase history: {len(parts)} sub-apertures leave an error of {error:.3g}, above "
                f"the tolerance {tolerance:g}, and {most} are allowed; make the scene smaller, or "
                "raise the tolerance or the number of sub-apertures."
            )
        counts = min(tried, key=lambda choice: tried[choice][0])
        error, parts = tried[counts]
    return parts


def paths_of_pair(pair: Pair) -> AntennaPaths:
    """Return each measurement of a pair as a pulse of its own, in C order of ``[m1, m2]``.

    Phases are referred to no path: they are those of the whole way.
    """
    if pair.paired:
        return AntennaPaths(pair.tx, pair.rx, np.zeros(len(pair.tx)))
    (t1, t2), (r1, r2) = pair.grids
    order = np.moveaxis(np.indices((t1, r1, t2, r2)), 0, -1).reshape(-1, 4)  # C order of m1, m2
    transmitters, receivers = order[:, 0] * t2 + order[:, 2], order[:, 1] * r2 + order[:, 3]
    return AntennaPaths(pair.tx[transmitters], pair.rx[receivers], np.zeros(len(order)))


def _ranges(size: int, parts: int) -> Iterator[slice]:
    edges = np.linspace(0, size, parts + 1).round().astype(int)
    for start, stop in itertools.pairwise(edges):
        yield slice(int(start), int(stop))


def _wrapped(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return phases in ``[-pi, pi)``; rounding can make a remainder as large as its divisor."""
    result = np.remainder(phase + np.pi, 2 * np.pi) - np.pi
    return np.where(result >= np.pi, -np.pi, result)
