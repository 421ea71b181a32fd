"""What all settings share: frozen models that refuse unknown keys, and how they are checked.

A typing error is met at the start and not after an hour.
"""

import ast
import difflib
import inspect
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError
from pipeline.files import read_text

_LARGEST_FILE = 10**7
_MOST_VALUES = 10**5
_MOST_FAULTS = 8
_LONGEST_VALUE = 100

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", max_length=200)
]


def _none_of(*taken: str) -> AfterValidator:
    """Refuse the names of files that stand beside the folder that is to have the name."""

    def check(name: str) -> str:
        if name.lower() in taken:  # some file systems do not tell cases apart
            raise ValueError(f"the name {name} is taken by a file of results; choose another")
        return name

    return AfterValidator(check)


DatasetName = Annotated[
    Name,
    _none_of(
        *(
            "report.html",
            "report-so-far.html",
            "viewer.html",
            "viewer-so-far.html",
            "metrics.csv",
            "metrics.parquet",
            "tuning.json",
        ),
        *("metrics-so-far.csv", "metrics-so-far.parquet", "logs", "benchmarks"),
    ),
]
ReconstructionName = Annotated[
    Name, _none_of("raw.zarr", "raw.json", "calibration.zarr", "calibration.json", "receipts")
]
Matrix = Annotated[
    tuple[Annotated[int, Field(ge=2, le=10**6)], ...], Field(min_length=2, max_length=3)
]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def told_of_fields(model: type[Settings]) -> dict[str, str]:
    """Return the text below each field of a class of settings, of its bases' too.

    It is read when it is asked for: for all classes it would take each job a tenth of a second.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, Settings) and each is not Settings:
            body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, below in zip(body.body, body.body[1:], strict=False):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(name)),
                        ast.Expr(ast.Constant(str(text))),
                    ):
                        found[name] = inspect.cleandoc(text)
    return found


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
    """Check parsed YAML or JSON against a model.

    Raises
    ------
    ConfigError
        Of the source, with one clause for each fault: which key, what was found, what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = []
        for fault in error.errors()[:_MOST_FAULTS]:
            where = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                known = _known_keys(model, fault["loc"])
                faults.append(f"unknown key `{where}`{nearest(str(fault['loc'][-1]), known)}")
            else:
                told = fault["type"] not in ("missing", "value_error")
                found = f" (found {_shown(fault['input'])})" if told else ""
                said = fault["msg"].removeprefix("Value error, ")
                if fault["type"] == "model_type":
                    said = "expected keys with values"
                elif fault["type"] in ("tuple_type", "list_type"):
                    said = "expected a list in brackets"
                faults.append(f"`{where}`: {said}{found}" if where else f"{said}{found}")
        more = f"; and {rest} more" if (rest := error.error_count() - len(faults)) else ""
        raise ConfigError(f"{source}: {'; '.join(faults)}{more}") from None


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no integers of thousands of digits
        return "a number of thousands of digits"
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, and aliases that stand for more than a config can hold.

    Other loaders take the last one of two keys, and say nothing.
    """

    def get_single_node(self) -> yaml.Node | None:
        """Return the document, or raise `ConfigError` if its aliases make it endless or huge."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _values_in(node, {}) > _MOST_VALUES:
            raise ConfigError(
                f"{self.name}: more than {_MOST_VALUES} values, counted as often as aliases repeat "
                "them; write a config that holds what it says"
            )
        return node

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


def _values_in(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """Return how many values a node stands for; infinity if it contains itself."""
    if node not in known:
        known[node] = math.inf
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for entry in node.value for part in entry]
        known[node] = 1 + sum(_values_in(part, known) for part in parts)
    return known[node]


def load_yaml(path: Path) -> Any:
    """Read a YAML (or JSON) file with a safe loader that refuses a key that stands twice.

    Raises
    ------
    ConfigError
        If it is no file, not YAML, or holds what cannot be built: says what, and in which line.
    """
    try:
        text = read_text(path, _LARGEST_FILE)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        loader = _Loader(text)
        loader.name = str(path)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        fault = ", ".join(part for part in (error.context, error.problem) if part) + line
    except yaml.reader.ReaderError as error:
        fault = f"{chr(error.character)!r} at position {error.position} may not stand there"
    except RecursionError:
        fault = "nested too deeply; a config has some five levels"
    except ValueError as error:  # of a number or a date
        fault = str(error)
    except (AttributeError, KeyError, TypeError):  # of the loader's converters
        fault = "a value is not what its tag says"
    raise ConfigError(f"{path}: not readable as YAML: {fault}")


def canonical_json(settings: Settings) -> str:
    """Return settings as one line of JSON that is equal exactly when the settings are."""
    content = settings.model_dump(mode="json")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_settings(model: type[AnySettings], text: str) -> AnySettings:
    """Check a stage's settings, given as JSON or as the path of a YAML or JSON file."""
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except RecursionError:
            raise ConfigError("--settings: nested too deeply") from None
        except ValueError as error:
            raise ConfigError(f"--settings: not readable as JSON ({error})") from None
        return validate(model, content, "--settings")
    return validate(model, load_yaml(Path(text)), text)


def given_settings(
    texts: Sequence[str] | None, option: str = "--set", example: str = "iterations=20"
) -> dict[str, Any]:
    """Read settings of a command line such as ``iterations=20``, whose values are YAML.

    Raises
    ------
    ConfigError
        If one is not of that form: names the ``option`` that it was given with.
    """
    found = {}
    for text in texts or []:
        key, _, value = text.partition("=")
        if not (key and value):
            raise ConfigError(f"{option}: found `{text}`; give KEY=VALUE, such as {example}")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"{option}: found `{text}`: the value is not readable as YAML"
            ) from None
    return found
