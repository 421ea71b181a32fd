"""Open an RF source of any format."""

from pathlib import Path

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.formats.born_simulation import PointScene, rf6
from pipeline.formats.fresnel import read_fresnel
from pipeline.formats.gotcha import gotcha_files, read_gotcha
from pipeline.formats.phase_history import PhaseHistory

_POINT_SCENES = {"rf6": rf6}


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
    return _POINT_SCENES[settings.source]()


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
