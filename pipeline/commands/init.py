"""`kronufft init`: a config and a table for files as they are, with reasons and a picture."""

import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, echo, prompt

from pipeline.commands.estimate import sizes_of
from pipeline.commands.run import workflow_folder
from pipeline.errors import ConfigError
from pipeline.files import why_unreadable

if TYPE_CHECKING:
    from pipeline.formats.proposal import Proposal, Told

Files = Annotated[
    list[Path] | None,
    Argument(help="A data file, a folder, or several files; the demo's config without.",
             readable=False),
]  # fmt: skip
Shape = Annotated[str | None, Option(help="Image matrix z, y, x, such as 256x256; RF: x, y, z.")]
VoxelSize = Annotated[str | None, Option(help="Of each image axis, in m, such as 0.001,0.001.")]
Units = Annotated[str | None, Option(help="Of the trajectory, such as cycles_per_voxel.")]
Order = Annotated[
    str | None, Option(help="Image axis of each component of the trajectory, such as x,y.")
]
Array = Annotated[
    list[str] | None,
    Option(help="Which array is what: kspace=NAME; several for parts: kspace=RE,IM."),
]
Axes = Annotated[
    list[str] | None, Option(help="Axes as stored, such as kspace=coil,readout,sample.")
]

DEMO = ("config/config.yaml", "config/datasets.tsv")
_CERTAIN_FIRST = ("rf", "mri")
"""Kinds in the order in which they are tried: RF knows its files for certain, or not at all."""

_NAMED = 4
"""Files of a folder, in a message."""

_QUESTIONS = (
    ("arrays.trajectory.axis_order", "order", ",", "Image axis of each component, as stored"),
    ("shape", "shape", "x", "Image matrix"),
    ("scene.shape", "shape", "x", "Voxels of the scene"),
)
"""What is asked at a terminal where it is a guess: setting, option, what parts it, and words."""


