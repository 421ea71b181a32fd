"""Errors that a user can act on.

Each message says who (dataset, array, setting), what was found, what was allowed and what to do.
The command line turns any of them into one line and exit status 1; every other exception is a
defect of ours and keeps its traceback.
"""

_LONGEST_WORD = 400
_LONGEST_LINE = 1600


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
