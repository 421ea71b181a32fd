"""A source that is open, and what copying it takes: for `ingest`, and for `kronufft check`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pipeline.config.sources import IngestSettings, reader_module
from pipeline.engine.budget import Budget
from pipeline.engine.needs import Need, largest
from pipeline.formats.content import Content, copying_needs, planned_tiles
from pipeline.kinds import part_of


@dataclass(frozen=True)
class OpenedSource:
    """The arrays of a source, in the project's axes, not read yet."""

    content: Content
    extents: Mapping[str, tuple[int, ...]]
    """Extents of the tiles that it is copied in."""
    need: Need
    """What the largest of them takes."""


@contextmanager
def opened_source(
    settings: IngestSettings, dataset: str, budget: Budget, raw: Path
) -> Iterator[OpenedSource]:
    """Open a source for as long as it is read, to be copied to `raw` within the budget.

    Raises
    ------
    ConfigError, DataError
        If the source and what is said of it do not fit each other.
    PlanError
        If what has to be read at once does not fit the budget.
    """
    reader = import_module(reader_module(settings.kind, settings.format))
    with reader.open_source(settings, dataset, budget) as acquisition:
        part = part_of(settings.kind, "ingest")
        content = part.content_of(acquisition, settings, dataset, budget)
        budget.hold_in_memory(content.arrays.values())
        extents = planned_tiles(content, raw, dataset, budget.fits)
        need = budget.require(largest(copying_needs(content, extents)))
        yield OpenedSource(content, extents, need)
