"""What `kronufft check` looks for in the data themselves, before anything is copied."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.calibration import CalibrateSettings
from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.equations import image_shape
from pipeline.config.file import Config
from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.engine.chain import Calibrating, with_methods
from pipeline.formats.sampled import check_samples
from pipeline.kinds import part_of
from pipeline.opened_source import opened_source
from pipeline.storage.acquired import Acquired
from pipeline.storage.claims import source_checksum
from pipeline.storage.receipts import Receipt

MOST_SOURCES = 1000
"""Of a longer table so many are opened, spread over it."""


@dataclass(frozen=True)
class Checked:
    """What a source holds, in the project's axes."""

    dataset: str
    """The first that it is the source of."""
    told: tuple[str, ...]
    """A line for each array, and for what is taken by default."""
    partly: tuple[str, ...]
    """Those of which only samples were looked at."""


def check_sources(
    config: Config, rows: Iterable[Dataset]
) -> Iterator[tuple[Dataset, Checked | None]]:
    """Check the source of each row, equal ones once; `None` of those that were left out.

    Raises
    ------
    ConfigError, DataError, PlanError
        As `check_source` does.
    """
    sources = {row: _source_of(config, row) for row in rows}
    different = list(dict.fromkeys(sources.values()))
    count = min(len(different), MOST_SOURCES)
    opened = {different[at * len(different) // count] for at in range(count)}
    found: dict[tuple[object, ...], Checked] = {}
    for row, source in sources.items():
        if source in opened and source not in found:
            found[source] = check_source(config, row)
        yield row, found.get(source)


def _source_of(config: Config, row: Dataset) -> tuple[object, ...]:
    """Return what is equal of rows whose check is."""
    own = row.dataset if row.dataset in config.sources else None
    return (row.kind, row.format, row.source, row.reconstructions, own)


def check_source(config: Config, row: Dataset) -> Checked:
    """Open a dataset's source as `ingest` does, and test headers, samples and settings.

    Raises
    ------
    ConfigError, DataError, PlanError
        As `ingest`, `calibrate` and `plan` would; what only all values tell is left to them.
    """
    settings = stage_settings(config, row, "ingest")
    assert isinstance(settings, IngestSettings)
    record = Receipt(Path("check"), "check", dataset=row.dataset)  # its warnings are printed
    budget = Budget(row.dataset, config.memory.of_ingest)
    for file in settings.files():
        if file.is_dir():
            source_checksum(file)  # refuses what reading may never end of
    with opened_source(settings, row.dataset, budget, Path("raw.json")) as source:
        content = source.content
        lines: dict[str, list[str]] = {}
        for path, array in content.arrays.items():
            sizes = zip(content.table[path].axes, array.shape, strict=False)
            axes = ", ".join(f"{axis} {size}" for axis, size in sizes)
            lines.setdefault(f"{content.table.pattern(path)}: {axes}", []).append(path)
        shapes = {path: tuple(array.shape) for path, array in content.arrays.items()}
        acquired = Acquired.told(content.attributes, shapes)
        _check_settings(config, row, acquired)
        partly: Sequence[str] = ()
        if row.format != "simulation":
            partly = check_samples(content, source.extents, row.dataset, record)
    told = [
        line if len(paths) == 1 else f"{line}, {len(paths)} of them"
        for line, paths in lines.items()
    ]
    if acquired.slices > 1:
        told.append(f"slices: {acquired.slices}; frames of the first stand before the second's")
    if row.format in ("arrays", "bart") and row.kind == "mri" and not settings.details.voxel_size:
        told.append("voxel_size: 1 mm, as nothing says it; images are written with it")
    return Checked(row.dataset, tuple(told), tuple(partly))


def _check_settings(config: Config, row: Dataset, acquired: Acquired) -> None:
    """Refuse what `calibrate` and `plan` would, as far as sizes tell."""
    settings = stage_settings(config, row, "calibrate")
    assert isinstance(settings, CalibrateSettings)
    steps = part_of(row.kind, "calibrate").STEPS
    job = with_methods(steps, Calibrating(row.dataset, acquired, settings, 1, "cpu"))
    for name in row.reconstructions:
        chosen, who = config.reconstructions[name], f"{row.dataset} {name}"
        chosen.check_file(len(image_shape(acquired.shape, chosen, who)))
        part_of(row.kind, "check").check_settings(chosen, job, who)
