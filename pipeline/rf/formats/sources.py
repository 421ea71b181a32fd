"""Open an RF source of any format."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.rf.formats.acquisition import PulsesAcquisition, RfAcquisition, scene_of
from pipeline.rf.formats.arrays import open_rf_arrays
from pipeline.rf.formats.born_simulation import PointScene, rf6, spotlight
from pipeline.rf.formats.fresnel import read_fresnel
from pipeline.rf.formats.gotcha import gotcha_files, read_gotcha
from pipeline.rf.formats.native import open_rf_native

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


@contextmanager
def open_rf(settings: IngestSettings, dataset: str) -> Iterator[RfAcquisition]:
    """Open the RF source of a dataset, in whichever format it is.

    Parameters
    ----------
    settings
        Format, source and what the source does not say itself.
    dataset
        Name of the dataset; begins the message of an error.

    Yields
    ------
    PairsAcquisition or PulsesAcquisition
        Whose arrays can be read until the block ends.

    Raises
    ------
    ConfigError
        If settings that the format needs are missing.
    DataError
        If the source is missing, unreadable or contradicts itself.
    """
    source = Path(settings.source)
    match settings.format:
        case "native":
            with open_rf_native(settings, dataset) as acquisition:
                yield acquisition
        case "arrays":
            with open_rf_arrays(settings, dataset) as acquisition:
                yield acquisition
        case "gotcha":
            scene = scene_of(settings, dataset)
            yield PulsesAcquisition(scene, [read_gotcha(gotcha_files(source), dataset)])
        case "fresnel":
            scene = scene_of(settings, dataset)
            yield PulsesAcquisition(scene, [read_fresnel(source, dataset)])
        case "simulation":
            yield open_point_scene(settings, dataset).acquisition(dataset)
        case other:
            raise ConfigError(f"{dataset}: the format {other} holds no RF data")
