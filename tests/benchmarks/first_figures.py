"""All figures of a GPU by one command, in the order in which they are wanted.

    make bench-gpu
    python tests/benchmarks/run.py gpu [--budget SECONDS] [--only nufft,normal] [--from radar]

Each step is a process with a time limit. What it measures is appended at once to ``figures.jsonl``
in ``--output``, beside the log of each step, and a step that ended is not taken again by the next
call; ``--only`` takes it again. At the end all is written to ``figures.md``, with what was not
reached. ``--device cpu --miniature`` tries every step in small.
"""

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.engine.leases import device_handle, driver, visible_devices

ROOT = Path(__file__).parents[2]
_MARK = "pytest.mark.gpu"
_STREAMS = [
    *("tests/unit/engine/test_stream.py", "tests/unit/engine/test_series_on_host.py"),
    *("tests/unit/rf/test_pair_streaming.py", "tests/unit/stages/test_reconstruct.py"),
]
_FAILED = re.compile(r"^(\S+::.*) (FAILED|ERROR)\b")
_COUNTS = re.compile(r"^=+ (.*\b(?:passed|failed|skipped|error).*) in [0-9.]+s")


@dataclass(frozen=True)
class Step:
    """One process, what it needs besides torch, and where its figures come from.

    Those are lines of JSON, or of pytest, that it prints; or rows of the ``table`` that it writes.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    """Seconds after which it is stopped."""
    needs: tuple[str, ...] = ()
    table: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Return the packages that it needs and this machine lacks."""
        return [name for name in self.needs if find_spec(name) is None]


def steps(device: str, small: bool, output: Path) -> list[Step]:
    """Return all steps, in their order."""
    zarr = ("zarr", "pydantic", "scipy", "h5py", "psutil")
    tests = ("pytest", "pytest_timeout", "hypothesis", "dask", *zarr)
    workflow = ("snakemake", "dask", "nibabel", "pyarrow", "matplotlib", "skimage", *zarr)
    on = ("--device", device)
    run = "tests/benchmarks/run.py"

    def figures(name: str, limit: float, needs: tuple[str, ...] = zarr) -> Step:
        command = ("-m", "benchmarks.device_figures", name, *on, *["--miniature"] * small)
        return Step(name, command, limit, needs)

    def tested(name: str, limit: float, files: list[str], *options: str, **how: str) -> Step:
        command = ("-m", "pytest", "-v", "-p", "no:cacheprovider", *options, *files)
        return Step(name, command, limit, tests, environment=how)

    def memory(name: str, limit: float, *words: str) -> Step:
        table = str(output / f"{name}.csv")
        command = ("tests/benchmarks/memory_contract.py", *on, "--output", table, *words)
        return Step(name, command, limit, zarr, table=table)

    def compared(name: str, limit: float, cases: str, operations: str) -> Step:
        table = str(output / f"{name}.csv")
        command = (run, "--cases", cases, *on, "--output", table, "--operations", operations)
        command += ("--limit", "60", "--seconds", "1")
        command += ("--quick", "--implementations", "kronufft,torchkbnufft") if small else ()
        return Step(name, command, limit, (*zarr, "finufft", "typer", "rich"), table=table)

    def of_rf(name: str, limit: float, *options: str) -> Step:
        table = str(output / f"{name}.csv")
        return Step(name, (run, name, *on, "--output", table, *options), limit, zarr, table=table)

    sanitizer = {"TORCH_CUDA_SANITIZER": "1"} if device == "cuda" else {}
    stages = ["tests/unit/stages/test_shards.py"] if small else ["tests/unit/stages"]
    marked = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests/unit").rglob("test_*.py")
        if _MARK in path.read_text()
    )
    radar = ("--quick", "--cases", "2d-64") if small else ("--seconds", "0.2")
    back_projection = ("--size", "64", "--pulses", "32", "--repeats", "1") if small else ()
    memories = (
        [memory("memory", 120, "2d, gridding")]
        if small
        else [
            memory("memory-2d", 150, "2d,"),
            memory("memory-3d", 240, "3d,"),
            memory("memory-long", 90, "3d long, limit"),
            memory("memory-large", 90, "3d large, cg"),
        ]
    )
    return [
        figures("rates", 90),
        figures("libraries", 60),
        tested("tests", 300, marked[:2] if small else marked, "-m", "gpu"),
        *memories,
        figures("out-of-memory", 150),
        figures("cg-sense", 120),
        figures("normal", 90),
        figures("nufft", 240),
        compared("series", 200, "radial-2d" + ",radial-2d-series" * (not small), "cg-sense"),
        compared("volume", 300, "kooshball-3d", "normal" + ",cg-sense" * (not small)),
        figures("streamed", 420),
        of_rf("radar", 150, *radar),
        of_rf("back-projection", 120, *back_projection),
        figures("end-to-end", 420, workflow),
        figures("profile", 90),
        tested("sanitizer", 120, _STREAMS, "-m", "gpu", **sanitizer),
        tested("stages", 400, stages, "-m", "not slow and not gpu", KRONUFFT_TEST_DEVICE=device),
    ]


