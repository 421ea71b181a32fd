"""Errors that a user can act on.

Each message says who (dataset, array, setting), what was found, what was allowed and what to do.
Commands and workflow turn any of them into one line (`told`); an exception that nobody foresaw is a
defect of ours, and its traceback goes into a file to be sent.
"""

import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path

_LONGEST_WORD = 400
_LONGEST_LINE = 1600
_SAID_TO_PROGRAMMERS = (TypeError, AttributeError, IndexError, AssertionError)


class KronufftError(Exception):
    """Base of all errors that are about the user's input, settings or machine.

    Its text is one line, whatever it quotes.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """Return a text as one line that any terminal can show, with long words and texts cut short."""
    words = (_shortened(_printable(word), _LONGEST_WORD) for word in text.split())
    return _shortened(" ".join(words), _LONGEST_LINE)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 3 :]}"


def _printable(word: str) -> str:
    if word.isprintable():
        return word
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in word)


def words_of(error: Exception) -> str:
    """Return what an exception of a library says of a file, where it is said to people."""
    text = str(error)
    if isinstance(error, _SAID_TO_PROGRAMMERS) or not text:
        return "its content is not what it should be"
    return text


class ConfigError(KronufftError):
    """A setting or a row of the dataset table is missing, unknown or out of range."""


class DataError(KronufftError):
    """Measured data, trajectories or maps are unreadable or contradict each other."""


class ShapeError(DataError, ValueError):
    """An array's axes, dtype or device do not fit the operator that it is given to."""


class PlanError(KronufftError):
    """A reconstruction cannot be planned within the memory limits."""


class DependencyError(KronufftError):
    """An optional package that was asked for is not installed or does not work here."""


class DeviceError(KronufftError):
    """The device that was asked for is absent or ran out of memory."""


class CanaryError(KronufftError):
    """The checks that precede each reconstruction found wrong arithmetic."""


class SupersededError(KronufftError):
    """A job may not publish: a later run of it has begun, or what it has read has changed."""


def told(error: Exception) -> str:
    """Return the line that a user sees of any exception; write the report of a defect."""
    if isinstance(error, KronufftError):
        return str(error)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return one_line(f"no space left ({error}); nothing was published")
        named = f"{error.filename}: " if error.filename is not None else ""
        return one_line(f"{named}not readable or not writable ({error.strerror or error})")
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's
        return one_line(f"more memory was asked for than this machine or its limit has ({error})")
    return one_line(
        f"internal error: {type(error).__name__}: {str(error)[:_LONGEST_WORD]}; this is a defect "
        f"of Kronufft: please report it with {_report(error)}"
    )


def _report(error: Exception) -> str:
    """Write what a defect is found by; return the file, beside the workflow's logs if possible."""
    content = "\n".join(
        [
            f"kronufft {version('kronufft')}, Python {sys.version}, {platform.platform()}",
            " ".join(sys.argv),
            "".join(traceback.format_exception(error)),
        ]
    )
    name = f"defect-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    for folder in ("logs", tempfile.gettempdir()):
        path = Path(folder, name)
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, errors="backslashreplace")
        except OSError:
            continue
        return str(path)
    sys.stderr.write(content)
    return "the lines above"
