"""Regular planar scans, and what they measure as samples of the image's Fourier transform.

One antenna that sends and receives at ``a``, in a plane at the depth ``z`` before a scatterer, has
``K = 2 k`` of the path over it. Over the plane that is a sum of plane waves, exactly

    exp(-j K R) = (2 pi)^-2 int W(q, z) exp(-j q.(x - a) - j kz z) dq,
    W = -2 pi j K z / kz^2 (1 - j / (kz z)),    kz = sqrt(K^2 - |q|^2),

Weyl's integral of ``exp(-j K R) / R`` differentiated by ``K``. So the measurement is the image's
Fourier transform at ``(q, kz)``, then one over the aperture: range migration, or omega-k [1]_ [2]_.

Two things are left out: angles beyond those under which the aperture sees the scene, as otherwise
waves would return through the ends of the period, and the depth in ``j / (kz z)``, which is that of
the scene's middle. Transmitter and receiver that move together, a vector ``2 h`` apart, see a path
longer than from their middle by ``(h^2 - (h.u)^2) / R`` to second order, ``u`` the direction; its
depth is that of the middle too. `migration_error` includes all this.

References
----------
.. [1] C. Cafforio, C. Prati, F. Rocca, "SAR data focusing using seismic migration techniques",
   IEEE Trans. Aerosp. Electron. Syst. 27, 194-207 (1991).
.. [2] J. M. Lopez-Sanchez, J. Fortuny-Guasch, "3-D radar imaging using range migration techniques",
   IEEE Trans. Antennas Propag. 48, 728-737 (2000).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.pieces import pieces
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.wavefronts import unit_phasor

_OFF_GRID = 0.05
"""Of the pitch: positions that are farther from a grid are on none."""
_SPARSEST = 4
"""Places of the grid for each position, at most."""
_ZONES = 2.5
"""Fresnel zones beyond the scene over which waves are tapered: what is left is below 1e-3."""
_SAMPLES_TOGETHER = 2**21
"""Samples of the frequencies that are transformed together, about."""
_SAMPLED_VOXELS, _SAMPLED_FREQUENCIES = 64, 3
_AT_ONCE = 4096
"""Samples, or pulses, of all these voxels."""


@dataclass(frozen=True, eq=False)
class PlanarScan:
    """Positions on a grid in a plane across one coordinate."""

    normal: int
    """The coordinate that is the same everywhere."""
    corner: NDArray[np.float64]
    """Position of place ``(0, 0)``, ``(3,)`` [m]."""
    pitch: tuple[float, float]
    """Along the other two coordinates, in order [m]."""
    places: NDArray[np.intp]
    """Of each pulse on the grid, ``[pulse, 2]``."""
    apart: NDArray[np.float64]
    """Half of the vector from transmitter to receiver, ``(3,)`` [m]."""

    @property
    def across(self) -> tuple[int, int]:
        """The two coordinates of the plane."""
        first, second = (axis for axis in range(3) if axis != self.normal)
        return first, second

    @classmethod
    def of(cls, paths: AntennaPaths) -> "PlanarScan | None":
        """Return the scan that positions make, in any order and with gaps; None if they do not."""
        middle = (paths.transmitter + paths.receiver) / 2
        apart = (paths.receiver - paths.transmitter) / 2
        normal = int(np.ptp(middle, axis=0).argmin())
        columns = [_even_steps(middle[:, axis]) for axis in range(3) if axis != normal]
        if columns[0] is None or columns[1] is None:
            return None
        starts, steps, places = zip(*columns, strict=True)
        pitch = min(steps)
        flat = np.ptp(middle[:, normal]) <= _OFF_GRID * pitch
        together = np.ptp(apart, axis=0).max() <= _OFF_GRID * pitch
        count = math.prod(int(place.max()) + 1 for place in places)
        if not flat or not together or count > _SPARSEST * len(middle):
            return None
        corner = np.insert(np.array(starts), normal, middle[:, normal].mean())
        return cls(normal, corner, steps, np.stack(places, axis=1), apart.mean(axis=0))


def _even_steps(values: NDArray[np.float64]) -> tuple[float, float, NDArray[np.intp]] | None:
    """Return where evenly spaced values begin, their step, and the number of each."""
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    if not gaps.size or not gaps.max() > 0:
        return None
    steps = gaps[gaps > 4 * _OFF_GRID * gaps.max()]
    count = round(float(np.ptp(values)) / float(np.median(steps)))
    step = float(np.ptp(values)) / count
    exact = (values - ordered[0]) / step
    places = np.rint(exact).astype(np.intp)
    if np.abs(exact - places).max() > _OFF_GRID:
        return None
    return float(ordered[0]), step, places


@dataclass(frozen=True, eq=False)
class MigratedSamples:
    """What one frequency of a planar scan measures of an image, times its depths."""

    wave_vectors: NDArray[np.float64]
    """float64 ``[axis, sample]`` [rad/m]."""
    weights: NDArray[np.complex128]
    """Of each sample, from the scene's origin on."""
    places: NDArray[np.intp]
    """On the grid of the aperture's spectrum, flat. Some are the same: their samples add up."""