class Record:
    """The figures taken so far, a line each, and how each step ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = []
        for line in lines:
            with suppress(ValueError):  # the last line of a run that was killed
                self.rows.append(json.loads(line))

    def add(self, step: str, **row: Any) -> None:
        """Append a figure."""
        self.rows.append({"step": step, **row})
        with self.path.open("a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")

    def of(self, step: str) -> list[dict[str, Any]]:
        """Return the figures of the last time that a step was taken."""
        rows = [row for row in self.rows if row["step"] == step]
        starts = [index for index, row in enumerate(rows) if row.get("status") == "begun"]
        return rows[starts[-1] :] if starts else rows

    def status(self, step: str) -> str:
        """Return how a step ended the last time."""
        return next(
            (row["status"] for row in self.of(step)[::-1] if "status" in row), "not reached"
        )


def clocks() -> dict[str, int]:
    """Return the clocks of the device [MHz], its temperature and what it draws."""
    with driver() as nvml:
        if nvml is not None and visible_devices():
            device = device_handle(nvml, visible_devices()[0])
            return {
                "sm_mhz": nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
                "memory_mhz": nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM),
                "celsius": nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
            }
    return {}


def printed(log: str) -> Iterator[dict[str, Any]]:
    """Yield the figures in what a step has printed so far, of whole lines."""
    for line in log.splitlines(keepends=True):
        if line.startswith('{"') and line.endswith("}\n"):
            yield json.loads(line)
        elif found := _FAILED.match(line):
            yield {"test": found[1], "note": found[2]}
        elif found := _COUNTS.match(line):
            yield {"tests": found[1]}


def figures_of(step: Step, log: Path, *, ended: bool) -> list[dict[str, Any]]:
    """Return all that a step has measured until now; without a row that it may be writing."""
    if step.table is None:
        return list(printed(log.read_text(errors="replace")))
    table = Path(step.table)
    if not table.exists():
        return []
    with table.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    return rows if ended else rows[:-1]


def take(step: Step, limit: float, record: Record, folder: Path) -> str:
    """Run a step and record its figures as they come; return how it ended."""
    if missing := step.missing():
        record.add(step.name, status="missing", packages=missing)
        return f"missing: {', '.join(missing)}"
    paths = [ROOT / "tests", ROOT, ROOT / "build/peers", os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, filter(None, paths)))}
    if step.table is not None:
        Path(step.table).unlink(missing_ok=True)
    log, taken, begun = folder / f"{step.name}.log", 0, time.monotonic()
    record.add(step.name, status="begun", **clocks())

    def drain(*, ended: bool) -> None:
        nonlocal taken
        for row in figures_of(step, log, ended=ended)[taken:]:
            record.add(step.name, **row)
            taken += 1

    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *step.command],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment, **step.environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it started can be stopped with it
        )
        try:
            while process.poll() is None and time.monotonic() - begun < limit:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                drain(ended=False)
        finally:
            if late := process.poll() is None:
                stop(process)
            drain(ended=True)
    too_late = "over time" if limit == step.limit else "cut short"
    status = too_late if late else "failed" if process.returncode else "done"
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1][:200]
    note = {"note": last} if status == "failed" else {}
    record.add(
        step.name, status=status, took=round(time.monotonic() - begun, 1), **clocks(), **note
    )
    return f"{status}, {taken} figures"


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a step, which then ends what it started in sessions of their own; or end it."""
    for kind in (signal.SIGINT, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, kind)
            process.wait(5)
            return