def told_of(
    shape: str | None,
    voxel_size: str | None,
    units: str | None,
    order: str | None,
    array: list[str] | None,
    axes: list[str] | None,
) -> "Told":
    """Return what options say of a file."""
    from pipeline.formats.proposal import Told

    try:
        lengths = tuple(float(part) for part in voxel_size.split(",")) if voxel_size else None
    except ValueError:
        raise ConfigError(f"--voxel-size: found `{voxel_size}`; give lengths in m") from None
    return Told(
        shape=sizes_of(shape, "--shape") if shape else None,
        voxel_size=lengths,
        units=units,
        order=tuple(part.strip() for part in order.split(",")) if order else None,
        names=dict(_pair(text, "--array") for text in array or []),
        axes={
            name: tuple(part.strip() for part in text.split(","))
            for name, text in (_pair(one, "--axes") for one in axes or [])
        },
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{option}: found `{text}`; give NAME=VALUE, such as kspace=data")
    return name, value


def proposal_of(files: list[Path], told: "Told") -> "Proposal":
    """Return how files would be read.

    Raises
    ------
    ConfigError, DataError
        If they are missing or of no known format, or something has to be told.
    """
    from pipeline.kinds import part_of

    for path in files:
        base = Path(f"{path}.cfl")
        if (reason := why_unreadable(path, folder=True)) and not base.is_file():
            raise ConfigError(f"init: {path}: {reason}")
    paths = [path.absolute() for path in files]
    for kind in _CERTAIN_FIRST:
        package = part_of(kind, "proposals")
        for name in package.FORMATS:
            found: Proposal | None = import_module(f"{package.__name__}.{name}").describe(
                paths, told
            )
            if found is not None:
                return found
    inside = sorted(path.name for path in files[0].iterdir()) if files[0].is_dir() else []
    several = f" ({', '.join(inside[:_NAMED])}); name one file of them" if inside else ""
    raise ConfigError(
        f"init: {files[0]}: nothing that can be read here{several}; files of a layout of your own "
        "are written down under `sources`, as config/README.md shows"
    )


def init(
    files: Files = None,
    name: Annotated[str | None, Option(help="Of the dataset; the file's if not given.")] = None,
    output: Annotated[
        Path, Option(help="Folder to write config, table and picture to.", readable=False)
    ] = Path(),
    shape: Shape = None,
    voxel_size: VoxelSize = None,
    units: Units = None,
    order: Order = None,
    array: Array = None,
    axes: Axes = None,
    picture: Annotated[bool, Option(help="Draw a quick picture.")] = True,
    force: Annotated[bool, Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Write a config for data files: what is in them, what is found, what is a guess."""
    if not files:
        _copy_demo(output, force=force)
        return
    from pipeline.commands.proposed_config import config_text, table_text
    from pipeline.commands.source_check import check_source
    from pipeline.config.base import load_yaml
    from pipeline.config.datasets import load_datasets
    from pipeline.config.file import load_config
    from pipeline.kinds import part_of

    dataset = name or _dataset_name(files[0])
    config, table, image = (output / f"{dataset}{end}" for end in (".yaml", ".tsv", ".png"))
    for path in (config, table):
        if path.exists() and not force:
            raise ConfigError(f"init: {path} is there already; --force writes over it, or --name")
    found = proposal_of(files, told_of(shape, voxel_size, units, order, array, axes))
    for held in found.held:
        echo(f"holds: {held}")
    if at_terminal() and (said := _answers(found)):
        shape, order = said.get("shape", shape), said.get("order", order)
        found = proposal_of(files, told_of(shape, voxel_size, units, order, array, axes))
    for note in found.notes():
        echo(note)
    reconstructions = part_of(found.kind, "proposals").RECONSTRUCTIONS
    text = config_text(
        found,
        dataset,
        reconstructions,
        table=str(table),
        data_root=found.data_root,
        schema=str(workflow_folder() / "workflow/schemas/config.schema.yaml"),
        heading=f"Written by `kronufft init {' '.join(map(str, files))}`.",
    )
    output.mkdir(parents=True, exist_ok=True)
    table.write_text(table_text(found, dataset, reconstructions), encoding="utf-8")
    config.write_text(text, encoding="utf-8")
    settings = load_config(load_yaml(config), str(config))
    row = load_datasets(table, settings)[dataset]
    written = [config, table]
    try:
        for line in check_source(settings, row).told:
            echo(f"reads: {line}")
        if picture:
            _draw(settings, row, image)
            written.append(image)
    finally:  # data that are refused may need a line in the config
        echo(f"wrote: {', '.join(map(str, written))}")
    echo(f"next: look at the picture and the guesses, then kronufft run {config}")


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _answers(found: "Proposal") -> dict[str, str]:
    """Ask for what is a guess; return options where the answer is another."""
    given = {}
    for key, option, between, words in _QUESTIONS:
        if key not in found.guesses:
            continue
        value: Any = found.settings
        for part in key.split("."):
            value = value[part]
        guess = between.join(map(str, value))
        answer = prompt(f"{words}: {found.reasons[key]}; return keeps it", default=guess)
        if answer != guess:
            given[option] = answer
    return given


def _draw(settings: Any, row: Any, path: Path) -> None:
    from pipeline.config.datasets import stage_settings
    from pipeline.config.sources import reader_module
    from pipeline.engine.budget import Budget
    from pipeline.kinds import part_of

    reader = import_module(reader_module(row.kind, row.format))
    budget = Budget(row.dataset, settings.memory.of_ingest)
    ingest = stage_settings(settings, row, "ingest")
    with reader.open_source(ingest, row.dataset, budget) as acquisition:
        part_of(row.kind, "preview").draw_preview(path, acquisition, f"{row.dataset}, first frame")


def _dataset_name(path: Path) -> str:
    stem = path.absolute().name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "scan"


def _copy_demo(output: Path, *, force: bool) -> None:
    for path in DEMO:
        target = output / path
        if target.exists() and not force:
            raise ConfigError(f"init: {target} is there already; --force writes over it")
    for path in DEMO:
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workflow_folder() / path, output / path)
    echo(f"wrote: {', '.join(str(output / path) for path in DEMO)}")
    echo("next: kronufft run")
