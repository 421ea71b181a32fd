"""The stages of one reconstruction, one after the other in this process.

The same code on the same settings as in the workflow, and the same files at the same places. What
the workflow does beside it is left to it: jobs side by side, and repeating only what changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Files:
    """Where the stages of one reconstruction of one dataset leave their files.

    Attributes
    ----------
    results
        The folder that all datasets share.
    dataset, reconstruction
        Names.
    """

    results: Path
    dataset: str
    reconstruction: str

    @property
    def of_dataset(self) -> Path:
        """The folder of what all reconstructions of the dataset share."""
        return self.results / self.dataset

    @property
    def folder(self) -> Path:
        """The folder of this reconstruction."""
        return self.of_dataset / self.reconstruction

    @property
    def raw(self) -> Path:
        """Marker of ``raw.zarr``."""
        return self.of_dataset / "raw.json"

    @property
    def calibration(self) -> Path:
        """Marker of ``calibration.zarr``."""
        return self.of_dataset / "calibration.json"

    @property
    def plan(self) -> Path:
        """The table of jobs."""
        return self.folder / "plan.tsv"

    @property
    def shares(self) -> Path:
        """The folder of what `accumulate` leaves."""
        return self.folder / "shares"

    @property
    def image(self) -> Path:
        """Marker of ``image.zarr``."""
        return self.folder / "image.json"

    @property
    def metrics(self) -> Path:
        """The table of this reconstruction."""
        return self.folder / "metrics.csv"

    @property
    def report(self) -> Path:
        """The page; ``metrics.csv`` stands beside it."""
        return self.results / "report.html"

    def block(self, block: str) -> Path:
        """Return the file of a block's images."""
        return self.folder / "blocks" / f"{block}.zarr.zip"

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
) -> Files:
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
        Folder that the files go below; see `Files`. It need not be there.
    first, until
        The first and the last stage to run. What stages before `first` make has to be there.

    Returns
    -------
    Files
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
    files = Files(results, dataset.dataset, reconstruction)
    with leased_device(settings.compute.device) as device:
        jobs = _Stages(settings, dataset, files, device)
        for stage in STAGES[STAGES.index(first) : STAGES.index(until) + 1]:
            getattr(jobs, stage)()
    return files


class _Stages:
    """One method a stage. Each imports its stage when it is called, after a device was leased."""

    def __init__(self, config: Config, dataset: Dataset, files: Files, device: str) -> None:
        self.config, self.dataset, self.files = config, dataset, files
        threads = config.compute.threads
        self.threads = usable_cores() if threads == "auto" else threads
        self.machine: dict[str, Any] = {"device": device, "threads": self.threads}
        self.raw: dict[str, Any] = {"dataset": dataset.dataset, "raw": files.raw}
        self.planned = {
            **self.raw,
            "reconstruction": files.reconstruction,
            "plan": files.plan,
        }
        self.calibrated = {**self.planned, "calibration": files.calibration, **self.machine}

    def settings(self, stage: Stage) -> Any:
        return stage_settings(self.config, self.dataset, stage, self.files.reconstruction)

    def ingest(self) -> None:
        from pipeline.stages.ingest import ingest

        ingest(settings=self.settings("ingest"), receipt=self.files.receipt("ingest"), **self.raw)

    def calibrate(self) -> None:
        from pipeline.stages.calibrate import calibrate

        calibrate(
            settings=self.settings("calibrate"),
            calibration=self.files.calibration,
            receipt=self.files.receipt("calibrate"),
            host_mb=self.config.memory.host_mb,
            device_mb=self.config.memory.device_mb,
            **self.raw,
            **self.machine,
        )

    def plan(self) -> None:
        from pipeline.stages.plan import plan

        plan(settings=self.settings("plan"), receipt=self.files.receipt("plan"), **self.calibrated)

    def accumulate(self) -> None:
        from pipeline.engine.table import read_plan
        from pipeline.stages.accumulate import accumulate
        from pipeline.storage.shares import share_path

        settings, plan = self.settings("accumulate"), read_plan(self.files.plan)
        for block in plan.blocks:
            for row in plan.shards(block):
                accumulate(
                    settings=settings,
                    block=block,
                    shard=row.shard,
                    share=share_path(self.files.shares, block, row.shard),
                    receipt=self.files.receipt(f"accumulate-{block}-{row.shard}"),
                    **self.calibrated,
                )

    def reconstruct(self) -> None:
        from pipeline.engine.table import read_plan
        from pipeline.stages.reconstruct import reconstruct

        settings = self.settings("reconstruct")
        for block in read_plan(self.files.plan).blocks:
            reconstruct(
                settings=settings,
                block=block,
                shares=self.files.shares,
                image=self.files.block(block),
                receipt=self.files.receipt(f"reconstruct-{block}"),
                checkpoint_seconds=self.config.compute.checkpoint_seconds,
                **self.calibrated,
            )

    def merge(self) -> None:
        from pipeline.engine.table import read_plan
        from pipeline.stages.merge import merge

        merge(
            settings=self.settings("merge"),
            blocks=[self.files.block(block) for block in read_plan(self.files.plan).blocks],
            image=self.files.image,
            receipt=self.files.receipt("merge"),
            threads=self.threads,
            host_mb=self.config.memory.host_mb,
            **self.planned,
        )

    def measure(self) -> None:
        from pipeline.engine.table import read_plan
        from pipeline.stages.measure import measure

        jobs = ("plan", *read_plan(self.files.plan).jobs(), "merge")
        measure(
            settings=self.settings("measure"),
            reconstruction=self.files.reconstruction,
            image=self.files.image,
            receipts=[self.files.receipt(job) for job in jobs],
            metrics=self.files.metrics,
            receipt=self.files.receipt("measure"),
            host_mb=self.config.memory.host_mb,
            **self.raw,
        )

    def report(self) -> None:
        from pipeline.stages.report import report
        from pipeline.storage.claims import claimed

        jobs = ("ingest", "calibrate", "measure")
        with claimed(self.files.report):
            report(
                metrics=[self.files.metrics],
                receipts=[self.files.receipt(job) for job in jobs],
                images=[self.files.image],
                raws=[self.files.raw],
                report=self.files.report,
                table=self.files.results / "metrics.csv",
            )
