"""What `kronufft check` looks for in the data themselves, before anything is copied."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import Config
from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.formats.sampled import check_samples
from pipeline.opened_source import opened_source
from pipeline.storage.claims import source_checksum
from pipeline.storage.receipts import Receipt


@dataclass(frozen=True)
class Checked:
    """What a source holds, in the project's axes."""

    told: tuple[str, ...]
    """A line for each array, and for what is taken by default."""
    partly: tuple[str, ...]
    """Those of which only samples were looked at."""


def check_source(config: Config, row: Dataset) -> Checked:
    """Open a dataset's source as `ingest` does, and test headers and samples.

    Raises
    ------
    ConfigError, DataError, PlanError
        As `ingest` would; what only all values tell is left to it.
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
        partly: Sequence[str] = ()
        if row.format != "simulation":
            partly = check_samples(content, source.extents, row.dataset, record)
    told = [
        line if len(paths) == 1 else f"{line}, {len(paths)} of them"
        for line, paths in lines.items()
    ]
    if row.format in ("arrays", "bart") and row.kind == "mri" and not settings.details.voxel_size:
        told.append("voxel_size: 1 mm, as nothing says it; images are written with it")
    return Checked(tuple(told), tuple(partly))
