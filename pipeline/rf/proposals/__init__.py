"""What RF files of each format seem to hold: a module for one or several, with ``describe``.

``describe(paths, told)`` returns a `pipeline.formats.proposal.Proposal`, or None where the paths
are not for certain of its format. Only phase histories: of pairs no file says where the scene is.
"""

from collections.abc import Mapping
from typing import Any

FORMATS = ("recorded", "arrays")
"""In the order in which they are tried."""

RECONSTRUCTIONS: Mapping[str, Mapping[str, Any]] = {
    "matched-filter": {"algorithm": "matched-filter"},
    "sparse": {"algorithm": "fista", "iterations": 30, "sparsity": 0.01},
}
"""To begin with."""
