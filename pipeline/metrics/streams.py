"""What the jobs of a reconstruction streamed: sums over jobs, in all and by pair of arrays."""

from collections.abc import Iterable, Mapping
from typing import Any

SUMMED = ("read_seconds", "copy_seconds", "compute_seconds", "stall_seconds", "bytes")
"""What adds up over jobs and tiles."""


def stream_totals(jobs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sum of all receipts' ``streaming``; empty if none has one.

    Beside what adds up there are ``jobs`` and ``overlap``, the share of reading and copying that
    computing hid.
    """
    accounts = [job["streaming"] for job in jobs if job.get("streaming")]
    if not accounts:
        return {}
    total: dict[str, Any] = {name: _sum(accounts, name) for name in SUMMED}
    moved = total["read_seconds"] + total["copy_seconds"]
    total["overlap"] = max(0.0, 1 - total["stall_seconds"] / moved) if moved > 0 else 1.0
    return {"jobs": len(accounts), **total}


def pair_totals(jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a sum for each pair that receipts account for under ``pairs``, by its number.

    What does not add up, such as its model, is that of the first job.
    """
    found: dict[int, list[Mapping[str, Any]]] = {}
    for job in jobs:
        entries = job.get("pairs")
        for entry in entries if isinstance(entries, list) else ():
            found.setdefault(int(entry["pair"]), []).append(entry)
    return [
        {
            **found[pair][0],
            **{name: _sum(found[pair], name) for name in SUMMED if name in found[pair][0]},
        }
        for pair in sorted(found)
    ]


def _sum(entries: Iterable[Mapping[str, Any]], name: str) -> float:
    return float(sum(entry.get(name, 0) for entry in entries))
