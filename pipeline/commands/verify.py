"""`kronufft verify`: every byte of results against its checksum."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, echo

from pipeline.errors import DataError


def verify(
    paths: Annotated[
        list[Path] | None, Argument(help="Folders of results, or files in them.", readable=False)
    ] = None,
) -> None:
    """Read all that a run has left, and compare every byte with its checksum."""
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
            echo(str(error))
    echo(f"{len(files)} files and stores, {read / 1e6:.1f} MB: {damaged} damaged")
    if damaged:
        raise Exit(1)
