"""The JSON schema of a config file: for editors, the documentation, and tests."""

from collections.abc import Iterator
from typing import Any

from pipeline.algorithms.registry import ALGORITHMS, settings_class
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
    for name in ALGORITHMS:
        described = schema["$defs"][settings_class(name).__name__]
        described["properties"]["sweep"] = _sweep()
        if needed := [key for key in described["required"] if key != "algorithm"]:
            described["required"] = ["algorithm"]
            described["anyOf"] = [{"required": needed}, {"required": ["sweep"]}]
    return schema


def _sweep() -> dict[str, Any]:
    """Return the schema of `sweep`, which no algorithm sees (`pipeline.config.sweeps`)."""
    return {
        "additionalProperties": {"items": {}, "minItems": 2, "type": "array"},
        "description": "Another setting with several values: a reconstruction of each.",
        "maxProperties": 1,
        "minProperties": 1,
        "title": "Sweep",
        "type": "object",
    }


def _models(base: type[Settings]) -> Iterator[type[Settings]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
