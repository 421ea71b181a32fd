"""What files of each format seem to hold: a module for one or several, with ``describe``.

``describe(paths, told)`` returns a `pipeline.formats.proposal.Proposal`, or None where the paths
are not of its format. They stand apart from the readers: a better guess repeats no ingest.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipeline.formats.proposal import Proposal, Told

FORMATS = ("native", "bart", "listed", "arrays")
"""In the order in which they are tried."""


def propose(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Return how the first format that knows the paths would read them; None where none does."""
    for name in FORMATS:
        found: Proposal | None = import_module(f"{__name__}.{name}").describe(paths, told)
        if found is not None:
            return found
    return None
