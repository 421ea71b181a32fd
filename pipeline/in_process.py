"""The stages of one reconstruction, one after the other in this process.

The same code on the same settings as in the workflow, and the same files at the same places. What
the workflow does beside it is left to it: jobs side by side, and repeating only what changed.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.config.datasets import Dataset, check_row, stage_settings
from pipeline.config.file import Config, load_config
from pipeline.engine.leases import leased_device
from pipeline.engine.limits import usable_cores
from pipeline.errors import ConfigError

Stage = Literal[
    "ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge", "measure", "report"
]
STAGES: tuple[Stage, ...] = get_args(Stage)


class ResultPaths:
    """Where the stages of one reconstruction of one dataset leave their files.

    `raw`, `calibration` and `image` are markers of stores, `plan` and `metrics` tables, and
    `shares` and `blocks` folders. What all reconstructions of a dataset share lies in `of_dataset`.

    Parameters
    ----------
    results
        The folder that all datasets share.
    dataset, reconstruction
        Names.
    """

    def __init__(self, results: Path, dataset: str, reconstruction: str) -> None:
        self.results, self.dataset, self.reconstruction = results, dataset, reconstruction
        self.of_dataset = results / dataset
        self.raw = self.of_dataset / "raw.json"
        self.calibration = self.of_dataset / "calibration.json"
        self.folder = self.of_dataset / reconstruction
        self.plan = self.folder / "plan.tsv"
        self.shares = self.folder / "shares"
        self.blocks = self.folder / "blocks"
        self.image = self.folder / "image.json"
        self.metrics = self.folder / "metrics.csv"
        self.report = results / "report.html"

    def __repr__(self) -> str:
        """Return what a notebook shows."""
        return f"ResultPaths({self.folder})"

    def block(self, block: str) -> Path:
        """Return the file of a block's images."""
        return self.blocks / f"{block}.zarr.zip"

    def receipt(self, job: str) -> Path:
        """Return the receipt of a job, such as ``ingest`` or ``reconstruct-0000``."""
        of_all = job in ("ingest", "calibrate")
        return (self.of_dataset if of_all else self.folder) / "receipts" / f"{job}.json"


def run(
    config: Config | Mapping[str, Any],
    dataset: Dataset,
    reconstruction: str,
    results: Path,
    *,
    first: Stage = "ingest",
    until: Stage = "report",
) -> ResultPaths:
    """Run the stages of one reconstruction of one dataset.

    Parameters
    ----------
    config
        As loaded, or what a config file holds. The device, and the threads of each stage, are those
        of `compute`; ``auto`` threads are all cores that this process may use.
    dataset
        The row of the dataset table.
    reconstruction
        One of the row's reconstructions.
    results
        Folder that the files go below; see `ResultPaths`. It need not be there.
    first, until
        The first and the last stage to run. What stages before `first` make has to be there.

    Returns
    -------
    ResultPaths
        Where everything lies.

    Raises
    ------
    ConfigError
        If the config is faulty, or does not go together with the dataset and the reconstruction.
    KronufftError
        What a stage raises; see there.
    """
    settings = config if isinstance(config, Config) else load_config(config)
    check_row(dataset, settings, f"run of `{dataset.dataset}`")
    if reconstruction not in dataset.reconstructions:
        raise ConfigError(
            f"run of `{dataset.dataset}`: its row has the reconstructions "
            f"{', '.join(dataset.reconstructions)}, and not `{reconstruction}`; choose one of them"
        )
    files = ResultPaths(results, dataset.dataset, reconstruction)
    threads = settings.compute.threads
    known = {
        **vars(files),
        "receipts": files.receipt("plan").parent,
        "threads": usable_cores() if threads == "auto" else threads,
        "host_mb": settings.memory.host_mb,
        "ingest_mb": settings.memory.of_ingest,
        "device_mb": settings.memory.device_mb,
        "checkpoint_seconds": settings.compute.checkpoint_seconds,
    }
    start = settings.reconstructions[reconstruction].starts_from
    if start is not None:
        known["start"] = ResultPaths(results, dataset.dataset, start).image
    with leased_device(settings.compute.device) as device:
        known["device"] = device
        for stage in STAGES[STAGES.index(first) : STAGES.index(until) + 1]:
            # Imported after a device was leased.
            function = getattr(import_module(f"pipeline.stages.{stage}"), stage)
            if stage != "report":
                known["settings"] = stage_settings(settings, dataset, stage, reconstruction)
            for job, own in _jobs(stage, files):
                given = {**known, "receipt": files.receipt(job), **own}
                wanted = signature(function).parameters
                function(**{name: given[name] for name in wanted if name in given})
    return files


def doubts(files: ResultPaths) -> list[str]:
    """Return what makes the images of a run doubtful, as the report of a workflow would say it."""
    from pipeline.engine.table import read_plan
    from pipeline.metrics.misfit import misfit_warning
    from pipeline.storage.publish import read_json
    from pipeline.storage.receipts import warnings_of

    jobs = [read_json(files.receipt(job)) for job in read_plan(files.plan).jobs()]
    blocks = [job for job in jobs if job.get("stage") == "reconstruct"]
    before = [read_json(files.receipt(job)) for job in ("ingest", "calibrate")]
    implausible = misfit_warning(blocks)
    return [*warnings_of([*before, *jobs]), *([implausible] if implausible else [])]


def _jobs(stage: Stage, files: ResultPaths) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each job of a stage, and what only this job or stage is given."""
    from pipeline.engine.table import read_plan
    from pipeline.storage.shares import share_path

    match stage:
        case "accumulate":
            plan = read_plan(files.plan)
            for block in plan.blocks:
                for row in plan.shards(block):
                    share = share_path(files.shares, block, row.shard)
                    own = {"block": block, "shard": row.shard, "share": share}
                    yield f"accumulate-{block}-{row.shard}", own
        case "reconstruct":
            for block in read_plan(files.plan).blocks:
                yield f"reconstruct-{block}", {"block": block, "image": files.block(block)}
        case "report":
            yield (
                "report",
                {
                    "metrics": [files.metrics],
                    "receipts": [files.receipt(job) for job in ("ingest", "calibrate", "measure")],
                    "images": [files.image],
                    "raws": [files.raw],
                    "calibrations": [files.calibration],
                    "table": files.results / "metrics.csv",
                },
            )
        case _:
            yield stage, {}
