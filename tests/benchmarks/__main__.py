"""The command line of the benchmark; `run.py` starts it from anywhere."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.cases import CASES, quick
from benchmarks.implementations import ENTRIES
from benchmarks.measurement import Effort, measure
from benchmarks.table import print_ratios, write_csv
from benchmarks.truth import OPERATIONS


def main(
    *,
    cases: Annotated[str, typer.Option(help="Cases, separated by commas.")] = ",".join(
        case.name for case in CASES
    ),
    operations: Annotated[str, typer.Option(help="Operations, separated by commas.")] = ",".join(
        OPERATIONS
    ),
    names: Annotated[
        str, typer.Option("--implementations", help="Implementations, separated by commas.")
    ] = "all",
    miniature: Annotated[bool, typer.Option("--quick", help="Tiny sizes: does it run?")] = False,
    slow: Annotated[bool, typer.Option(help="Run BART too.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
    tolerance: Annotated[float, typer.Option(help="Error asked of each transform.")] = 1e-3,
    seconds: Annotated[float, typer.Option(help="Time for the repeats of a measurement.")] = 3.0,
    limit: Annotated[float, typer.Option(help="Time after which one is given up.")] = 120.0,
    output: Annotated[Path, typer.Option(help="Table to write.")] = Path("results/benchmarks.csv"),
) -> None:
    """Time Kronufft and its peers on the same problems, side by side on this machine."""
    known = [
        name
        for name, entry in ENTRIES.items()
        if (slow or not entry.slow) and device in entry.devices
    ]
    chosen = _chosen("implementation", names, known) if names != "all" else known
    selected = _chosen("case", cases, [case.name for case in CASES])
    problems = [quick(case) if miniature else case for case in CASES if case.name in selected]
    effort = Effort(
        device=device,
        threads=threads or len(os.sched_getaffinity(0)),
        tolerance=tolerance,
        seconds=0.0 if miniature else seconds,
        limit=limit,
    )
    progress = Console(stderr=True)
    if os.getloadavg()[0] > 0.5:
        progress.print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): times will be long.")
    rows = []
    for row in measure(
        problems, _chosen("operation", operations, OPERATIONS), chosen, effort, progress.print
    ):
        rows.append(row)
        write_csv(rows, output)  # after each row: a run that is stopped has not been for nothing
    print_ratios(rows, Console(width=None if sys.stdout.isatty() else 110))


def _chosen(what: str, text: str, known: list[str] | tuple[str, ...]) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in known:
            raise typer.BadParameter(f"unknown {what} {name!r}; known here: {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    typer.run(main)
