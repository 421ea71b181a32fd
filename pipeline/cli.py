"""The `kronufft` command: one subcommand per stage, with explicit input and output paths.

Each subcommand imports its stage when it runs, so that `kronufft --help` stays quick and a stage
loads only the packages it needs. A user's error ends in one line on standard error and status 1.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline import __version__
from pipeline.config.base import parse_settings
from pipeline.config.calibration import CalibrateSettings
from pipeline.config.datasets import load_datasets
from pipeline.config.equations import AccumulateSettings
from pipeline.config.file import read_config
from pipeline.config.outputs import MeasureSettings, MergeSettings
from pipeline.config.planning import PlanSettings
from pipeline.config.reconstruction import ReconstructSettings
from pipeline.config.sources import IngestSettings
from pipeline.engine.leases import leased_device
from pipeline.errors import KronufftError
from pipeline.estimate_command import estimate
from pipeline.tune_command import tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Reconstruct large non-Cartesian MRI and multi-static RF imaging data, stage by stage. "
    "The workflow calls these commands; each can be run alone.",
)

_CONFIG = Path("config/config.yaml")

SettingsText = Annotated[
    str, typer.Option("--settings", help="The stage's settings: JSON, or a YAML or JSON file.")
]
DatasetName = Annotated[str, typer.Option("--dataset", help="Name of the dataset.")]
ReconstructionName = Annotated[
    str, typer.Option("--reconstruction", help="Name of the reconstruction.")
]
RawMarker = Annotated[Path, typer.Option("--raw", help="Marker of the raw data, raw.json.")]
CalibrationMarker = Annotated[
    Path, typer.Option("--calibration", help="Marker of the calibration, calibration.json.")
]
PlanTable = Annotated[Path, typer.Option("--plan", help="The plan, plan.tsv.")]
ImageMarker = Annotated[Path, typer.Option("--image", help="Marker of the image, image.json.")]
ReceiptFile = Annotated[Path, typer.Option("--receipt", help="Where the receipt goes.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
BlockName = Annotated[str, typer.Option("--block", help="Name of the block in the plan.")]
Megabytes = Annotated[str, typer.Option(help="Limit as in `memory` of the config [MB], or auto.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads to use.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kronufft {__version__}")
        raise typer.Exit


def _limit(text: str) -> Literal["auto"] | int:
    """Return a limit of memory as a setting has it."""
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise typer.BadParameter(f"a limit of memory is a number of MB or auto; found {text}")
    return int(text)


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


@app.command()
def check(
    configfile: Annotated[Path, typer.Argument(help="The config file.")] = _CONFIG,
) -> None:
    """Check a config file and its dataset table without running anything."""
    settings = read_config(configfile, default=_CONFIG)
    datasets = load_datasets(Path(settings.datasets), settings)
    for row in datasets.values():
        typer.echo(f"{row.dataset}\t{row.format}\t{row.source}\t{', '.join(row.reconstructions)}")


@app.command()
def ingest(
    settings: SettingsText, dataset: DatasetName, raw: RawMarker, receipt: ReceiptFile
) -> None:
    """Stream a source, or a simulation, into raw.zarr."""
    from pipeline.stages.ingest import ingest as run

    parsed = parse_settings(IngestSettings, settings)
    run(settings=parsed, dataset=dataset, raw=raw, receipt=receipt)


@app.command()
def calibrate(
    settings: SettingsText,
    dataset: DatasetName,
    raw: RawMarker,
    calibration: CalibrationMarker,
    receipt: ReceiptFile,
    device: Device = "auto",
    threads: Threads = 1,
    host_mb: Megabytes = "auto",
    device_mb: Megabytes = "auto",
) -> None:
    """Estimate coil sensitivities and density compensation."""
    with leased_device(device) as leased:
        from pipeline.stages.calibrate import calibrate as run

        run(
            settings=parse_settings(CalibrateSettings, settings),
            dataset=dataset,
            raw=raw,
            calibration=calibration,
            receipt=receipt,
            device=leased,
            threads=threads,
            host_mb=_limit(host_mb),
            device_mb=_limit(device_mb),
        )


@app.command()
def plan(
    settings: SettingsText,
    dataset: DatasetName,
    reconstruction: ReconstructionName,
    raw: RawMarker,
    calibration: CalibrationMarker,
    plan: PlanTable,
    receipt: ReceiptFile,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Cut a reconstruction into jobs that fit the memory limits; print the table."""
    from pipeline.stages.plan import plan as run

    run(
        settings=parse_settings(PlanSettings, settings),
        dataset=dataset,
        reconstruction=reconstruction,
        raw=raw,
        calibration=calibration,
        plan=plan,
        receipt=receipt,
        device=device,
        threads=threads,
    )


