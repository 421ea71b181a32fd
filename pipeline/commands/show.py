"""`kronufft show`: where an image comes from."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def show(
    image: Annotated[Path, Argument(help="image.zarr, its marker, or its folder.", readable=False)],
    commands: Annotated[
        bool, Option("--commands", help="Also print the command of every job.")
    ] = False,
) -> None:
    """Print where an image comes from, and the command that makes it again."""
    from pipeline.report.history import show_history

    show_history(image, commands=commands)
