"""What the workflow's rules are told of a run: parameters and resources of its jobs.

Snakemake asks for these thousands of times while it makes the graph of jobs, also where neither
torch nor Zarr is installed: neither is loaded here, and each file is read once.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config.base import canonical_json
from pipeline.config.calibration import CalibrateSettings
from pipeline.config.datasets import (
    calibration_files,
    find_source_files,
    load_datasets,
    stage_settings,
)
from pipeline.config.file import load_config, results_folder
from pipeline.config.sources import reader_module
from pipeline.engine.needs import requested_mb
from pipeline.engine.table import read_plan
from pipeline.errors import ConfigError, KronufftError
from pipeline.fingerprint import code_fingerprint
from pipeline.merge.outputs import EVERY, output_modules
from pipeline.stages.calibrate import calibrate_need
from pipeline.storage.acquired import Acquired
from pipeline.storage.claims import file_checksum
from pipeline.storage.receipts import STAGES

Read = TypeVar("Read")

_SMALL = 10**6
"""A file that is known by its content [byte]; a larger one is known by size and date."""


class Run:
    """All datasets of a run, their sources and settings; `ConfigError` if they are at fault.

    Parameters
    ----------
    config
        What the config holds.
    file
        The config file that was given, which names the folder of results; `None` if none was.
    """

    def __init__(self, config: Mapping[str, Any], file: Path | None = None) -> None:
        self.settings = load_config(config)
        self.results = results_folder(self.settings, file)
        if Path(self.results, "raw.json").exists():
            raise ConfigError(
                f"the folder {self.results} holds a dataset of another run; set `results`"
            )
        # The usual places where results have theirs; else all is in one folder.
        beside = "" if self.results == "results" else f"{self.results}/"
        self.logs, self.benchmarks = f"{beside}logs", f"{beside}benchmarks"
        self.datasets = load_datasets(Path(self.settings.datasets), self.settings)
        self.sources = find_source_files(self.settings, self.datasets)
        self.reconstructions = [
            (name, reconstruction)
            for name, dataset in self.datasets.items()
            for reconstruction in dataset.reconstructions
        ]
        self.upstream_of = cache(self._upstream_of)
        """Return one fingerprint of settings, code and files of the stages before a job's own.

        A job that fails takes with it what Snakemake knew of its results, and Snakemake makes
        nothing that is missing only in between: each job knows by itself that what it is made of
        is to be made otherwise. Without a dataset, of all.
        """

    def settings_of(self, stage: str, dataset: str, reconstruction: str | None = None) -> str:
        """Return exactly the settings that a job uses, as one line of JSON.

        One string a job: Snakemake compares params as a set, so that two values swapped between
        two params would go unseen.
        """
        return canonical_json(
            stage_settings(self.settings, self.datasets[dataset], stage, reconstruction)
        )

    def code_of(
        self, stage: str, dataset: str | None = None, reconstruction: str | None = None
    ) -> str:
        """Return the fingerprint of the code that a job runs; without a dataset, for all."""
        names = [dataset] if dataset else list(self.datasets)
        kinds = sorted({self.datasets[name].kind for name in names})
        return code_fingerprint(
            stage, tuple(kinds), self._chosen(stage, str(dataset), str(reconstruction))
        )

    def files_of(self, stage: str, dataset: str, reconstruction: str | None = None) -> str:
        """Return what identifies the files that come from outside the workflow, as JSON.

        Snakemake runs a job again where a file is newer than its results. A replaced file can be
        older: of a backup, or written while a clock was wrong.
        """
        tuning = self.settings.nufft.tuning
        files = {
            "ingest": self.sources[dataset],
            "calibrate": calibration_files(self.settings, self.datasets[dataset]).values(),
            "plan": [Path(tuning)] if tuning else [],
        }
        known = {str(path): _identity(path) for path in files.get(stage, [])}
        return json.dumps(known, sort_keys=True)

    def _upstream_of(
        self, stage: str, dataset: str | None = None, reconstruction: str | None = None
    ) -> str:
        jobs = [(dataset, reconstruction)] if dataset else self.reconstructions
        before = STAGES[: STAGES.index(stage)] if stage in STAGES else STAGES
        if stage in ("accumulate", "reconstruct"):
            # What a plan says of a block is a parameter of its jobs by itself.
            before = tuple(name for name in before if name != "plan")
        digest = hashlib.sha256()
        for names in jobs:
            start = self.start_of(str(names[1])) if names[1] else None
            if start is not None and "reconstruct" in (stage, *before):
                digest.update(self.upstream_of("measure", names[0], start).encode())
            for name in before:
                for told in (self.settings_of, self.code_of, self.files_of):
                    digest.update(told(name, *names).encode())
        return digest.hexdigest()

    def _chosen(self, stage: str, dataset: str, reconstruction: str) -> tuple[str, ...]:
        """Return the modules that settings choose by name, of those that the stage runs."""
        if stage == "ingest":
            row = self.datasets[dataset]
            return (reader_module(row.kind, row.format),)
        if stage == "merge":
            return output_modules(self.settings.output)
        if stage not in ("plan", "reconstruct"):
            return ()
        # A plan states what merging takes, with all outputs.
        outputs = output_modules(EVERY) if stage == "plan" else ()
        return (*self.settings.reconstructions[reconstruction].modules, *outputs)

    def start_of(self, reconstruction: str) -> str | None:
        """Return the reconstruction whose images another one begins with."""
        return self.settings.reconstructions[reconstruction].starts_from

    def ingest_mb(self) -> int:
        """Return the memory to ask for where a dataset is ingested [MB]: the limit it keeps to.

        What it needs depends on its source, which is opened by the job.
        """
        return requested_mb(self.settings.memory.of_ingest)

    def calibrate_mb(self, dataset: str, raw: str, threads: int, *, on_device: bool) -> int:
        """Return the memory to ask for where a dataset is calibrated [MB]."""
        settings = stage_settings(self.settings, self.datasets[dataset], "calibrate")
        assert isinstance(settings, CalibrateSettings)
        acquired = once_made(Acquired.of, raw)
        need = calibrate_need(acquired, settings, threads=threads, on_device=on_device)
        return requested_mb(need.host_mb)


@cache
def _identity(path: Path) -> str:
    found = path.stat()
    if path.is_file() and found.st_size <= _SMALL:
        return file_checksum(path)
    return f"{found.st_size} bytes of {found.st_mtime_ns} ns"


@cache
def _read(read: Callable[[Path], Read], path: Path, modified: int) -> Read:
    return read(path)


def read_once(read: Callable[[Path], Read], path: str | Path) -> Read:
    """Return what ``read`` finds in a file, which is read again only when it has changed."""
    path = Path(path)
    found: Read = _read(read, path, path.stat().st_mtime_ns)
    return found


def once_made(read: Callable[[Path], Read], path: str | Path) -> Read:
    """Return what ``read`` finds in an input of a job.

    Raises
    ------
    FileNotFoundError
        Where it is not there yet, or is left over from another version and will be made again:
        Snakemake asks again later. It takes no other answer from a resource, not even that a
        checkpoint is incomplete.
    """
    try:
        return read_once(read, path)
    except KronufftError as error:
        raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from None


def later_mb(stage: str, plans: Sequence[str | Path]) -> int:
    """Return the memory to ask for in a stage after the blocks [MB]; of several plans, the most."""
    rows = [once_made(read_plan, plan).later.get(stage) for plan in plans]
    if None in rows:
        raise FileNotFoundError(errno.ENOENT, f"says nothing of {stage}", str(plans[0]))
    return max(row.mem_mb for row in rows if row is not None)


def more_each(megabytes: int, attempt: int) -> int:
    """Return a quarter more with each attempt."""
    return round(megabytes * (1 + 0.25 * (attempt - 1)))
