"""Simulated RF scenes of point scatterers, by name: the exact Born sum, with noise.

None of the models that an image is made with has a part in them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.engine import processes
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.formats.lazy import InMemory, LazyArray, Selection, part_bytes
from pipeline.rf.formats.acquisition import PhaseHistory, RfAcquisition, resident
from pipeline.rf.geometry.antennas import Pair, centre_wavenumber
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.phase_history import paths_of_pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import simulate


@dataclass(frozen=True, eq=False)
class PointScene:
    """Point scatterers, on a scene's grid or off it, and the antennas that measure them."""

    scene: Scene
    pairs: tuple[Pair, ...]
    frequencies: NDArray[np.float64]  # [freq], Hz
    positions: NDArray[np.float64]  # [point, 3], m
    amplitudes: NDArray[np.complex128]  # [point]: reflectivities
    snr_db: float | None = None  # mean powers, signal over noise; None for no noise
    seed: int = 0
    dimensions: int = 3  # 2 or 3, of the field
    born_k2: bool = False  # whether the amplitudes are contrasts

    def signal(self, pair: int) -> NDArray[np.complex128]:
        """Return what a pair measures without noise, complex128 ``(freq, m1, m2)``."""
        return simulate(
            self.positions,
            self.amplitudes,
            self.pairs[pair],
            self.frequencies,
            born_k2=self.born_k2,
            dimensions=self.dimensions,
            speed=self.scene.speed,
        )

    @cached_property
    def noise_deviation(self) -> float:
        """Standard deviation of the complex noise: the same in all pairs."""
        if self.snr_db is None:
            return 0.0
        signals = [self.signal(pair) for pair in range(len(self.pairs))]
        energy = sum(float(np.sum(np.abs(signal) ** 2)) for signal in signals)
        samples = sum(signal.size for signal in signals)
        return math.sqrt(energy / samples) * 10 ** (-self.snr_db / 20)

    def measurement(self, pair: int, frame: int = 0) -> NDArray[np.complex128]:
        """Return complex128 ``(freq, m1, m2)`` of a pair; frames differ in their noise only."""
        signal = self.signal(pair)
        if self.snr_db is None:
            return signal
        generator = np.random.default_rng([self.seed, frame, pair])
        noise = generator.standard_normal((*signal.shape, 2)).view(np.complex128)[..., 0]
        return np.asarray(signal + noise * (self.noise_deviation / math.sqrt(2)))

    def acquisition(self, who: str) -> RfAcquisition:
        """Return the simulated measurements; ``who`` names them in errors.

        A single pair that sends and receives each pulse from a place of its own gives a phase
        history.
        """
        provenance = {"simulation": "exact Born sum", "seed": self.seed}
        if len(self.pairs) == 1 and self.pairs[0].paired:
            measured = self.measurement(0)[..., 0].T  # [pulse, freq]
            history = PhaseHistory(
                frequencies=self.frequencies,
                paths=paths_of_pair(self.pairs[0]),
                measurements=InMemory(np.ascontiguousarray(measured)),
                provenance=provenance,
                who=who,
            )
            return RfAcquisition.of_pulses(self.scene, history, {"targets": self.positions})
        weights = [
            pair_model(self.scene, pair, self.frequencies, "W").weights for pair in self.pairs
        ]
        simulated: dict[str, LazyArray] = {
            f"pair/{index}/y": SimulatedPair(self, index) for index in range(len(self.pairs))
        }
        shared = {
            "frequencies": self.frequencies,
            "weights": np.stack(weights),
            "noise_std": np.full(len(self.pairs), self.noise_deviation),
            "targets": self.positions,
            "reference": self.scene.to_volumes(self.truth()[None]),
        }
        return RfAcquisition(
            scene=self.scene,
            arrays=simulated | resident(shared),
            pairs=self.pairs,
            provenance=provenance,
        )

    def truth(self) -> NDArray[np.complex128]:
        """Return the image: each scatterer in its nearest voxel, complex128 of the scene's shape.

        Only for a scene of Cartesian axes. Scatterers outside it are left out.
        """
        image = np.zeros(self.scene.shape, np.complex128)
        voxels = np.rint(self.scene.voxels_at(self.positions)).astype(int)
        inside = ((voxels >= 0) & (voxels < self.scene.shape)).all(axis=1)
        np.add.at(image, tuple(voxels[inside].T), self.amplitudes[inside])
        return image


class SimulatedPair:
    """What a pair of a point scene measures, a `LazyArray` ``[frame, freq, m1, m2]``."""

    def __init__(self, points: PointScene, pair: int) -> None:
        self._points = points
        self._pair = pair
        self.shape: tuple[int, ...] = (
            1,
            len(points.frequencies),
            *points.pairs[pair].measurement_shape,
        )
        self.dtype = np.dtype(np.complex128)
        self.chunks = self.shape

    def reading_bytes(self, extent: Sequence[int]) -> int:
        """Return the peak memory while all is simulated: signal, noise and both together [byte]."""
        return 4 * part_bytes(self, self.shape)

    def __getitem__(self, selection: Selection) -> NDArray[np.complex128]:
        return self._points.measurement(self._pair)[None][selection]


