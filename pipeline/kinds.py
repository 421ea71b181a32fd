"""The kinds of data: each is a package, whose parts are found by name when they are needed.

No kind is imported here, so that a stage depends on the code of its own dataset's kind alone.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from pipeline.errors import DataError
from pipeline.storage.acquisition import Acquisition
from pipeline.storage.publish import open_published

KINDS = ("mri", "rf")


def part_of(kind: str, part: str) -> ModuleType:
    """Return the module ``part`` of a kind, such as ``raw``, ``plan`` or ``measurement``.

    Whoever calls it writes the part's name out: `pipeline.fingerprint` reads it there, so that the
    part counts where it is used and nowhere else.
    """
    return import_module(f"pipeline.{kind}.{part}")


def open_raw(marker: Path) -> Acquisition:
    """Return the acquisition that ``marker`` stands for.

    Raises
    ------
    DataError
        If marker or store is missing or incomplete, or its kind is unknown.
    """
    group = open_published(marker)
    kind = group.attrs.get("kind")
    if kind not in KINDS:
        raise DataError(
            f"{marker}: its store has kind = {kind!r}, allowed are {', '.join(KINDS)}; "
            "run `ingest` again"
        )
    found: Acquisition = part_of(str(kind), "raw").open_group(group, marker)
    return found