app.command()(estimate)
app.command()(tune)


@app.command()
def accumulate(
    settings: SettingsText,
    dataset: DatasetName,
    reconstruction: ReconstructionName,
    raw: RawMarker,
    calibration: CalibrationMarker,
    plan: PlanTable,
    block: BlockName,
    shard: Annotated[str, typer.Option("--shard", help="Name of the shard in the plan.")],
    share: Annotated[Path, typer.Option("--share", help="The shard's share, a .zarr.zip.")],
    receipt: ReceiptFile,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Reduce one shard of a block to its share of the normal equations."""
    with leased_device(device) as leased:
        from pipeline.stages.accumulate import accumulate as run

        run(
            settings=parse_settings(AccumulateSettings, settings),
            dataset=dataset,
            reconstruction=reconstruction,
            raw=raw,
            calibration=calibration,
            plan=plan,
            block=block,
            shard=shard,
            share=share,
            receipt=receipt,
            device=leased,
            threads=threads,
        )


@app.command()
def reconstruct(
    settings: SettingsText,
    dataset: DatasetName,
    reconstruction: ReconstructionName,
    raw: RawMarker,
    calibration: CalibrationMarker,
    plan: PlanTable,
    block: BlockName,
    shares: Annotated[Path, typer.Option("--shares", help="Folder of the shards' shares.")],
    image: Annotated[Path, typer.Option("--image", help="The block's image, a .zarr.zip.")],
    receipt: ReceiptFile,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            "--checkpoint-seconds",
            min=0,
            help="Seconds after which the state of a solve is kept; 0: never.",
        ),
    ] = 0.0,
) -> None:
    """Reconstruct one block of images."""
    with leased_device(device) as leased:
        from pipeline.stages.reconstruct import reconstruct as run

        run(
            settings=parse_settings(ReconstructSettings, settings),
            dataset=dataset,
            reconstruction=reconstruction,
            raw=raw,
            calibration=calibration,
            plan=plan,
            block=block,
            shares=shares,
            image=image,
            receipt=receipt,
            device=leased,
            threads=threads,
            checkpoint_seconds=checkpoint_seconds,
        )


@app.command()
def train(
    settings: SettingsText,
    raw: Annotated[list[Path], typer.Option("--raw", help="raw.json; repeat for more datasets.")],
    calibration: Annotated[
        list[Path], typer.Option("--calibration", help="calibration.json of each dataset.")
    ],
    network: Annotated[Path, typer.Option("--network", help="The network to write, a .npz.")],
    receipt: ReceiptFile,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Train an unrolled network on datasets with reference images."""
    if len(raw) != len(calibration):
        raise typer.BadParameter("give --calibration as often as --raw")
    with leased_device(device) as leased:
        from pipeline.config.training import TrainSettings
        from pipeline.stages.train import train as run

        run(
            settings=parse_settings(TrainSettings, settings),
            raws=raw,
            calibrations=calibration,
            network=network,
            receipt=receipt,
            device=leased,
            threads=threads,
        )


@app.command()
def merge(
    settings: SettingsText,
    dataset: DatasetName,
    reconstruction: ReconstructionName,
    raw: RawMarker,
    plan: PlanTable,
    image: ImageMarker,
    receipt: ReceiptFile,
    blocks: Annotated[Path, typer.Option("--blocks", help="Folder of the plan's block images.")],
    threads: Threads = 1,
    host_mb: Megabytes = "auto",
) -> None:
    """Join the blocks into image.zarr, an OME-Zarr pyramid and NIfTI."""
    from pipeline.engine.table import read_plan
    from pipeline.stages.merge import merge as run

    run(
        settings=parse_settings(MergeSettings, settings),
        dataset=dataset,
        reconstruction=reconstruction,
        raw=raw,
        plan=plan,
        blocks=[blocks / f"{block}.zarr.zip" for block in read_plan(plan).blocks],
        image=image,
        receipt=receipt,
        threads=threads,
        host_mb=_limit(host_mb),
    )


@app.command()
def measure(
    settings: SettingsText,
    dataset: DatasetName,
    reconstruction: ReconstructionName,
    raw: RawMarker,
    image: ImageMarker,
    plan: PlanTable,
    receipts: Annotated[Path, typer.Option("--receipts", help="Folder of the jobs' receipts.")],
    metrics: Annotated[Path, typer.Option("--metrics", help="Table; .parquet goes beside it.")],
    receipt: ReceiptFile,
    host_mb: Megabytes = "auto",
) -> None:
    """Measure image quality and collect what the jobs used."""
    from pipeline.engine.table import read_plan
    from pipeline.stages.measure import measure as run

    run(
        settings=parse_settings(MeasureSettings, settings),
        dataset=dataset,
        reconstruction=reconstruction,
        raw=raw,
        image=image,
        receipts=[receipts / f"{job}.json" for job in ("plan", *read_plan(plan).jobs(), "merge")],
        metrics=metrics,
        receipt=receipt,
        host_mb=_limit(host_mb),
    )


@app.command()
def report(
    metrics: Annotated[list[Path], typer.Option("--metrics", help="metrics.csv, repeatable.")],
    receipts: Annotated[list[Path], typer.Option("--receipt", help="Receipts, repeatable.")],
    images: Annotated[list[Path], typer.Option("--image", help="image.json, repeatable.")],
    raws: Annotated[list[Path], typer.Option("--raw", help="raw.json, repeatable.")],
    report: Annotated[Path, typer.Option("--report", help="The page to write.")],
    table: Annotated[Path, typer.Option("--table", help="The table of the whole run.")],
    expected: Annotated[
        list[str] | None,
        typer.Option(
            "--expected", help="DATASET/RECONSTRUCTION that the page must have, repeatable."
        ),
    ] = None,
    logs: Annotated[
        Path, typer.Option("--logs", help="Folder of the logs, which say why one is missing.")
    ] = Path("logs"),
) -> None:
    """Write the report and the table that span the whole run."""
    from pipeline.stages.report import report as run
    from pipeline.storage.claims import claimed

    pairs = [name.partition("/") for name in expected or ()]
    with claimed(report):
        run(
            metrics=metrics,
            receipts=receipts,
            images=images,
            raws=raws,
            report=report,
            table=table,
            expected=[(dataset, reconstruction) for dataset, _, reconstruction in pairs],
            logs=logs,
        )


@app.command()
def verify(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Folders of results, or files in them.")
    ] = None,
) -> None:
    """Read all that a run has left, and compare every byte with its checksum."""
    from pipeline.errors import DataError
    from pipeline.storage.verification import verifiable
    from pipeline.storage.verification import verify as run

    files = [file for path in paths or [Path("results")] for file in verifiable(path)]
    damaged = 0
    read = 0
    for file in files:
        try:
            read += run(file)
        except DataError as error:
            damaged += 1
            typer.echo(str(error))
    typer.echo(f"{len(files)} files and stores, {read / 1e6:.1f} MB: {damaged} damaged")
    if damaged:
        raise typer.Exit(1)


@app.command()
def show(
    image: Annotated[Path, typer.Argument(help="image.zarr, its marker, or its folder.")],
    commands: Annotated[
        bool, typer.Option("--commands", help="Also print the command of every job.")
    ] = False,
) -> None:
    """Print where an image comes from, and the command that makes it again."""
    from pipeline.report.history import show_history

    show_history(image, commands=commands)


def main() -> None:
    """Run the command; a user's error becomes one line and status 1."""
    # Threads that wait should rest: spinning, they take the cores from the jobs beside this one.
    # It has to be said before the first package that brings OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except KronufftError as error:
        typer.echo(f"kronufft: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        typer.echo(f"kronufft: no space left ({error}); nothing was published", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