def told(record: Record, names: list[str]) -> str:
    """Return all figures as Markdown: a table for each step, and what was not reached."""
    card = next((row for row in record.of("rates") if "card" in row), {})
    lines = [f"Card and versions: {', '.join(f'{k} {v}' for k, v in card.items() if k != 'step')}."]
    for name in names:
        rows = record.of(name)
        alike: dict[tuple[str, ...], list[list[str]]] = {}
        for row in rows:
            if "status" not in row and "card" not in row:
                cells = {key: shown(value) for key, value in row.items() if key != "step"}
                alike.setdefault(tuple(cells), []).append(list(cells.values()))
        if alike:
            lines += ["", f"### {name}"]
            clock = [
                f"{row['sm_mhz']} MHz at {row['celsius']} °C" for row in rows if "sm_mhz" in row
            ]
            lines += ["", f"Multiprocessors from {clock[0]} to {clock[-1]}."] if clock else []
        for columns, table in alike.items():
            head = [columns, ["---"] * len(columns)]
            lines += ["", *(f"| {' | '.join(cells)} |" for cells in [*head, *table])]
    lines += ["", "### Not reached", ""]
    for name in names:
        status = record.status(name)
        if status != "done":
            packages = [row["packages"] for row in record.of(name) if "packages" in row]
            notes = [row["note"] for row in record.of(name) if "status" in row and "note" in row]
            why = "; ".join([status, *(", ".join(each) for each in packages), *notes])
            lines.append(f"- {name}: {why}")
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """Return a cell of a table, with three digits of a number."""
    with suppress(TypeError, ValueError):
        number = float(value)
        return f"{number:.0f}" if number.is_integer() else f"{number:.3g}"
    return "" if value is None else str(value).replace("|", "/")


def main() -> None:
    """Take what is not taken yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--miniature", action="store_true", help="every step in small")
    parser.add_argument("--only", help="steps to take, also again, separated by commas")
    parser.add_argument("--from", dest="first", help="the step to begin with")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds for all")
    parser.add_argument("--output", type=Path, default=ROOT / "results/first-figures")
    parser.add_argument("--list", action="store_true", help="print the steps, and take none")
    chosen = parser.parse_args()
    output = chosen.output.resolve()
    every = steps(chosen.device, chosen.miniature, output)
    names = [step.name for step in every]
    only = chosen.only.split(",") if chosen.only else names
    for name in (*only, *filter(None, [chosen.first])):
        if name not in names:
            parser.error(f"found the step {name!r}, allowed are {', '.join(names)}")
    output.mkdir(parents=True, exist_ok=True)
    record, begun = Record(output / "figures.jsonl"), time.monotonic()
    for step in every[names.index(chosen.first) if chosen.first else 0 :]:
        left = chosen.budget - (time.monotonic() - begun)
        ended = record.status(step.name) in ("done", "failed", "over time") and not chosen.only
        if step.name not in only or ended:
            continue
        if chosen.list:
            sys.stdout.write(f"{step.name}: {step.limit:.0f} s, {' '.join(step.command)}\n")
            continue
        if left < step.limit / 4:
            sys.stdout.write(f"{step.name}: not begun, {left:.0f} s are left\n")
            break
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {step.name}, at most {step.limit:.0f} s: ")
        sys.stdout.flush()
        status = take(step, min(step.limit, left), record, output)
        sys.stdout.write(f"{status}, {time.monotonic() - begun:.0f} s in all\n")
        (output / "figures.md").write_text(told(record, names))
    sys.stdout.write(f"Figures so far: {output / 'figures.md'}\n")


if __name__ == "__main__":
    main()
