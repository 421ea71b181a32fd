"""JSON and text files that hold their own checksum, so that a changed character is noticed.

The checksum of JSON is that of its content: white space and the order of keys do not count. That of
text stands in its last line, ``# sha256 ...``, which readers of tables take for a comment.
"""

import hashlib
import json
import os
import shlex
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import DataError

DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What reading a damaged zip file or Zarr store can raise."""

CHECKSUM = "checksum"
_COMMENT = "# sha256 "


def _digest(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def sealed_json(content: Mapping[str, Any]) -> str:
    """Return ``content`` as indented JSON with its checksum as the last key."""
    if CHECKSUM in content:
        raise ValueError(f"the key `{CHECKSUM}` is the file's own")
    # As it will be read: JSON has no tuples, and only strings as keys.
    as_read = json.loads(json.dumps(content, allow_nan=False))
    return json.dumps({**as_read, CHECKSUM: _digest(as_read)}, indent=2) + "\n"


def opened_json(text: str, path: Path) -> dict[str, Any]:
    """Return the content of sealed JSON; `DataError` names ``path`` if it was changed."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); {remake(path)}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {text.strip()[:20]}")
    _require_seal(content.pop(CHECKSUM, None), _digest(content), path)
    return content


def sealed_text(text: str) -> str:
    """Return ``text``, which ends with a line break, and a last line with its checksum."""
    return f"{text}{_COMMENT}{hashlib.sha256(text.encode()).hexdigest()}\n"


def opened_text(sealed: str, path: Path) -> str:
    """Return sealed text; `DataError` names ``path`` if it was changed."""
    text, comment, digest = sealed.rpartition(_COMMENT)
    found = digest.rstrip("\n") if comment else None
    _require_seal(found, hashlib.sha256(text.encode()).hexdigest(), path)
    return text


def _require_seal(found: object, expected: str, path: Path) -> None:
    if found is None:
        raise DataError(
            f"{path}: has no checksum; it is cut off, or of an earlier version; {remake(path)}"
        )
    if found != expected:
        raise DataError(
            f"{path}: damaged or edited: its checksum is not that of its content; {remake(path)}"
        )


def remake(path: Path) -> str:
    """Return, for the message of an error, the command that makes ``path`` again."""
    return f"make it again: {again(run_command(), '--force', path)}"


def run_command() -> str | None:
    """Return the command that started this run, where `kronufft run` did; see there."""
    return os.environ.get("KRONUFFT_COMMAND")


def again(run: str | None, option: str, path: Path) -> str:
    """Return the command that makes ``path`` again, by the command of its run where it is known."""
    what = f"{option} {shlex.quote(str(path))}"
    unknown = f"snakemake --cores all {what}  # and that run's --configfile"
    return f"{run} {what}" if run else unknown
