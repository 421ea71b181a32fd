"""`kronufft check`: a config, its table, and what both say of the data, before anything runs."""

from pathlib import Path
from typing import Annotated

from typer import Argument, echo

from pipeline.commands.run import CONFIG


def check(
    configfile: Annotated[Path, Argument(help="The config file.", readable=False)] = CONFIG,
) -> None:
    """Check a config file, its table, and headers and samples of the data; runs nothing."""
    from pipeline.config.datasets import find_source_files, load_datasets
    from pipeline.config.file import read_config

    settings = read_config(configfile, default=CONFIG)
    datasets = load_datasets(Path(settings.datasets), settings)
    find_source_files(settings, datasets)
    from pipeline.commands.source_check import check_source

    for row in datasets.values():
        checked = check_source(settings, row)
        echo(f"{row.dataset}\t{row.format}\t{row.source}\t{', '.join(row.reconstructions)}")
        for line in checked.told:
            echo(f"  {line}")
        if checked.partly:
            echo(f"  samples alone were looked at of {', '.join(checked.partly)}")