@dataclass(frozen=True, eq=False)
class RangeMigration:
    """A planar scan of a scene of three Cartesian axes that lies wholly before its plane."""

    scene: Scene
    scan: PlanarScan

    @classmethod
    def of(cls, scene: Scene, paths: AntennaPaths) -> "RangeMigration | None":
        """Return range migration where scene and positions allow it, else None."""
        if len(scene.shape) < 3 or scene.range is not None or paths.own_bands:
            return None
        scan = PlanarScan.of(paths)
        if scan is None:
            return None
        found = cls(scene, scan)
        return found if found.depths.min() > 0 else None

    @cached_property
    def _side(self) -> float:
        """The sign of the way from the plane to the scene's middle."""
        normal = self.scan.normal
        return math.copysign(1.0, self.scene.centre[normal] - self.scan.corner[normal])

    @cached_property
    def depths(self) -> NDArray[np.float64]:
        """Return how far voxels lie before the plane, along its axis, float64 ``(N,)`` [m]."""
        normal = self.scan.normal
        place = self.scene.centre[normal] + self.scene.offsets(normal) - self.scan.corner[normal]
        return np.asarray(self._side * place)

    @cached_property
    def _reach(self) -> tuple[float, float]:
        """How far apart antennas and voxels are, across the plane, at most [m]."""
        reach = []
        for axis, step, place in zip(
            self.scan.across, self.scan.pitch, self.scan.places.T, strict=True
        ):
            antennas = self.scan.corner[axis] + step * np.array([place.min(), place.max()])
            voxels = (self.scene.centre[axis] + self.scene.offsets(axis))[[0, -1]]
            reach.append(float(np.abs(antennas[:, None] - voxels).max()))
        return reach[0], reach[1]

    def _slopes(self, path_k: float) -> list[tuple[float, float]]:
        """Return the slopes under which scatterers are seen along both axes, and where waves end.

        The depths between are `_ZONES` Fresnel zones wide at the plane.
        """
        nearest, farthest = float(self.depths.min()), float(self.depths.max())
        zone = math.sqrt(2 * math.pi * farthest / path_k)
        slopes = []
        for reach in self._reach:
            seen = reach / nearest
            slopes.append((seen, seen + _ZONES * zone / nearest * (1 + seen**2) ** 0.75))
        return slopes

    def grid(self, k: NDArray[np.float64]) -> tuple[int, int]:
        """Return the places of the aperture and of its spectrum, with room for what lies beyond.

        Of wavenumbers ``(freq,)`` [rad/m].
        """
        from scipy.fft import next_fast_len

        farthest = float(self.depths.max())
        sizes = [
            next_fast_len(math.ceil((reach + farthest * end) / step))
            for reach, (_, end), step in zip(
                self._reach, self._slopes(2 * float(k.min())), self.scan.pitch, strict=True
            )
        ]
        return sizes[0], sizes[1]

    def samples(self, k: float, grid: tuple[int, int]) -> MigratedSamples:
        """Return the samples of one wavenumber [rad/m], on the grid of all."""
        from scipy.special import erfc

        path_k = 2 * k
        slopes = self._slopes(path_k)
        steps = [2 * np.pi / (n * p) for n, p in zip(grid, self.scan.pitch, strict=True)]
        most = [
            int(path_k * end / math.hypot(1, end) / step)
            for step, (_, end) in zip(steps, slopes, strict=True)
        ]
        numbers = np.ix_(*(np.arange(-n, n + 1) for n in most))
        squares = [(number * step) ** 2 for number, step in zip(numbers, steps, strict=True)]
        kz_square = path_k**2 - squares[0] - squares[1]
        inside = kz_square > 0
        for square, (_, end) in zip(squares, slopes, strict=True):
            inside &= square < end**2 * kz_square
        rows = [place - n for place, n in zip(np.nonzero(inside), most, strict=True)]
        kz = np.sqrt(kz_square[inside])
        scan, scene = self.scan, self.scene
        vectors = np.empty((3, len(kz)))
        vectors[scan.normal] = self._side * kz
        taper = np.ones(len(kz))
        for axis, row, step, (seen, end) in zip(scan.across, rows, steps, slopes, strict=True):
            vectors[axis] = row * step
            outward = (np.abs(vectors[axis]) / kz - seen) / (end - seen)
            beyond = outward > 0
            taper[beyond] *= 0.5 * erfc(4.2 * (outward[beyond] - 0.5))

        middle = float(self.depths.mean())
        # From the place (0, 0) to the origin, and what both antennas see beside their middle.
        phase = (scene.centre - scan.corner) @ vectors
        sideways = scan.apart @ scan.apart - (scan.apart @ vectors / path_k) ** 2
        phase += k * sideways * kz / (path_k * middle)
        area = math.prod(n * p for n, p in zip(grid, scan.pitch, strict=True))
        weights = taper * (-2j * np.pi * path_k / kz**2) * (1 - 1j / (kz * middle)) / area
        folded = [row % n for row, n in zip(rows, grid, strict=True)]
        return MigratedSamples(
            vectors, weights * unit_phasor(phase), folded[0] * grid[1] + folded[1]
        )

    def sample_count(self, k: float, grid: tuple[int, int]) -> int:
        """Return how many samples a wavenumber [rad/m] has, on the grid of all."""
        return len(self.samples(float(k), grid).places)

    def on_grid(self, grid: tuple[int, int]) -> NDArray[np.intp]:
        """Return the flat places of pulses on a grid, ``[pulse]``."""
        return np.asarray(self.scan.places @ np.array([grid[1], 1]))


