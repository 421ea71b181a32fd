"""Every setting of the config at the edges of what its schema allows, and beyond them."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

from inputs.acquired import simulated
from inputs.config_files import FULL, finite
from inputs.trial import Given, Trial, kind, whole

Schema = dict[str, Any]


@cache
def _schema() -> Schema:
    from pipeline.config.schema import config_schema

    return config_schema()


def _resolved(node: Schema) -> Schema:
    if "$ref" in node:
        return _schema()["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def edges(node: Schema) -> Iterator[Any]:
    """Yield values at and just beyond the limits that a schema states."""
    node = _resolved(node)
    for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from edges(option)
    yield from node.get("enum", ())
    if "const" in node:
        yield node["const"]
    step: float = 1 if node.get("type") == "integer" else 1e-9
    for limit in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if limit in node:
            yield from (node[limit], node[limit] - step, node[limit] + step)
    match node.get("type"):
        case "integer":
            yield from (0, 1, 2, 7, 10**5)
        case "number":
            yield from (0.0, 1e-6, 1.0, 100.0, 1e12)
        case "boolean":
            yield from (True, False)
        case "array":
            entries = [*edges(node.get("items") or next(iter(node.get("prefixItems", ())), {}))]
            yield from ([entry] * length for entry in entries for length in (1, 2, 3))
        case "null":
            yield None


def settings(node: Schema, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Yield the path and the schema of each setting of a mapping of settings."""
    for name, entry in _resolved(node).get("properties", {}).items():
        options = [_resolved(option) for option in (entry, *entry.get("anyOf", ()))]
        inner = [option for option in options if "properties" in option]
        for option in inner:
            yield from settings(option, (*at, name))
        if not inner:
            yield (*at, name), entry


def _put(tree: dict[str, Any], at: tuple[str, ...], value: Any) -> None:
    for key in at[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[at[-1]] = value


def _trial(made: Given, about: str) -> Trial:
    made.write()
    named = ("config.yaml", "scan", "table.tsv", "NUFFT", "device", "weights_file", "tuning")
    return Trial(whole("measure"), wrong=finite, named=named, about=about)


@kind("edge: setting", 80)
def general(chance: Random) -> Trial:
    groups = ("memory", "compute", "nufft", "calibration", "output", "measure")
    made = simulated()
    made.config |= {name: dict(FULL[name]) for name in groups}
    at, node = chance.choice([found for found in settings(_schema()) if found[0][0] in groups])
    value = chance.choice([*edges(node)] or [None])
    _put(made.config, at, value)
    return _trial(made, f"{'.'.join(at)} = {value!r}")


@kind("edge: algorithm", 120)
def algorithm(chance: Random) -> Trial:
    """One or two settings of an algorithm, each at an edge."""
    from pipeline.algorithms.registry import ALGORITHMS, settings_class

    mri = [name for name in ALGORITHMS if "mri" in settings_class(name).kinds]
    name = chance.choice([one for one in mri if one != "unrolled"])
    node = {"$ref": settings_class(name).__name__}
    made = simulated(frames=chance.choice([1, 2]))
    chosen: dict[str, Any] = {"algorithm": name}
    if name not in ("gridding", "omp"):
        chosen["iterations"] = 2
    if name == "omp":
        chosen["points"] = 3
    options = [found for found in settings(node) if found[0] != ("algorithm",)]
    for at, entry in chance.sample(options, chance.choice([1, 1, 2])):
        values = [value for value in edges(entry) if not _endless(at, value)]
        _put(chosen, at, chance.choice(values or [None]))
    made.config["reconstructions"] = {"cg": chosen}
    return _trial(made, f"{chosen}")


def _endless(at: tuple[str, ...], value: Any) -> bool:
    """Say whether a value only asks for patience."""
    counts = at[-1] in ("iterations", "inner_iterations", "points", "rounds")
    return counts and isinstance(value, int) and value > 100


@kind("edge: source", 60)
def source(chance: Random) -> Trial:
    made = simulated()
    at, entry = chance.choice([*settings({"$ref": "SourceSettings"})])
    value = chance.choice([*edges(entry)] or ["x"])
    _put(made.config["sources"]["scan"], at, value)
    return _trial(made, f"{'.'.join(at)} = {value!r}")
