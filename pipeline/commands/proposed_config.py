"""A proposal as a config file and a table, with a comment on each line that has a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pipeline.config.datasets import DATASET_COLUMNS
from pipeline.formats.proposal import Proposal


def config_text(
    proposal: Proposal,
    dataset: str,
    reconstructions: Mapping[str, Mapping[str, Any]],
    *,
    table: str,
    data_root: str,
    schema: str,
    heading: str,
) -> str:
    """Return the config as YAML."""
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"# {heading}",
        "# What is marked GUESS is not in the data: look at it before you trust an image.",
        "",
        f"datasets: {_flow(table)}",
        f"data_root: {_flow(data_root)}",
        "",
    ]
    if proposal.settings:
        lines += ["sources:", f"  {dataset}:", *_block(proposal.settings, proposal, indent=4), ""]
    else:
        lines += [*_block({}, proposal, indent=0), ""]
    lines.append("reconstructions:")
    for name, settings in reconstructions.items():
        lines.append(f"  {name}: {_flow(dict(settings))}")
    return "\n".join(lines) + "\n"


def table_text(proposal: Proposal, dataset: str, reconstructions: Mapping[str, Any]) -> str:
    """Return the table of one dataset."""
    row = (
        *(dataset, proposal.kind, proposal.format, proposal.source, ",".join(reconstructions)),
    )  # fmt: skip
    return "\t".join(DATASET_COLUMNS) + "\n" + "\t".join(row) + "\n"


def _block(
    settings: Mapping[str, Any], proposal: Proposal, indent: int, above: str = ""
) -> Iterator[str]:
    blank = " " * indent
    written = set()
    for key, value in settings.items():
        where = f"{above}{key}"
        written.add(where)
        if where in proposal.reasons:
            mark = "GUESS: " if where in proposal.guesses else ""
            yield f"{blank}# {mark}{proposal.reasons[where]}"
        if isinstance(value, Mapping):
            yield f"{blank}{key}:"
            yield from _block(value, proposal, indent + 2, f"{where}.")
        else:
            yield f"{blank}{key}: {_flow(value)}"
    for where, reason in proposal.reasons.items():  # of what stands not there
        if where.rpartition(".")[0] == above.rstrip(".") and where not in written:
            mark = "GUESS: " if where in proposal.guesses else ""
            yield f"{blank}# {where.rpartition('.')[2]}: {mark}{reason}"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()
