"""Open an RF source of any format."""

from pathlib import Path

from pipeline.config import IngestSettings
from pipeline.errors import ConfigError
from pipeline.formats.fresnel import read_fresnel
from pipeline.formats.gotcha import gotcha_files, read_gotcha
from pipeline.formats.phase_history import PhaseHistory


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
