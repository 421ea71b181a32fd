"""Table of what jobs streamed."""

from collections.abc import Mapping
from typing import Any

from pipeline.report.quality import Table
from pipeline.report.wording import duration, memory

STREAMED = ("read", "copy", "compute", "stall")


def stream_table(streaming: Mapping[str, Any]) -> Table:
    """Return a table of one row of what `pipeline.metrics.streams.stream_totals` found."""
    if not streaming:
        return ()
    return (
        ("read", "copied", "computed", "waited", "data", "rate", "hidden"),
        (
            *(duration(streaming[f"{name}_seconds"]) for name in STREAMED),
            memory(streaming["bytes"] / 1e6),
            _rate(streaming),
            f"{streaming['overlap']:.0%}",
        ),
    )


STREAM_NOTE = (
    "Seconds of the jobs together. A reader decodes the next tile and copies it while the present "
    "one computes: waited is what of that computing did not hide."
)


def _rate(streaming: Mapping[str, Any]) -> str:
    seconds = streaming["read_seconds"]
    return f"{memory(streaming['bytes'] / 1e6 / seconds)}/s" if seconds > 0 else ""
