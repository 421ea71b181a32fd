"""The whole of `config.yaml`."""

import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from pipeline.algorithms.registry import ALGORITHMS, parse_algorithm, settings_class
from pipeline.config.base import (
    DatasetName,
    ReconstructionName,
    Settings,
    canonical_json,
    load_yaml,
    validate,
)
from pipeline.config.calibration import CalibrationSettings
from pipeline.config.outputs import MetricsSettings, OutputSettings
from pipeline.config.planning import MemorySettings
from pipeline.config.sources import SourceSettings
from pipeline.config.sweeps import Sweep, expand_sweeps
from pipeline.config.transforms import NufftSettings

if TYPE_CHECKING:
    from pipeline.algorithms.base import AlgorithmSettings as Reconstruction
else:
    Reconstruction = Annotated[
        reduce(or_, map(settings_class, ALGORITHMS)),
        Field(discriminator="algorithm"),
        BeforeValidator(parse_algorithm),
    ]


class ComputeSettings(Settings):
    """What a job computes with."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")] = "auto"
    """`auto` takes a CUDA device where there is one. Does not change results beyond rounding,
    so changing it reruns nothing."""
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """CPU threads of one job; `auto` takes the cores that Snakemake was given, divided among blocks
    and shards that run side by side, and 4 on a cluster."""
    precision: Literal["single", "double"] = "single"
    """Precision of the reconstruction: complex64 or complex128."""
    deterministic: bool = False
    """Repeat bitwise, on a CPU alone: one thread a transform, coils and frames in parallel."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Time after which the state of a solve is kept beside its block [s], so that a killed job
    goes on from there; 0 keeps none. Changes no results, so changing it reruns nothing."""


_NOT_OF_FOLDERS = r"[^\w.+/-]+"
"""Blanks, and signs that shells or Snakemake read otherwise."""


class Config(Settings):
    """The whole of `config.yaml`."""

    datasets: str = "config/datasets.tsv"
    """Table of datasets."""
    data_root: str = "."
    """Folder that the table's sources are relative to."""
    results: Annotated[str, Field(pattern=r"^[\w.+/-]+$")] | None = None
    """Folder that everything is written to; by default `results`, or `results/NAME` for a config
    file NAME.yaml other than config.yaml."""
    memory: MemorySettings = MemorySettings()
    compute: ComputeSettings = ComputeSettings()
    nufft: NufftSettings = NufftSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    output: OutputSettings = OutputSettings()
    measure: MetricsSettings = MetricsSettings()
    sources: dict[DatasetName, SourceSettings] = Field(default_factory=dict)
    """Per dataset: what its files do not say themselves."""
    reconstructions: Annotated[dict[ReconstructionName, Reconstruction], Field(min_length=1)]
    """Named ways to reconstruct, which the table refers to."""
    _sweeps: dict[str, Sweep] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _sweeps_expanded(cls, content: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        sweeps: dict[str, Sweep] = {}
        if isinstance(content, Mapping) and isinstance(content.get("reconstructions"), Mapping):
            expanded, sweeps = expand_sweeps(content["reconstructions"])
            content = {**content, "reconstructions": expanded}
        config = check(content)
        for name, sweep in sweeps.items():
            known: dict[str, str] = {}
            for part in sweep.names:
                same = known.setdefault(canonical_json(config.reconstructions[part]), part)
                if same != part:
                    raise ValueError(
                        f"`sweep` of `{name}`: `{same}` and `{part}` are the same; leave one out"
                    )
        config._sweeps = sweeps
        return config

    @property
    def sweeps(self) -> Mapping[str, Sweep]:
        """The sweeps that `reconstructions` had, by their names there."""
        return self._sweeps

    def parts_of(self, name: str) -> tuple[str, ...]:
        """Return the reconstructions that a name stands for: those of a sweep, or its own."""
        return self._sweeps[name].names if name in self._sweeps else (name,)


def load_config(content: Any, source: str = "config") -> Config:
    """Check the content of a config file against `Config`."""
    return validate(Config, content, source)


def results_folder(config: Config, file: Path | None) -> str:
    """Return the folder that a run of a config file, `None` for the default one, writes to.

    Each file has a folder of its own, so that no run overwrites another's page.
    """
    if config.results is not None:
        return config.results
    if file is None or file.stem == "config":
        return "results"
    return f"results/{re.sub(_NOT_OF_FOLDERS, '_', file.stem)}"


def read_config(path: Path, default: Path, given: Mapping[str, Any] | None = None) -> Config:
    """Read and check a config file as the workflow does.

    It is laid over the default one if it names no table of datasets, and settings that are
    ``given`` over it.
    """
    content = load_yaml(path)
    if isinstance(content, dict) and "datasets" not in content:
        content = _laid_over(load_yaml(default), content)
    return load_config(_laid_over(content, given) if given else content, str(path))


def _laid_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    joined = {key: _laid_over(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **joined}
