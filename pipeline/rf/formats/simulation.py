"""Simulated RF scenes by name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError
from pipeline.rf.formats.acquisition import RfAcquisition
from pipeline.rf.formats.born_simulation import PointScene, rf6, spotlight

SCENES: Mapping[str, Callable[[int], PointScene]] = {
    "rf6": rf6,
    "gorham-moore": lambda seed: spotlight(),
    "gorham-moore-single": lambda seed: spotlight(targets=1),
}
"""From the seed of what is drawn at random in them."""


@contextmanager
def open_source(settings: IngestSettings, dataset: str) -> Iterator[RfAcquisition]:
    """Simulate the scene that the source names; raise `ConfigError` if there is none."""
    if settings.source not in SCENES:
        raise ConfigError(
            f"{dataset}: unknown scene `{settings.source}`; the source of an RF simulation is one "
            f"of {', '.join(SCENES)}"
        )
    yield SCENES[settings.source](settings.details.seed).acquisition(dataset)
