"""What every RF source becomes: pairs of antenna arrays, or pulses; read piece by piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import LazyArray
from pipeline.formats.mapping import Stacked
from pipeline.rf.arrays import PATHS
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair, checked_frequencies
from pipeline.rf.geometry.scene import Scene


@dataclass(frozen=True)
class PairSource:
    """One pair of antenna arrays as its source presents it.

    Attributes
    ----------
    measurements : LazyArray
        complex ``[frame, freq, m1, m2(, m3)]``.
    antennas : Pair or None
        Positions; None where only factors are known.
    arrays : mapping
        Factors, ``[freq, ...]``: see `pipeline.rf.arrays.PAIRS`. And the gains of its
        elements, ``gain_tx`` and ``gain_rx``, complex ``[element]``, where the source has them.
    """

    measurements: LazyArray
    antennas: Pair | None
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class PairsAcquisition:
    """Pairs of antenna arrays as their source presents them.

    Signs are those of `pipeline.rf.geometry.pair_model`: time dependence ``exp(+j w t)``.

    Attributes
    ----------
    scene : Scene
        Grid of the image.
    frequencies : ndarray
        float64 ``[freq]`` [Hz].
    pairs : sequence of PairSource
        The pairs.
    arrays : mapping
        Of `pipeline.rf.arrays.PAIRS`, and ``phase`` ``[frame, pair]`` [rad] and ``delay``
        ``[pair]`` [s] where the source has them.
    coherent : bool
        Whether the phases of different pairs can be compared, once they are corrected.
    model_error : float or None
        Relative error of the factors, where the source knows it.
    provenance : mapping
        JSON values that tell where the data came from.
    """

    scene: Scene
    frequencies: NDArray[np.float64]
    pairs: Sequence[PairSource]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    coherent: bool = True
    model_error: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of independent images."""
        return self.pairs[0].measurements.shape[0]


@dataclass(frozen=True)
class PhaseHistory:
    """One phase history as its source presents it.

    Signs are those of `pipeline.rf.geometry.antenna_paths`: the phase of a measurement falls with
    the length of its path.

    Attributes
    ----------
    frequencies : ndarray
        float64 ``[freq]`` [Hz], increasing.
    paths : AntennaPaths
        Positions and reference path of each pulse [m].
    measurements : LazyArray
        complex64 ``[pulse, freq]``.
    provenance : mapping
        JSON values that tell where the data came from.
    who : str
        The dataset, begins the message of an error.

    Raises
    ------
    DataError
        If frequencies, positions and measurements contradict each other.
    """

    frequencies: NDArray[np.float64]
    paths: AntennaPaths
    measurements: LazyArray
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
class PulsesAcquisition:
    """A phase history of one or several frames as its source presents it.

    Signs are those of `pipeline.rf.geometry.antenna_paths`: the phase of a measurement falls with
    the length of its path.

    Attributes
    ----------
    scene : Scene
        Grid of the image.
    frequencies : ndarray
        float64 ``[freq]`` [Hz].
    measurements : LazyArray
        complex ``[frame, pulse, freq]``.
    arrays : mapping
        Of `pipeline.rf.arrays.PULSES`: positions, and what else there is.
    provenance : mapping
        JSON values that tell where the data came from.
    """

    scene: Scene
    frequencies: NDArray[np.float64]
    measurements: LazyArray
    arrays: Mapping[str, NDArray[Any]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_one_frame(
        cls,
        scene: Scene,
        history: PhaseHistory,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> Self:
        """Return an acquisition of a single phase history."""
        paths = {name: getattr(history.paths, name)[None] for name in PATHS}
        return cls(
            scene=scene,
            frequencies=history.frequencies,
            measurements=Stacked([history.measurements], axis=0),
            arrays={**paths, **(arrays or {})},
            provenance=history.provenance,
        )


RfAcquisition = PairsAcquisition | PulsesAcquisition


def scene_of(settings: IngestSettings, dataset: str) -> Scene:
    """Return the image's grid as the settings give it.

    Raises
    ------
    ConfigError
        If they do not.
    """
    scene = settings.details.scene
    if scene is None:
        raise ConfigError(
            f"{dataset}: the image's grid is missing; give sources.{dataset}.scene with shape, "
            "spacing and origin"
        )
    return Scene(scene.shape, scene.spacing, scene.origin)
