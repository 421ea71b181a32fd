"""`sweep`: one reconstruction of a config that stands for several, which differ in one setting."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.algorithms.registry import check_settings
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Sweep:
    """Reconstructions that differ in one setting."""

    name: str
    """What they are called together."""
    setting: str
    values: tuple[str, ...]
    """Of the setting, as they stand in the names."""

    @property
    def names(self) -> tuple[str, ...]:
        """The reconstructions, in the order of the values."""
        return tuple(f"{self.name}-{self.setting}-{value}" for value in self.values)

    def __str__(self) -> str:
        """Return it as an option of a command, which `of_option` reads."""
        return f"{self.name}:{self.setting}:{','.join(self.values)}"

    @classmethod
    def of_option(cls, text: str) -> Self:
        """Return what an option says; ``ConfigError`` where it does not."""
        match text.split(":"):
            case [name, setting, values]:
                return cls(name, setting, tuple(values.split(",")))
        raise ConfigError(f"--sweep {text}: expected NAME:SETTING:VALUE,VALUE,...")


def expand_sweeps(reconstructions: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[str, Sweep]]:
    """Return the reconstructions of a config with each value of a sweep as one of its own.

    A reconstruction NAME that sweeps SETTING becomes ``NAME-SETTING-VALUE`` for each value. The
    values themselves are checked later, as those of any reconstruction.

    Returns
    -------
    tuple
        The content without any `sweep`, and the sweeps by the names that they had.

    Raises
    ------
    ValueError
        If a sweep is not one setting of its algorithm with several values that can be part of a
        name, or makes a name that is there already.
    """
    expanded: dict[Any, Any] = {}
    sweeps: dict[str, Sweep] = {}
    for name, content in reconstructions.items():
        if not (isinstance(content, Mapping) and "sweep" in content):
            parts = {name: content}
        else:
            sweep, parts = _parts(str(name), content)
            sweeps[sweep.name] = sweep
        for part, settings in parts.items():
            if part in expanded or (part != name and part in reconstructions):
                raise ValueError(f"two reconstructions have the name `{part}`; rename one of them")
            expanded[part] = settings
    return expanded, sweeps


def _parts(name: str, content: Mapping[str, Any]) -> tuple[Sweep, dict[str, Any]]:
    """Return the sweep of a reconstruction, and that of each value by its name."""
    who = f"`sweep` of `{name}`"
    common = {key: value for key, value in content.items() if key != "sweep"}
    given = content["sweep"]
    if not (isinstance(given, Mapping) and len(given) == 1):
        raise ValueError(f"{who}: expected one setting with its values, SETTING: [VALUE, ...]")
    ((setting, values),) = given.items()
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"{who}: `{setting}` needs a list of at least two values")
    if setting in common:
        raise ValueError(f"{who}: `{setting}` is also given beside it; leave one of both out")
    try:
        check_settings({**common, setting: None})
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from None
    words = [_word(value, who) for value in values]
    if len(set(words)) < len(words):
        raise ValueError(f"{who}: a value of {', '.join(words)} stands twice; leave one out")
    sweep = Sweep(name, setting, tuple(words))
    contents = ({**common, setting: value} for value in values)
    return sweep, dict(zip(sweep.names, contents, strict=True))


def _word(value: Any, who: str) -> str:
    """Return a value as part of a name; a list's parts are joined by ``x``, as of a matrix."""
    match value:
        case list() if value and not any(isinstance(one, list) for one in value):
            return "x".join(_word(one, who) for one in value)
        case bool():
            return str(value).lower()
        case int() | float() | str():
            # No name of a folder has a slash (noise/3) or a plus sign (1e+20).
            word = str(value).replace("/", "_").replace("+", "")
            if re.fullmatch(r"[\w.-]+", word, re.ASCII):
                return word
    raise ValueError(
        f"{who}: the value {value!r} gives no name; expected numbers, words, true or false"
    )
