"""The directives ``settings`` and ``commands``: reference pages that the code itself states."""

from typing import Any

import typer.cli
import typer.main
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pipeline.cli import app
from pipeline.config.schema import config_schema

_WORDS = {"integer": "whole number", "boolean": "`true` or `false`", "null": "nothing"}
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Settings(SphinxDirective):
    """A section for each model of the config file."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        schema = config_schema()
        models = {"Config": schema, **schema["$defs"]}
        lines = [line for name in models for line in _section(name, models)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Commands(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        command = typer.main.get_command(app)
        context = command.context_class(command)
        text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="kronufft")
        below_title = text.partition("\n")[2]
        return self.parse_text_to_nodes(below_title, allow_section_headings=True)


def _section(name: str, models: dict[str, dict[str, Any]]) -> list[str]:
    model = models[name]
    lines = [f"({name.lower()})=", f"## {name}", "", model.get("description", ""), ""]
    # A `sweep` may stand in place of what an algorithm needs.
    needed = {
        key for one in (model, *model.get("anyOf", ())[:1]) for key in one.get("required", ())
    }
    for key, of in model.get("properties", {}).items():
        told = [_type(of), "needed" if key in needed else _default(of)]
        meant = models.get(of.get("$ref", "").rpartition("/")[2], {})
        text = " ".join((of.get("description") or meant.get("description", "")).split())
        lines += [f"`{key}`: {', '.join(filter(None, told))}", *[f": {text}"] * bool(text), ""]
    return lines


def _type(of: dict[str, Any]) -> str:
    """Return what a key may hold, in words."""
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if values := of.get("enum", [of["const"]] if "const" in of else []):
        return " or ".join(f"`{value}`" for value in values)
    if several := of.get("anyOf") or of.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, several)))
    if of.get("type") == "array":
        return f"list of {_type(of['items'])}" if of.get("items") else "list"
    if of.get("type") == "object":
        values = [of.get("additionalProperties"), *of.get("patternProperties", {}).values()]
        return "names, each with " + " or ".join(_type(v) for v in values if isinstance(v, dict))
    limits = [f" {sign} {of[key]:g}" for key, sign in _SIGNS.items() if key in of]
    return _WORDS.get(of.get("type", ""), of.get("type", "anything")) + "".join(limits)


def _default(of: dict[str, Any]) -> str:
    value = of.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}` if not given"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("settings", Settings)
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
