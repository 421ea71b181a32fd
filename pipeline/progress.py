"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 10.0

_SECONDS_BETWEEN_UPDATES = 0.2

Advance = Callable[..., None]
Note = str | Callable[[], str]


@contextmanager
def track(description: str, total: int | None) -> Iterator[Advance]:
    """Show how far a loop of so many steps is, on standard error; `None` where nobody knows.

    Yields ``advance(steps=1, note="", partial=0.0)``, which says that steps are done, and how much
    of the next one. The note is shown beside them, for example a residual: text, or what returns it
    if it is shown at all.
    """
    if sys.stderr.isatty():
        yield from _bar(description, total)
    else:
        yield from _lines(description, total)


def _bar(description: str, total: int | None) -> Iterator[Advance]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, note="")

        done = 0
        shown = -math.inf

        def advance(steps: int = 1, note: Note = "", partial: float = 0.0) -> None:
            nonlocal done, shown
            done += steps
            now = time.monotonic()
            if steps or now - shown >= _SECONDS_BETWEEN_UPDATES:
                shown = now
                bar.update(task, completed=done + partial, note=_text(note))

        yield advance


def _lines(description: str, total: int | None) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: Note = "", partial: float = 0.0) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        ends = total is not None and done >= total
        if ends or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            position = done + partial
            remaining, of_all = "", ""
            if total is not None:
                of_all = f"/{total}"
                if position:
                    left = (now - start) * (total / position - 1)
                    remaining = f", {left:.0f} s left"
            extra = f", {_text(note)}" if note else ""
            print(  # noqa: T201
                f"{description}: {done}{of_all}, {now - start:.1f} s{remaining}{extra}",
                file=sys.stderr,
                flush=True,
            )

    yield advance


def _text(note: Note) -> str:
    return note if isinstance(note, str) else note()
