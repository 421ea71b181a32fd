"""Tables of what jobs streamed: in all, and by pair of antenna arrays."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.report.wording import duration, memory

Table = tuple[tuple[str, ...], ...]
"""Header and rows; empty where there is nothing."""

MOST_PAIRS = 64
"""Pairs that a table lists."""

_SECONDS = ("read", "copy", "compute", "stall")


def stream_table(streaming: Mapping[str, Any]) -> Table:
    """Return a table of one row of what `pipeline.metrics.streams.stream_totals` found."""
    if not streaming:
        return ()
    return (
        ("read", "copied", "computed", "waited", "data", "rate", "hidden"),
        (
            *(duration(streaming[f"{name}_seconds"]) for name in _SECONDS),
            memory(streaming["bytes"] / 1e6),
            _rate(streaming),
            f"{streaming['overlap']:.0%}",
        ),
    )


STREAM_NOTE = (
    "Seconds of the jobs together. A reader decodes the next tile and copies it while the present "
    "one computes: waited is what of that computing did not hide."
)


def pair_table(pairs: list[dict[str, Any]]) -> Table:
    """Return a table of pairs, with the columns that their entries have.

    Parameters
    ----------
    pairs
        For each pair its number, and where they are known ``model``, ``model_error_db``,
        ``weight`` (modulus), ``energy`` (of the measurements) and what was streamed.
    """
    if not pairs:
        return ()
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "pair": ("pair", str),
        "model": ("model", str),
        "model_error_db": ("model error [dB]", lambda value: f"{value:.1f}"),
        "weight": ("weight", lambda value: f"{value:.3g}"),
        "energy": ("energy [dB]", _decibels),
        **{f"{name}_seconds": (f"{name} [s]", lambda value: f"{value:.3f}") for name in _SECONDS},
        "bytes": ("data", lambda value: memory(value / 1e6)),
    }
    known = {
        name: column for name, column in columns.items() if any(name in pair for pair in pairs)
    }
    return (
        tuple(title for title, _ in known.values()),
        *(
            tuple(
                "" if pair.get(name) is None else show(pair[name])
                for name, (_, show) in known.items()
            )
            for pair in pairs[:MOST_PAIRS]
        ),
    )


def _decibels(energy: float) -> str:
    return f"{10 * math.log10(energy):.1f}" if energy > 0 else "−∞"


def _rate(streaming: Mapping[str, Any]) -> str:
    seconds = streaming["read_seconds"]
    return f"{memory(streaming['bytes'] / 1e6 / seconds)}/s" if seconds > 0 else ""