def frequency_bands(frequencies: int, most: int) -> list[slice]:
    """Cut frequencies of at most so many samples each into bands that are transformed together."""
    size = max(1, _SAMPLES_TOGETHER // most)
    return [slice(n, min(n + size, frequencies)) for n in range(0, frequencies, size)]


def migration_error(
    migration: RangeMigration, paths: AntennaPaths, k: NDArray[np.float64], *, seed: int = 0
) -> float:
    """Return the relative l2 error of the measurements of scatterers at random voxels.

    64 of amplitude 1 and random phase, seen from where all positions really are at the lowest,
    middle and highest wavenumber: both sums are over these voxels alone.
    """
    random = np.random.default_rng(seed)
    scene = migration.scene
    voxels = random.integers(scene.voxels, size=_SAMPLED_VOXELS)
    values = np.exp(2j * np.pi * random.uniform(size=len(voxels)))
    some = k[np.unique(np.linspace(0, len(k) - 1, _SAMPLED_FREQUENCIES).astype(int))]
    grid, positions = migration.grid(some), scene.positions(voxels)
    depth = migration.depths[np.unravel_index(voxels, scene.shape)[migration.scan.normal]]
    found = np.empty((len(paths), len(some)), np.complex128)
    for index, one in enumerate(some):
        samples = migration.samples(float(one), grid)
        spectrum = np.zeros(math.prod(grid), np.complex128)
        for part in pieces(len(samples.weights), _AT_ONCE):
            waves = unit_phasor((positions - scene.centre) @ samples.wave_vectors[:, part])
            sums = (values * depth) @ waves * samples.weights[part]
            np.add.at(spectrum, samples.places[part], sums)
        fields = np.fft.ifft2(spectrum.reshape(grid), norm="forward").ravel()
        found[:, index] = fields[migration.on_grid(grid)]
    wrong = energy = 0.0
    for pulses in pieces(len(paths), _AT_ONCE):
        ways = paths[pulses].path_differences(positions) + paths.reference_path[pulses, None]
        exact = unit_phasor(some[:, None] * ways[:, None]) @ values
        wrong += float(np.sum(np.abs(found[pulses] - exact) ** 2))
        energy += float(np.sum(np.abs(exact) ** 2))
    return math.sqrt(wrong / energy)
