"""The `kronufft` command: one subcommand per stage, with explicit input and output paths.

A stage's command is its function: options are the parameters, help texts those of its docstring
and of `pipeline.stages`. Both are read from the source and a stage is imported when it runs, so
that `kronufft --help` stays quick and a device is leased before torch is loaded. An error ends in
one line on standard error and status 1.
"""

import ast
import inspect
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import __version__, stages
from pipeline.commands.check import check
from pipeline.commands.estimate import estimate, number_or_auto
from pipeline.commands.init import init
from pipeline.commands.quick import quick
from pipeline.commands.run import run
from pipeline.commands.show import show
from pipeline.commands.tune import tune
from pipeline.commands.verify import verify
from pipeline.engine.leases import leased_device
from pipeline.errors import told

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Reconstruct large non-Cartesian MRI and multi-static RF imaging data, stage by stage. "
    "The workflow calls these commands; each can be run alone.",
)

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "Path": Path,
    "Path | None": Path,
    "Sequence[Path]": list[Path],
    "Sequence[str]": list[str],
}
"""What the command line gives for the types of parameters; text where a type is not listed."""
_LEAST = {"threads": 1, "checkpoint_seconds": 0}
_DESCRIBED = re.compile(r"^(\w+(?:, \w+)*)\n((?:    .+(?:\n|$))+)", re.MULTILINE)


def _parameter_texts(doc: str) -> dict[str, str]:
    """Return what a docstring in numpydoc's format says of each parameter."""
    return {
        name: " ".join(text.split())
        for names, text in _DESCRIBED.findall(inspect.cleandoc(doc))
        for name in names.split(", ")
    }


def _option(parameter: ast.arg, default: ast.expr | None, text: str) -> inspect.Parameter:
    """Return a stage's parameter as a parameter of its command."""
    name, annotation = parameter.arg, ast.unparse(parameter.annotation or ast.Constant(None))
    repeated = annotation.startswith("Sequence") and name != "metrics"
    option = typer.Option(
        f"--{name.removesuffix('s') if repeated else name}".replace("_", "-"),
        help=text,
        min=_LEAST.get(name),
        readable=False,  # typer would say so in a box of several lines
    )
    if isinstance(default, ast.Call):  # Path("logs")
        default = default.args[0]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[_TYPES.get(annotation, str), option],
        default=inspect.Parameter.empty if default is None else ast.literal_eval(default),
    )


def _command(stage: str) -> Callable[..., None]:
    """Return a stage's command, made from the source of its function."""
    tree = ast.parse(Path(stages.__path__[0], f"{stage}.py").read_text(encoding="utf-8"))
    (function,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stage
    )
    doc = ast.get_docstring(function) or ""
    texts = _parameter_texts(stages.__doc__ or "") | _parameter_texts(doc)
    parameters = [
        _option(parameter, default, texts[parameter.arg])
        for parameter, default in zip(
            function.args.kwonlyargs, function.args.kw_defaults, strict=True
        )
    ]

    def command(**given: Any) -> None:
        if stage == "train" and len(given["raws"]) != len(given["calibrations"]):
            raise typer.BadParameter("give --calibration as often as --raw")
        device = given.get("device", "cpu")
        # A plan is for a device that need not be there.
        with nullcontext(device) if stage == "plan" else leased_device(device) as leased:
            run = getattr(import_module(f"pipeline.stages.{stage}"), stage)
            if "device" in given:
                given["device"] = leased
            if "settings" in given:
                from pipeline.config.base import parse_settings

                model = run.__annotations__["settings"]
                given["settings"] = parse_settings(model, given["settings"])
            for name in given.keys() & {"host_mb", "device_mb"}:
                given[name] = number_or_auto(given[name], f"--{name.replace('_', '-')}")
            run(**given)

    command.__doc__ = doc.partition("\n")[0]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _told(command: Callable[..., object]) -> Callable[..., None]:
    """Return a command that prints what a function returns."""

    @wraps(command)
    def printing(**given: Any) -> None:
        typer.echo(str(command(**given)))

    return printing


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kronufft {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


app.command()(init)
app.command()(check)
app.command()(quick)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)
for _stage in ("ingest", "calibrate", "plan"):
    app.command(_stage)(_command(_stage))
app.command()(_told(estimate))
app.command()(tune)
for _stage in ("accumulate", "reconstruct", "train", "merge", "measure", "report"):
    app.command(_stage)(_command(_stage))
app.command()(verify)
app.command()(show)


def main() -> None:
    """Run the command; an error becomes one line and status 1."""
    # Threads that wait should rest: spinning, they take the cores from the jobs beside this one.
    # It has to be said before the first package that brings OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except Exception as error:
        typer.echo(f"kronufft: {told(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