def rf6(seed: int = 0, *, scatterers: int = 40, snr_db: float | None = 20.0) -> PointScene:
    """Return six pairs of crossed arrays in front of a sparse scene.

    Sixteen frequencies within 1 GHz about 10 GHz, arrays of 8 and of 8 elements that subtend 50
    mrad, and 64 x 64 voxels of 0.6 m: a wavelength over that angle. With the antennas at 30 m, from
    where a scene of 38 m would be in the extreme near field, this is a scene for plane waves only.
    So the antennas stand under the same angles at 100 000 km, on a sphere about the scene, from
    where waves are plane to -60 dB; the gain of each pair makes a scatterer of amplitude 1 in the
    middle of the scene give measurements of modulus 1.

    The seed draws positions and phases of the scatterers, in different voxels and of amplitude 1,
    and the noise. Its level is ``snr_db`` [dB]; `None` for no noise.
    """
    range_, size, elements, tones = 1e8, 64, 8, 16
    aperture = 1.5 / 30
    aspects = [(0, 0), (0.04, 0.02), (-0.04, 0.02), (0.02, -0.04), (-0.02, -0.04), (0.05, -0.01)]
    frequencies = 10e9 + 1e9 * (np.arange(tones) - tones // 2) / tones
    wavelength = 2 * np.pi / centre_wavenumber([9.5e9, 10.5e9])
    scene = Scene((size, size), (wavelength / aperture,) * 2)
    steps = (np.arange(elements) - (elements - 1) / 2) * (aperture / elements)
    pairs = []
    for aspect in aspects:
        # Both arrays share the aspect; an element's own angle is subtracted as it faces the scene.
        towards = np.tile(np.array(aspect) / 2, (elements, 1))
        tx, rx = towards.copy(), towards.copy()
        tx[:, 0] -= steps
        rx[:, 1] -= steps
        pairs.append(
            Pair(_on_sphere(tx, range_), _on_sphere(rx, range_), gain=(4 * np.pi * range_) ** 2)
        )
    generator = np.random.default_rng(seed)
    voxels = generator.choice(scene.voxels, scatterers, replace=False)
    return PointScene(
        scene=scene,
        pairs=tuple(pairs),
        frequencies=frequencies,
        positions=scene.positions(voxels),
        amplitudes=np.exp(2j * np.pi * generator.random(scatterers)),
        snr_db=snr_db,
        seed=seed,
    )


def spotlight(*, size: int = 501, extent: float = 10.0, targets: int = 3) -> PointScene:
    """Return the point scene of Gorham and Moore [1]_: three targets in spotlight-mode radar.

    128 pulses within 3 degrees of azimuth about 50 degrees, 30 degrees above the ground and 10 km
    away; 512 frequencies within 600 MHz about 10 GHz. The single pair sends and receives each pulse
    from one place. The first target stands in the centre, and ``extent`` [m] is from the first to
    the last of ``size`` voxels of an axis.

    References
    ----------
    .. [1] L. A. Gorham, L. J. Moore, "SAR image formation toolbox for MATLAB", Proc. SPIE 7699,
       769906 (2010).
    """
    azimuths = np.deg2rad(50 + np.linspace(-1.5, 1.5, 128))
    elevation, range_ = np.deg2rad(30), 10e3
    directions = np.column_stack(
        [
            np.cos(elevation) * np.cos(azimuths),
            np.cos(elevation) * np.sin(azimuths),
            np.full_like(azimuths, np.sin(elevation)),
        ]
    )
    antenna = range_ * directions
    return PointScene(
        scene=Scene((size, size), (extent / (size - 1),) * 2),
        pairs=(Pair(antenna, antenna, paired=True, gain=(4 * np.pi * range_) ** 2),),
        frequencies=10e9 + 600e6 * np.linspace(-0.5, 0.5, 512),
        positions=np.array([[0.0, 0, 0], [-3, 2, 0], [1, 4, 0]])[:targets],
        amplitudes=np.ones(targets, np.complex128),
    )


def _on_sphere(cosines: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return antennas that see the origin under two direction cosines each, ``(element, 3)``."""
    forward = np.sqrt(1 - np.sum(cosines**2, axis=1))
    return -radius * np.column_stack([cosines, forward])


SCENES: Mapping[str, Callable[[int], PointScene]] = {
    "rf6": rf6,
    "gorham-moore": lambda seed: spotlight(),
    "gorham-moore-single": lambda seed: spotlight(targets=1),
}
"""From the seed of what is drawn at random in them."""
_RANDOM = ("rf6",)
"""Those in which anything is."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str, budget: Budget) -> Iterator[RfAcquisition]:
    """Simulate the scene that the source names.

    `ConfigError` if there is none, or if it has no use for the seed.
    """
    seed = settings.details.seed
    if settings.source not in SCENES:
        raise ConfigError(
            f"{dataset}: unknown scene `{settings.source}`; the source of an RF simulation is one "
            f"of {', '.join(SCENES)}"
        )
    if seed and settings.source not in _RANDOM:
        raise ConfigError(
            f"{dataset}: `sources.{dataset}.seed` is {seed}, but nothing in the scene "
            f"`{settings.source}` is random; leave it out, or take {' or '.join(_RANDOM)}"
        )
    budget.load(processes.TORCH)
    yield SCENES[settings.source](seed).acquisition(dataset)
