"""What a trial is, and the list of all of them.

A trial is an input as a user may give it: files in a folder, and the commands that read them. It is
made by a function of a random generator, so that each seed makes another one of its kind.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

May = Literal["accepted", "refused", "either"]
Commands = Callable[[], Iterator[list[str]]]


@dataclass(frozen=True)
class Trial:
    """An input that stands in the current folder.

    Attributes
    ----------
    commands
        Arguments of `kronufft`, one command after the other, as long as they succeed.
    may
        What may become of it.
    named
        Words of which a refusal must hold one: what is at fault.
    wrong
        Says what is wrong with the result of an accepted input, or None.
    about
        What was changed, for a person.
    said_on
        Where a refusal is said: `verify` reports what is damaged on standard output.
    """

    commands: Commands
    may: May = "either"
    named: tuple[str, ...] = ()
    wrong: Callable[[], str | None] | None = None
    about: str = ""
    said_on: Literal["stderr", "stdout"] = "stderr"


Maker = Callable[[random.Random], Trial]


@dataclass(frozen=True)
class Kind:
    """A kind of trials: its name, how often the long form draws from it, and who makes them."""

    name: str
    weight: int
    make: Maker
    base: bool = False
    """Whether it starts from the results of a finished run, in the folder `results`."""


KINDS: dict[str, Kind] = {}


def kind(name: str, weight: int = 8, *, base: bool = False) -> Callable[[Maker], Maker]:
    """Register a function as maker of a kind of trials."""

    def register(make: Maker) -> Maker:
        if name in KINDS:
            raise ValueError(f"two kinds of trials are called {name}")
        KINDS[name] = Kind(name, weight, make, base)
        return make

    return register


def kinds(
    prefix: str, values: Iterable[Any], weight: int = 2, *, base: bool = False
) -> Callable[[Any], Any]:
    """Register one kind for each of ``values``, which the maker takes as a second argument."""

    def register(make: Callable[[random.Random, Any], Trial]) -> Any:
        for value in values:
            entry = kind(f"{prefix.removesuffix(':')}: {value}", weight, base=base)
            entry(lambda chance, value=value: make(chance, value))
        return make

    return register


@dataclass
class Given:
    """The files of a user: a config, a table and a source.

    Attributes
    ----------
    config
        Content of the config file, without ``datasets``.
    row
        Of the table: dataset, kind, format, source, reconstruction.
    """

    config: dict[str, Any]
    row: dict[str, str]
    extra: list[dict[str, str]] = field(default_factory=list)

    COLUMNS = ("dataset", "kind", "format", "source", "reconstruction")

    def table(self) -> str:
        """Return the text of the table."""
        rows = [self.COLUMNS, *([row[c] for c in self.COLUMNS] for row in (self.row, *self.extra))]
        return "".join("\t".join(cells) + "\n" for cells in rows)

    def write(self, text: str | None = None) -> None:
        """Write config and table into the current folder; JSON is YAML too."""
        content = {"datasets": "table.tsv", **self.config}
        Path("config.yaml").write_text(json.dumps(content, indent=1) if text is None else text)
        Path("table.tsv").write_bytes(self.table().encode(errors="surrogatepass"))


def check() -> Iterator[list[str]]:
    """Check the config."""
    yield ["check", "config.yaml"]


def whole(until: str = "report") -> Commands:
    """Return the commands of a whole run, as the workflow calls them."""

    def commands() -> Iterator[list[str]]:
        yield from check()
        yield from _stages(until)

    return commands


def stages(*names: str) -> Commands:
    """Return those commands of a whole run that are of some stages."""

    def commands() -> Iterator[list[str]]:
        yield from (told for told in _stages("report") if told[0] in names)

    return commands


def ingested() -> Iterator[list[str]]:
    """Check the config and ingest."""
    return whole("ingest")()


def _stages(until: str) -> Iterator[list[str]]:
    """Yield the commands that the workflow's rules would call."""
    from pipeline.config.base import canonical_json
    from pipeline.config.datasets import find_source_files, load_datasets, stage_settings
    from pipeline.config.file import read_config
    from pipeline.engine.table import read_plan

    path = Path("config.yaml")
    config = read_config(path, path)
    datasets = load_datasets(Path(config.datasets), config)
    find_source_files(config, datasets)
    limits = ["--host-mb", str(config.memory.host_mb)]
    job = ["--device", config.compute.device, "--threads", "1"]
    page: list[str] = []
    for name, dataset in datasets.items():
        results = f"results/{name}"

        def told(stage: str, *more: str, at: str = results, receipt: str = "", chosen: str = "",
                 dataset: Any = dataset) -> list[str]:  # fmt: skip
            text = canonical_json(stage_settings(config, dataset, stage, chosen or None))
            own = ["--reconstruction", chosen] if chosen else []
            receipt = f"{at}/receipts/{receipt or stage}.json"
            return [stage, "--settings", text, "--dataset", dataset.dataset, *own, *more,
                    "--receipt", receipt]  # fmt: skip

        raw = ["--raw", f"{results}/raw.json"]
        both = [*raw, "--calibration", f"{results}/calibration.json"]
        yield told("ingest", *raw)
        if until == "ingest":
            continue
        yield told("calibrate", *both, *job, *limits, "--device-mb", str(config.memory.device_mb))
        if until == "calibrate":
            continue
        page += ["--raw", f"{results}/raw.json", "--receipt", f"{results}/receipts/ingest.json",
                 "--receipt", f"{results}/receipts/calibrate.json"]  # fmt: skip
        for chosen in dataset.reconstructions:
            at = f"{results}/{chosen}"
            named: dict[str, Any] = {"at": at, "chosen": chosen}
            plan = ["--plan", f"{at}/plan.tsv"]
            yield told("plan", *both, *plan, *job, **named)
            if until == "plan":
                continue
            table = read_plan(Path(at) / "plan.tsv")
            for block in table.blocks:
                for row in table.shards(block):
                    share = f"{at}/shares/{block}-{row.shard}.zarr.zip"
                    yield told("accumulate", *both, *plan, "--block", block, "--shard", row.shard,
                               "--share", share, *job, **named,
                               receipt=f"accumulate-{block}-{row.shard}")  # fmt: skip
                image = f"{at}/blocks/{block}.zarr.zip"
                yield told("reconstruct", *both, *plan, "--block", block, "--shares",
                           f"{at}/shares", "--image", image, *job, **named,
                           receipt=f"reconstruct-{block}")  # fmt: skip
            image = ["--image", f"{at}/image.json"]
            yield told("merge", *raw, *plan, *image, "--blocks", f"{at}/blocks", *limits, **named)
            if until == "merge":
                continue
            yield told("measure", *raw, *image, *plan, "--receipts", f"{at}/receipts", "--metrics",
                       f"{at}/metrics.csv", *limits, **named)  # fmt: skip
            page += [*image, "--metrics", f"{at}/metrics.csv", "--receipt",
                     f"{at}/receipts/measure.json"]  # fmt: skip
    if until == "report":
        yield ["report", *page, "--report", "results/report.html", "--table", "results/metrics.csv"]


def loop(path: str) -> None:
    """Make a symbolic link to itself."""
    Path(path).symlink_to(path)
