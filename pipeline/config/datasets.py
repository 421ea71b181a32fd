"""The table of datasets, and the settings that each stage of a dataset sees.

A stage sees only the settings that it uses: they are its rule's one parameter, so that a changed
setting reruns the stages that use it and no others.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from pipeline.algorithms.registry import check_kind
from pipeline.config.base import DatasetName, ReconstructionName, Settings, nearest, validate
from pipeline.config.calibration import (
    CalibrateSettings,
    CalibrationSettings,
    InstrumentSettings,
)
from pipeline.config.equations import AccumulateSettings
from pipeline.config.file import Config
from pipeline.config.outputs import MeasureSettings, MergeSettings
from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.config.sources import (
    FORMATS,
    STANDARD_INPUT,
    IngestSettings,
    Kind,
    SourceSettings,
)
from pipeline.errors import ConfigError
from pipeline.files import read_text, why_unreadable

_LARGEST_TABLE = 10**8
_FILES_OF_STEPS = (("girf", "file"), ("binning", "table"))
"""Settings of steps of the calibration that name a file."""
DATASET_COLUMNS = ("dataset", "kind", "format", "source", "reconstruction")


class Dataset(Settings):
    """A row of the dataset table."""

    dataset: DatasetName
    kind: Kind
    format: str
    source: str
    reconstructions: tuple[ReconstructionName, ...]

    @model_validator(mode="after")
    def _format_of_its_kind(self) -> Self:
        allowed = FORMATS[self.kind]
        if self.format not in allowed:
            raise ValueError(f"a dataset of kind {self.kind} has one of {', '.join(allowed)}")
        return self


def load_datasets(path: Path, config: Config) -> dict[str, Dataset]:
    """Read the dataset table and check it against the config.

    The table is tab-separated with the columns `DATASET_COLUMNS`; lines that begin with ``#`` are
    comments. Several reconstructions of a dataset are separated by commas; a sweep's name stands
    for those of all its values. The rows stand by name, in the table's order.

    Raises
    ------
    ConfigError
        If the table is missing, empty or malformed, names a dataset twice, or names a
        reconstruction that the config lacks, or if the config does not say of a dataset what its
        format needs to be told.
    """
    try:
        text = read_text(path, _LARGEST_TABLE)
    except ValueError as error:
        begins = "" if path.is_absolute() else f", a path from where this runs, {Path.cwd()}"
        raise ConfigError(
            f"dataset table {path}: {error}; set `datasets` in the config{begins}"
        ) from None
    lines = [
        (number, line)
        for number, line in enumerate(re.split("\r\n?|\n", text), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise ConfigError(f"{path}: empty; expected a header {' '.join(DATASET_COLUMNS)} and rows")
    header = tuple(lines[0][1].split("\t"))
    if header != DATASET_COLUMNS:
        raise ConfigError(
            f"{path}: the header is {header}; expected the tab-separated columns {DATASET_COLUMNS}"
        )
    datasets: dict[str, Dataset] = {}
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in line.split("\t")]
        who = f"{path} line {number}"
        if len(cells) != len(header):
            raise ConfigError(
                f"{who}: {len(cells)} cells; expected {len(header)} separated by tabs"
            )
        values: dict[str, Any] = dict(zip(header, cells, strict=True))
        names = [name.strip() for name in values.pop("reconstruction").split(",")]
        every = [part for name in names for part in config.parts_of(name)]
        row = validate(Dataset, {**values, "reconstructions": every}, who)
        if row.dataset in datasets:
            raise ConfigError(
                f"{who}: dataset `{row.dataset}` stands twice; give several reconstructions of one "
                "dataset in one row, separated by commas"
            )
        check_row(row, config, who)
        datasets[row.dataset] = row
    if not datasets:
        raise ConfigError(f"{path}: no datasets; add a row below the header")
    return datasets


def check_row(row: Dataset, config: Config, who: str) -> None:
    """Raise `ConfigError` where a row and the config do not go together."""
    for name in row.reconstructions:
        if name not in config.reconstructions:
            raise ConfigError(
                f"{who}: reconstruction `{name}` of dataset `{row.dataset}` is not in the "
                f"config{nearest(name, list(config.reconstructions))}"
            )
        try:
            check_kind(config.reconstructions[name], row.kind)
        except ConfigError as error:
            raise ConfigError(
                f"{who}: reconstruction `{name}` of dataset `{row.dataset}`: {error}"
            ) from None
    if len(set(row.reconstructions)) != len(row.reconstructions):
        raise ConfigError(f"{who}: dataset `{row.dataset}` names a reconstruction twice")
    details = config.sources.get(row.dataset, SourceSettings())
    for name in row.reconstructions:
        _check_start(name, row, config, who)
        binned = config.reconstructions[name].frames_per_image == "bins"
        if binned and _calibration(config, details).binning is None:
            raise ConfigError(
                f"{who}: reconstruction `{name}` of dataset `{row.dataset}`: `frames_per_image: "
                "bins` needs `calibration.binning`; say there how readouts are sorted"
            )
    missing = details.missing(row.kind, row.format)
    if missing:
        others = "" if row.dataset in config.sources else ", ".join(map(repr, config.sources))
        raise ConfigError(
            f"{who}: the format {row.format} needs `sources.{row.dataset}.{missing}` in the config"
            + (f", whose sources are {others}" if others else "")
        )
    if (foreign := details.foreign(row.kind, row.format)) is not None:
        key, formats = foreign
        raise ConfigError(
            f"{who}: `sources.{row.dataset}.{key}` is for {', '.join(formats)}, and this is "
            f"{row.kind} {row.format}; leave it out"
        )


def _check_start(name: str, row: Dataset, config: Config, who: str) -> None:
    """Raise `ConfigError` where a reconstruction cannot begin with the images that it names."""
    before: list[str] = [name]
    while (start := config.reconstructions[before[-1]].starts_from) is not None:
        told = f"{who}: reconstruction `{before[-1]}` of dataset `{row.dataset}`: `start: {start}`"
        if start not in row.reconstructions:
            raise ConfigError(
                f"{told} is none of the row's {', '.join(row.reconstructions)}; add it to them"
            )
        if start in before:
            raise ConfigError(f"{told} begins with what begins with it; leave one of both out")
        one, other = config.reconstructions[before[-1]], config.reconstructions[start]
        of_all = other.frames_per_image in ("all", one.frames_per_image)
        if one.shape != other.shape or not of_all:
            raise ConfigError(
                f"{told} makes other images; expected the same `shape`, and the same "
                "`frames_per_image` or `all`"
            )
        before.append(start)


def stage_settings(
    config: Config, dataset: Dataset, stage: str, reconstruction: str | None = None
) -> Settings:
    """Return exactly the settings that one job of ``stage`` uses.

    Stages that belong to one reconstruction need its name.
    """
    details = config.sources.get(dataset.dataset, SourceSettings())
    # What was measured goes into the plan, and what the plan chose by it into the jobs' rows.
    untuned = config.nufft.model_copy(update={"tuning": None})
    # Known or found by `calibrate`: measurements are stored as they were acquired.
    instruments = {name: getattr(details, name) for name in InstrumentSettings.model_fields}
    if stage == "ingest":
        source = dataset.source
        if dataset.format != "simulation":
            source = str(Path(config.data_root) / source)
        update: dict[str, Any] = dict.fromkeys(("calibration", *instruments))
        if details.trajectory is not None and details.trajectory.file is not None:
            file = str(Path(config.data_root) / details.trajectory.file)
            update["trajectory"] = details.trajectory.model_copy(update={"file": file})
        return IngestSettings(
            kind=dataset.kind,
            format=dataset.format,
            source=source,
            details=details.model_copy(update=update),
        )
    if stage == "calibrate":
        return CalibrateSettings(
            calibration=_calibration(config, details),
            nufft=untuned,
            instruments=InstrumentSettings(**instruments) if dataset.kind == "rf" else None,
        )
    chosen = config.reconstructions[str(reconstruction)]
    used: dict[str, Any] = {
        "nufft": config.nufft if stage == "plan" else untuned,
        "precision": config.compute.precision,
        "deterministic": config.compute.deterministic,
    }
    found: Settings
    match stage:
        case "plan":
            found = PlanSettings(**used, reconstruction=chosen, memory=config.memory)
        case "accumulate":
            found = AccumulateSettings(**used, reconstruction=chosen.of_equations())
        case "reconstruct":
            network = chosen.file_checksum()
            found = ReconstructSettings(**used, reconstruction=chosen, network=network)
        case "merge":
            found = MergeSettings(output=config.output, frames_per_image=chosen.frames_per_image)
        case "measure":
            found = MeasureSettings(
                frames_per_image=chosen.frames_per_image,
                metrics=config.measure if dataset.kind == "rf" else None,
            )
        case _:
            raise ValueError(f"no settings for a stage {stage!r}")
    return found


def _calibration(config: Config, details: SourceSettings) -> CalibrationSettings:
    """Return the calibration settings of a dataset, with the paths of files."""
    found = details.calibration or config.calibration
    update = {}
    for step, setting in _FILES_OF_STEPS:
        named = getattr(found, step)
        if named is not None and (file := getattr(named, setting)) is not None:
            file = str(Path(config.data_root) / file)
            update[step] = named.model_copy(update={setting: file})
    return found.model_copy(update=update)


def calibration_files(config: Config, dataset: Dataset) -> dict[str, Path]:
    """Return the files that a dataset is calibrated with, besides its own, by their settings."""
    found = _calibration(config, config.sources.get(dataset.dataset, SourceSettings()))
    named = {
        f"{step}.{setting}": getattr(getattr(found, step), setting, None)
        for step, setting in _FILES_OF_STEPS
    }
    return {setting: Path(file) for setting, file in named.items() if file is not None}


def find_source_files(config: Config, datasets: Mapping[str, Dataset]) -> dict[str, list[Path]]:
    """Return the files that each dataset is read from.

    Raises
    ------
    ConfigError
        If one is missing, or what was tuned, or a network that a reconstruction applies is missing
        or damaged.
    """
    tuning = config.nufft.tuning
    if tuning is not None and (reason := why_unreadable(Path(tuning))):
        raise ConfigError(
            f"`nufft.tuning` {tuning}: {reason}; `kronufft tune --output {tuning}` makes it"
        )
    found = {}
    for name, dataset in datasets.items():
        if dataset.source == STANDARD_INPUT:
            raise ConfigError(
                f"dataset `{name}`: its source is standard input, which is read only once; write "
                "raw.zarr from it with `kronufft ingest`, and take that (format native)"
            )
        settings = stage_settings(config, dataset, "ingest")
        files = settings.files() if isinstance(settings, IngestSettings) else []
        for file in files:
            if reason := why_unreadable(file, folder=True):
                raise ConfigError(
                    f"dataset `{name}`: {file}: {reason}; check `source` in {config.datasets}, "
                    f"files in `sources.{name}` and `data_root` (now `{config.data_root}`)"
                )
        for setting, file in calibration_files(config, dataset).items():
            if reason := why_unreadable(file):
                raise ConfigError(
                    f"dataset `{name}`: `calibration.{setting}` {file}: {reason}; it is relative "
                    f"to `data_root` (now `{config.data_root}`)"
                )
        for chosen in dataset.reconstructions:
            config.reconstructions[chosen].check_file()
        found[name] = files
    return found
