"""What every RF source becomes: pairs of antenna arrays, or pulses; read piece by piece."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.scenes import MediumSettings
from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.derived import stacked
from pipeline.formats.lazy import InMemory, LazyArray
from pipeline.rf.arrays import BANDS, PATHS
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.antennas import Pair, checked_frequencies
from pipeline.rf.geometry.scene import Scene


@dataclass(frozen=True)
class PhaseHistory:
    """One phase history as its source presents it.

    Signs are those of `pipeline.rf.geometry.antenna_paths`: the phase of a measurement falls with
    the length of its path. The provenance is JSON values; ``who`` begins the message of an error.
    `DataError` if frequencies, positions and measurements contradict each other.
    """

    frequencies: NDArray[np.float64]  # [freq], Hz, increasing
    paths: AntennaPaths
    measurements: LazyArray  # complex64 [pulse, freq]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    who: str = "phase history"

    def __post_init__(self) -> None:
        object.__setattr__(self, "frequencies", checked_frequencies(self.frequencies, self.who))
        expected = (len(self.paths), len(self.frequencies))
        if self.measurements.shape != expected:
            raise DataError(
                f"{self.who}: the measurements have the shape {self.measurements.shape}, but there "
                f"are {expected[0]} antenna positions and {expected[1]} frequencies; expected "
                f"{expected} (pulse, frequency)"
            )


@dataclass(frozen=True)
class RfAcquisition:
    """Pairs of antenna arrays, or a phase history, as their source presents them.

    Signs are those of `pipeline.rf.geometry.pair_model`, time dependence ``exp(+j w t)``, and of
    `pipeline.rf.geometry.antenna_paths`. Arrays are named by their path in the store, of
    `pipeline.rf.arrays.PAIRS` or ``PULSES``, but for the positions of pairs. The provenance is JSON
    values.
    """

    scene: Scene
    arrays: Mapping[str, LazyArray]
    pairs: Sequence[Pair | None] = ()  # None where only factors are known; none of pulses
    coherent: bool = True  # phases of pairs can be compared, once they are corrected
    model_error: float | None = None  # relative, of the factors, if their source knows it
    radar: Mapping[str, Any] | None = None
    """Of a path over the Earth: ``frame`` and ``details`` of a `pipeline.storage.radar`, as JSON
    values."""
    antenna: Mapping[str, Any] | None = None
    """Path loss and antenna pattern, as the source has them: attributes of a store."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_pulses(
        cls,
        scene: Scene,
        history: PhaseHistory,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        radar: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return an acquisition of a single phase history."""
        found = {name: getattr(history.paths, name) for name in (*PATHS, *BANDS)}
        paths = {name: values[None] for name, values in found.items() if values is not None}
        small = {"frequencies": history.frequencies, **paths, **(arrays or {})}
        return cls(
            scene=scene,
            arrays={"y": stacked([history.measurements], axis=0), **resident(small)},
            radar=radar,
            provenance=history.provenance,
        )

    def paths(self) -> AntennaPaths:
        """Return where the antennas of a phase history are in its first frame."""
        names = [name for name in (*PATHS, *BANDS) if name in self.arrays]
        whole = {name: self.arrays[name] for name in names}
        return AntennaPaths(
            **{n: a[(slice(0, 1), *map(slice, a.shape[1:]))][0] for n, a in whole.items()}
        )


def resident(arrays: Mapping[str, NDArray[Any]], pair: int | None = None) -> dict[str, LazyArray]:
    """Return arrays in memory by their paths in the store, of all pairs or of one."""
    folder = "" if pair is None else f"pair/{pair}/"
    return {f"{folder}{name}": InMemory(np.asarray(each)) for name, each in arrays.items()}


def _speed(medium: MediumSettings | None) -> float:
    """Return the speed of waves [m/s]."""
    if medium is None:
        return SPEED_OF_LIGHT
    if medium.speed is not None:
        return medium.speed
    return SPEED_OF_LIGHT / math.sqrt(medium.permittivity or 1.0)


def scene_of(settings: IngestSettings, dataset: str) -> Scene:
    """Return the image's grid as the settings give it, or raise `ConfigError`."""
    scene = settings.details.scene
    if scene is None:
        raise ConfigError(
            f"{dataset}: the image's grid is missing; give sources.{dataset}.scene with shape, "
            "spacing and origin"
        )
    try:
        return Scene(scene.shape, scene.spacing, scene.origin, speed=_speed(scene.medium))
    except DataError as error:
        raise ConfigError(f"{dataset}: sources.{dataset}.{error}") from None
