"""Where an image comes from, as BIDS tells it.

Stages are activities, each of which used what those before it made; the files that were ingested
are entities.

References
----------
.. [1] BIDS Extension Proposal 28, "Provenance", merged into the specification after version 1.11.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_DIRECTORY = "prov"


def activity(stage: str) -> str:
    """Return the identifier of a stage."""
    return f"bids::{_DIRECTORY}#{stage}"


def provenance_files(provenance: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the JSON of each file in ``prov/``, by its path, from the provenance of an image."""
    stages: Mapping[str, Mapping[str, Any]] = provenance["stages"]
    sources = sorted(stages.get("ingest", {}).get("inputs", {}).items())
    files: dict[str, dict[str, Any]] = {
        "act": {"Activities": list(_activities(provenance, len(sources)))},
        "soft": {"Software": _software(stages["merge"])},
        "env": {"Environments": [_environment(stages["merge"])]},
    }
    if sources:
        entities = [_entity(*source) for source in enumerate(sources, start=1)]
        files["ent"] = {"ProvEntities": entities}
    return {f"{_DIRECTORY}/prov-kronufft_{name}.json": content for name, content in files.items()}


def _activities(provenance: Mapping[str, Any], sources: int) -> Iterator[dict[str, Any]]:
    before = [activity(f"source-{number}") for number in range(1, sources + 1)]
    for stage, account in provenance["stages"].items():
        commands = [job["command"] for job in provenance["jobs"] if job["stage"] == stage]
        several = f" ({len(commands)} jobs; the command is that of the first)"
        yield {
            "Id": activity(stage),
            "Label": stage + (several if len(commands) > 1 else ""),
            "Command": commands[0],
            "AssociatedWith": activity("kronufft"),
            "Used": [activity("environment"), *before],
            "StartedAtTime": account["started"],
            "EndedAtTime": account["ended"],
        }
        before = [activity(stage)]


def _software(stage: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"Id": activity(name), "Label": name, "Version": version}
        for name, version in _first(stage["versions"]).items()
    ]


def _environment(stage: Mapping[str, Any]) -> dict[str, Any]:
    platform = _first(stage["platform"])
    return {
        "Id": activity("environment"),
        "Label": f"Python {platform['python']} on {platform['machine']}",
        "OperatingSystem": platform["system"],
    }


def _entity(number: int, source: tuple[str, str]) -> dict[str, Any]:
    file, checksum = source
    kind, _, digest = checksum.rpartition(":")
    entity = {"Id": activity(f"source-{number}"), "Label": Path(file).name, "AtLocation": file}
    return {**entity, "Digest": {kind or "fingerprint": digest}}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value
