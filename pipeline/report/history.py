"""Where an image comes from, for a person to read in a terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.errors import DataError
from pipeline.storage.provenance import PROVENANCE, REMAKE, commands_of
from pipeline.storage.publish import read_json
from pipeline.storage.sealed import again

_MARKER = "image.json"


def show_history(image: Path, *, commands: bool = False) -> None:
    """Print the provenance of an image, and if wanted the command of every job.

    The image is named by ``image.zarr``, its marker, or the folder that holds both.

    Raises
    ------
    DataError
        If there is no image, or its provenance is missing or damaged.
    """
    folder = image if (image / _MARKER).is_file() else image.parent
    if not (folder / _MARKER).is_file():
        raise DataError(f"{image}: no image there; give results/<dataset>/<reconstruction>")
    history = read_json(folder / PROVENANCE)
    stored = read_json(folder / _MARKER)
    console = Console(soft_wrap=True, highlight=False)
    shape = " x ".join(map(str, stored["arrays"]["image"]["shape"]))
    console.print(
        f"[bold]{history['dataset']} {history['reconstruction']}[/]: {shape} ({_axes(history)}), "
        f"{stored['arrays']['image']['dtype']}, fingerprint {stored['fingerprint']}"
    )
    console.print(_stages(history["stages"]))
    sections = {
        "Settings": _settings(history["stages"]),
        "Read": _inputs(history["stages"]),
        "Versions": _versions(history["stages"]),
        "To make it again": _again(history, folder),
    }
    if commands:
        sections["Job by job"] = iter(commands_of(history))
    for title, lines in sections.items():
        console.print(f"[bold]{title}[/]")
        for line in lines:
            console.print(f"  {line}", markup=False)


def _axes(history: Mapping[str, Any]) -> str:
    """Return the axes of the images, of which the first may be the coefficients of a series."""
    settings = _listed(history["stages"]["reconstruct"].get("settings", {}))[0]
    series = settings.get("reconstruction", {}).get("series") or {}
    first = "coefficient" if series.get("images") == "coefficients" else "frame"
    return f"{first}, z, y, x"


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("stage", "jobs", "from", "to (UTC)", "device", "host", "code", box=None)
    for name, stage in stages.items():
        platforms = _listed(stage.get("platform", []))
        table.add_row(
            name,
            str(stage["jobs"]),
            *(stage[key][:16].replace("T", " ") for key in ("started", "ended")),
            _joined(stage.get("device", "-")),
            _joined([platform["host"] for platform in platforms]),
            _joined(stage.get("code", "-")),
        )
    return table


def _settings(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, stage in stages.items():
        for settings in _listed(stage.get("settings", [])):
            for key, value in _leaves(settings):
                yield f"{name} {key} = {value}"


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting that is not left out, under its dotted name."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def _inputs(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    for name, stage in stages.items():
        for file, checksum in stage["inputs"].items():
            # The blocks are too many to list; the plan names them.
            if file not in seen and not file.endswith(".zarr.zip"):
                seen.add(file)
                yield f"{name} {file} {checksum}"


def _versions(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for versions in _listed(stages["merge"]["versions"]):
        yield ", ".join(f"{name} {version}" for name, version in versions.items())


def _again(history: Mapping[str, Any], folder: Path) -> Iterator[str]:
    commit = _listed(history["stages"]["merge"].get("git"))
    if commit and commit[0] is not None:
        found, _, dirty = commit[0].partition("-")
        changed = "  # and the changes that were not committed then" if dirty else ""
        yield f"git checkout {found}{changed}"
    yield again(history.get("run"), "--forceall", folder / _MARKER)
    yield f"or without Snakemake: sh {folder / REMAKE}"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _joined(value: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, _listed(value))))
