"""`kronufft run`: Snakemake on the workflow that came with this package, in any folder."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Option

from pipeline.errors import ConfigError
from pipeline.files import why_unreadable

CONFIG = Path("config/config.yaml")
_PACKAGE = Path(__file__).parents[1]


def workflow_folder() -> Path:
    """Return the folder of the Snakefile: in an installed package, or a clone's own."""
    inside = _PACKAGE / "bundle"
    return inside if inside.is_dir() else _PACKAGE.parent


def run(
    context: Context,
    configfile: Annotated[Path, Argument(help="The config file.", readable=False)] = CONFIG,
    output: Annotated[
        Path | None,
        Option(help="Folder to write to, in place of `results` of the config.", readable=False),
    ] = None,
    cores: Annotated[str, Option("--cores", "-c", help="CPU cores to use, or all.")] = "all",
) -> None:
    """Run the workflow of a config file. What else is given goes to Snakemake."""
    if reason := why_unreadable(configfile):
        raise ConfigError(f"{configfile}: {reason}; `kronufft init` writes one")
    command = [*(sys.executable, "-m", "snakemake"), *context.args]
    if output is not None:
        _set(command, f"results={output}")
    # Last, since it takes every word that follows.
    command += [*("--snakefile", str(workflow_folder() / "Snakefile")), "--cores", cores]
    command += ["--configfile", str(configfile)]
    # What to repeat, for whoever reads the end of a run. Targets may be added to it, of which the
    # first would be taken for the config where none is named.
    given = getattr(context.get_parameter_source("configfile"), "name", "") != "DEFAULT"
    words = ["kronufft", "run", *([] if given else [str(configfile)]), *sys.argv[2:]]
    os.environ["KRONUFFT_COMMAND"] = shlex.join(words)
    os.execv(command[0], command)


def _set(command: list[str], setting: str) -> None:
    """Add a setting to a command of Snakemake, of whose options `--config` only the last counts."""
    for option in ("--config", "-C"):
        if option in command:
            command.insert(command.index(option) + 1, setting)
            return
    command += ["--config", setting]
