"""Open an RF source of any format."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.formats.born_simulation import PointScene, rf6, spotlight
from pipeline.formats.fresnel import read_fresnel
from pipeline.formats.gotcha import gotcha_files, read_gotcha
from pipeline.formats.phase_history import PhaseHistory

_POINT_SCENES: Mapping[str, Callable[[int], PointScene]] = {
    "rf6": rf6,
    "gorham-moore": lambda seed: spotlight(),
    "gorham-moore-single": lambda seed: spotlight(targets=1),
}
"""Scenes by name, from the seed of what is drawn at random in them."""


def open_point_scene(settings: IngestSettings, dataset: str) -> PointScene:
    """Return the simulated scene that a dataset's source names.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if settings.source not in _POINT_SCENES:
        raise ConfigError(
            f"{dataset}: unknown scene `{settings.source}`; the source of an RF simulation is one "
            f"of {', '.join(_POINT_SCENES)}"
        )
    return _POINT_SCENES[settings.source](settings.details.seed)


def open_phase_history(settings: IngestSettings, dataset: str) -> PhaseHistory:
    """Return the phase history that a dataset's source holds.

    Raises
    ------
    ConfigError
        If the format holds none.
    DataError
        If the source is missing, unreadable or contradicts itself.
    """
    source = Path(settings.source)
    match settings.format:
        case "gotcha":
            return read_gotcha(gotcha_files(source), dataset)
        case "fresnel":
            return read_fresnel(source, dataset)
        case other:
            raise ConfigError(f"{dataset}: the format {other} holds no phase history")
