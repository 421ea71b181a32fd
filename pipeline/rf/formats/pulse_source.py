"""What sources of irregular radar and tomography data become: pulses with antenna positions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.formats.lazy import LazyArray
from pipeline.rf.checks import require_frequencies
from pipeline.rf.geometry.antenna_paths import AntennaPaths


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
        object.__setattr__(self, "frequencies", require_frequencies(self.frequencies, self.who))
        expected = (len(self.paths), len(self.frequencies))
        if self.measurements.shape != expected:
            raise DataError(
                f"{self.who}: the measurements have the shape {self.measurements.shape}, but there "
                f"are {expected[0]} antenna positions and {expected[1]} frequencies; expected "
                f"{expected} (pulse, frequency)"
            )
