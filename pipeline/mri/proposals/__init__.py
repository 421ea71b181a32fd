"""What MRI files of each format seem to hold: a module for one or several, with ``describe``.

``describe(paths, told)`` returns a `pipeline.formats.proposal.Proposal`, or None where the paths
are not of its format. They stand apart from the readers: a better guess repeats no ingest.
"""

from collections.abc import Mapping
from typing import Any

FORMATS = ("native", "bart", "listed", "arrays")
"""In the order in which they are tried."""

RECONSTRUCTIONS: Mapping[str, Mapping[str, Any]] = {
    "gridding": {"algorithm": "gridding"},
    "sense": {"algorithm": "cg-sense"},
}
"""To begin with."""
