"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[..., None]


@contextmanager
def track(description: str, total: int) -> Iterator[Advance]:
    """Show how far a loop is, on standard error.

    Parameters
    ----------
    description
        What is being done, and for which dataset.
    total
        Number of steps.

    Yields
    ------
    callable
        ``advance(steps=1, note="")``: says that steps are done; ``note`` is shown beside them, for
        example a residual.
    """
    if sys.stderr.isatty():
        yield from _bar(description, total)
    else:
        yield from _lines(description, total)


def _bar(description: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


def _lines(description: str, total: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if done >= total or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = (now - start) / max(done, 1) * (total - done)
            extra = f", {note}" if note else ""
            print(  # noqa: T201
                f"{description}: {done}/{total}, {now - start:.1f} s, {left:.0f} s left{extra}",
                file=sys.stderr,
                flush=True,
            )

    yield advance
