"""What a file seems to hold, and the settings that would read it: `kronufft init` writes them down.

Whoever proposes says of each setting why, and whether it is a guess. Nothing is assumed in silence.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.config.sources import Kind
from pipeline.errors import ConfigError
from pipeline.formats.lazy import LazyArray

_LOOKED_AT = 2**26
"""Of an array, when its range is told [byte]."""


@dataclass(frozen=True)
class Told:
    """What the user says of a file, which goes before what it seems to be."""

    shape: tuple[int, ...] | None = None
    """Image matrix."""
    voxel_size: tuple[float, ...] | None = None
    """Per image axis [m]."""
    units: str | None = None
    """Of the trajectory."""
    order: tuple[str, ...] | None = None
    """The image axis of each component of the trajectory, as stored."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Stored name, or names of real and imaginary part or of components, by our name."""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Axes as stored, by our name."""


@dataclass(frozen=True)
class Held:
    """An array of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    largest: float
    """Magnitude, of what was looked at."""
    partly: bool
    """Whether only a part was looked at."""

    @classmethod
    def of(cls, name: str, array: LazyArray) -> "Held":
        """Look at an array, or at its first part."""
        rows = array.shape[0] if array.shape else 1
        size = int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize
        some = max(1, min(rows, rows * _LOOKED_AT // max(size, 1)))
        part = array[(slice(0, some), *(slice(0, n) for n in array.shape[1:]))]
        largest = float(np.max(np.abs(part), initial=0.0))
        return cls(name, tuple(array.shape), np.dtype(array.dtype), largest, some < rows)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "one number"
        of = " of its first part" if self.partly else ""
        return f"{self.name}: {shape}, {self.dtype}, up to {self.largest:.6g}{of}"


@dataclass
class Proposal:
    """How a source would be read."""

    kind: Kind
    format: str
    source: str
    """As in the dataset table, relative to `data_root`."""
    data_root: str
    held: Sequence[Held] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `sources.<dataset>`."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why, by dotted key of the settings."""
    guesses: set[str] = field(default_factory=set)
    """Keys whose value is a guess."""

    def say(self, key: str, reason: str, *, guess: bool = False) -> None:
        """Note why a setting is as it is."""
        self.reasons[key] = reason
        if guess:
            self.guesses.add(key)

    def notes(self) -> list[str]:
        """Return a line for each setting that has a reason, guesses first."""
        ordered = sorted(self.reasons, key=lambda key: key not in self.guesses)
        return [
            f"{'guess' if key in self.guesses else 'found'}: {key}{self._value(key)}: "
            f"{self.reasons[key]}"
            for key in ordered
        ]

    def _value(self, key: str) -> str:
        """Return the value of a key, where it is one that a line can show."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part, {}) if isinstance(value, Mapping) else {}
        if isinstance(value, Mapping):
            return ""
        return f" = {json.dumps(value).replace(chr(34), '')}"


def refuse_names(told: Told, format_: str) -> None:
    """Refuse names and axes of arrays where the format itself says them."""
    if told.names or told.axes:
        raise ConfigError(
            f"init: the format {format_} says itself what is what; leave out --array and --axes"
        )


def unknown(what: str, flag: str) -> ConfigError:
    """Return the error of what a file does not tell and nobody may guess."""
    return ConfigError(f"init: {what}; say it with {flag}")
