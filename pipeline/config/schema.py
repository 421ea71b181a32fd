"""The JSON schema of a config file: for editors, the documentation, and tests."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.base import Settings, told_of_fields
from pipeline.config.file import Config


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a config file; the texts below settings are its descriptions."""
    schema = Config.model_json_schema()
    for model in _models(Settings):
        described = schema if model is Config else schema["$defs"].get(model.__name__, {})
        properties = described.get("properties", {})
        for name, text in told_of_fields(model).items():
            if name in properties:
                properties[name] = dict(sorted({**properties[name], "description": text}.items()))
    return schema


def _models(base: type[Settings]) -> Iterator[type[Settings]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
