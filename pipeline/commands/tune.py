"""`kronufft tune`: which library, grid, batch and FFT are fastest here, at which error."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from pipeline.commands.estimate import sizes_of
from pipeline.engine.leases import leased_device
from pipeline.engine.limits import usable_cores
from pipeline.errors import ConfigError


def tune(
    raw: Annotated[Path | None, Option(help="Measure for this raw.json; or, instead:")] = None,
    shape: Annotated[str | None, Option(help="Image matrix, such as 128x128x128.")] = None,
    coils: Annotated[int, Option(min=1)] = 8,
    samples: Annotated[int, Option(min=2, help="Of one coil of one frame.")] = 200_000,
    frames: Annotated[int, Option(min=1)] = 1,
    trajectory: Literal["radial", "spiral", "stack-of-stars", "random"] = "radial",
    tolerance: Annotated[float, Option(min=1e-9, max=0.1, help="Error wanted.")] = 1e-3,
    precision: Literal["single", "double", "both"] = "both",
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, Option(min=1, help="Of a job; all cores if not given.")] = None,
    seconds: Annotated[float, Option(min=1, help="Time to spend, about.")] = 60,
    output: Annotated[Path, Option(help="Adds to this file; a picture goes beside it.")] = Path(
        "results/tuning.json"
    ),
) -> None:
    """Measure time and error of transforms on this machine, and choose for a tolerance."""
    if (raw is None) == (shape is None):
        raise ConfigError("tune: give either --raw, or --shape and sizes")
    matrix = () if shape is None else sizes_of(shape, "--shape")
    with leased_device(device) as leased:
        from pipeline.tuning.acquisition import imagined_acquisition, stored_acquisition
        from pipeline.tuning.tune import tune as run

        acquisition = (
            stored_acquisition(raw)
            if raw is not None
            else imagined_acquisition(
                matrix, coils=coils, samples=samples, frames=frames, trajectory=trajectory
            )
        )
        run(
            acquisition,
            tolerance=tolerance,
            precisions=("single", "double") if precision == "both" else (precision,),
            device=leased,
            threads=threads or usable_cores(),
            seconds=seconds,
            output=output,
        )
