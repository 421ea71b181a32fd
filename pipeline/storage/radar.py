"""How a radar on a known path over the Earth collected a phase history, for products that tell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.earth import EarthFrame


@dataclass(frozen=True, eq=False)
class RadarCollection:
    """A collection, in the frame of its scene."""

    frame: EarthFrame
    details: Mapping[str, str]
    """What the source says of it: ``start`` (time, ISO 8601), ``collector``, ``core_name``,
    ``type`` (monostatic or bistatic), ``mode``, ``classification`` and the polarisations
    ``transmitted`` and ``received``; and as which ``plane`` the image's was chosen."""
    times: NDArray[np.float64]  # [pulse], in the middle between sending and receiving, s from start
    transmitter: NDArray[np.float64]  # [pulse, 3], m
    receiver: NDArray[np.float64]  # [pulse, 3], m
    frequencies: tuple[float, float]  # lowest and highest, Hz
    band: NDArray[np.float64]  # [2, 3]: least and greatest wave number along x, y and z, rad/m
