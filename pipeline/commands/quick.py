"""`kronufft quick`: from a data file to an image, in one process."""

import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, echo

from pipeline.commands.init import Array, Axes, Order, Shape, Units, VoxelSize, proposal_of, told_of
from pipeline.errors import ConfigError
from pipeline.kinds import part_of

if TYPE_CHECKING:
    from pipeline.formats.proposal import Proposal

_NAME = "image"
_ALGORITHMS = {"mri": "cg-sense", "rf": "matched-filter"}


def quick(
    files: Annotated[
        list[Path],
        Argument(
            help="As of `kronufft init`; - is a stream of MRD version 2 on standard input.",
            readable=False,
        ),
    ],
    output: Annotated[
        Path, Option("--output", "-o", help="image.nii.gz, or .ome.zarr, .zarr, .npy.")
    ],
    algorithm: Annotated[
        str | None,
        Option(help="As in `reconstructions`; if not given, cg-sense, of radar matched-filter."),
    ] = None,
    option: Annotated[
        list[str] | None,
        Option("--set", help="Another setting of `reconstructions`, such as iterations=20."),
    ] = None,
    shape: Shape = None,
    voxel_size: VoxelSize = None,
    units: Units = None,
    order: Order = None,
    array: Array = None,
    axes: Axes = None,
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, Option(min=1, help="All cores if not given.")] = None,
) -> None:
    """Reconstruct a file at once, by the workflow's own stages: the same image."""
    from pipeline.config.base import given_settings
    from pipeline.config.datasets import Dataset
    from pipeline.config.file import load_config
    from pipeline.config.sources import STANDARD_INPUT
    from pipeline.in_process import doubts, run

    if output.resolve() in (file.resolve() for file in files):
        raise ConfigError(f"quick: --output {output} is what is read; choose another name")
    ending, made = _made(output)
    told = told_of(shape, voxel_size, units, order, array, axes)
    if files == [Path(STANDARD_INPUT)]:
        listed = import_module(f"{part_of('mri', 'proposals').__name__}.listed")
        found: Proposal = listed.described("mrd2", STANDARD_INPUT, ".", told)
    else:
        found = proposal_of(files, told)
    for note in found.notes():
        if note.startswith("guess"):
            echo(note, err=True)
    config = load_config(
        {
            "data_root": found.data_root,
            "compute": {"device": device, "threads": threads or "auto"},
            "output": {"nifti": ending == "nifti", "ome_zarr": ending == "ome_zarr"},
            "sources": {_NAME: found.settings},
            "reconstructions": {
                _NAME: {"algorithm": algorithm or _ALGORITHMS[found.kind], **given_settings(option)}
            },
        },
        "quick",
    )
    row = Dataset(
        dataset=_NAME,
        kind=found.kind,
        format=found.format,
        source=found.source,
        reconstructions=(_NAME,),
    )
    with tempfile.TemporaryDirectory(prefix="kronufft-") as folder:
        files_made = run(config, row, _NAME, Path(folder), until="merge")
        for warning in doubts(files_made):
            echo(f"kronufft: warning: {warning}", err=True)
        _move(files_made.folder / made, output)
    echo(f"wrote: {output}")


_ENDINGS = {
    ".nii.gz": ("nifti", "magnitude.nii.gz"),
    ".ome.zarr": ("ome_zarr", "magnitude.ome.zarr"),
    ".zarr": ("", "image.zarr"),
    ".npy": ("", "image.zarr"),
}


def _made(output: Path) -> tuple[str, str]:
    """Return which output of merge is wanted, and its name."""
    for ending, made in _ENDINGS.items():
        if output.name.endswith(ending):
            if output.exists() and output.is_dir() != output.name.endswith(".zarr"):
                raise ConfigError(f"quick: {output} is there and of another kind; choose another")
            return made
    raise ConfigError(f"quick: --output {output}: expected a name with {', '.join(_ENDINGS)}")


def _move(made: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".npy":
        import numpy as np
        import zarr

        np.save(output, np.asarray(zarr.open_group(made, mode="r")["image"]))
        return
    if output.is_dir():
        shutil.rmtree(output)
    shutil.move(made, output)
