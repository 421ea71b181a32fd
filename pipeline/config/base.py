"""What all settings share: frozen models that refuse unknown keys, and how they are checked.

A typing error is met at the start and not after an hour.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$")]
Matrix = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=2, max_length=3)]
PerAxis = Annotated[tuple[float, ...], Field(min_length=2, max_length=3)]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the end of a message: the known word that is most like ``word``, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"


def _known_keys(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the keys allowed beside the last of ``location``, following models and mappings."""
    current: Any = model
    for key in location[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(key))
            current = None if field is None else field.annotation
            # `X | None` stands for X.
            options = [option for option in get_args(current) if option is not type(None)]
            if type(None) in get_args(current) and len(options) == 1:
                (current,) = options
        elif get_origin(current) is dict:
            current = get_args(current)[1]
    known = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if known else []


def validate(model: type[AnySettings], content: Any, source: str) -> AnySettings:
    """Check ``content`` against ``model``.

    Parameters
    ----------
    model
        The settings class.
    content
        Parsed YAML or JSON.
    source
        What the content came from; begins the message of an error.

    Raises
    ------
    ConfigError
        With one clause for each fault: which key, what was found, what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                known = _known_keys(model, fault["loc"])
                faults.append(f"unknown key `{where}`{nearest(str(fault['loc'][-1]), known)}")
            else:
                found = (
                    ""
                    if fault["type"] in ("missing", "value_error")
                    else f" (found {fault['input']!r})"
                )
                said = fault["msg"].removeprefix("Value error, ")
                faults.append(f"`{where}`: {said}{found}")
        raise ConfigError(f"{source}: {'; '.join(faults)}") from None


class _UniqueKeysLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: other loaders take the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping, or raise `ConfigError` with both lines of a key."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise ConfigError(
                    f"{key.start_mark.name}: `{key.value}` stands in line {lines[key.value]} and "
                    f"again in line {line}, and only the last would count; put both under one key"
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """Read a YAML (or JSON) file with a safe loader that refuses a key that stands twice."""
    try:
        with path.open() as file:
            return yaml.load(file, _UniqueKeysLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({error})") from None


def canonical_json(settings: Settings) -> str:
    """Return settings as one line of JSON that is equal exactly when the settings are."""
    content = settings.model_dump(mode="json")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_settings(model: type[AnySettings], text: str) -> AnySettings:
    """Check a stage's settings, given as JSON or as the path of a YAML or JSON file."""
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--settings: not readable as JSON ({error})") from None
        return validate(model, content, "--settings")
    return validate(model, load_yaml(Path(text)), text)
