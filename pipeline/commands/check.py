"""`kronufft check`: a config, its table, and what both say of the data, before anything runs."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from pipeline.commands.run import CONFIG


def check(
    configfile: Annotated[Path, Argument(help="The config file.", readable=False)] = CONFIG,
    config: Annotated[
        list[str] | None,
        Option(
            help="A setting in place of the file's, as Snakemake takes it: `data_root=FOLDER`.",
            metavar="NAME=VALUE",
        ),
    ] = None,
) -> None:
    """Check a config file, its table, and headers and samples of the data; runs nothing."""
    from pipeline.config.base import given_settings
    from pipeline.config.datasets import find_source_files, load_datasets
    from pipeline.config.file import read_config

    given = given_settings(config, "--config", "data_root=/data")
    settings = read_config(configfile, CONFIG, given)
    datasets = load_datasets(Path(settings.datasets), settings)
    find_source_files(settings, datasets)
    from pipeline.commands.source_check import MOST_SOURCES, check_sources

    left_out = 0
    for row, checked in check_sources(settings, datasets.values()):
        lines = [f"{row.dataset}\t{row.format}\t{row.source}\t{', '.join(row.reconstructions)}"]
        if checked is None:
            left_out += 1
        elif checked.dataset != row.dataset:
            lines.append(f"as {checked.dataset}")
        else:
            lines += checked.told
            if checked.partly:
                lines.append(f"samples alone were looked at of {', '.join(checked.partly)}")
        echo("\n  ".join(lines))
    if left_out:
        echo(
            f"opened {MOST_SOURCES} sources spread over the table, not those of {left_out} rows, "
            "which `ingest` looks at"
        )
