"""One trial: a process forked from one that has imported everything, and how it ended."""

import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inputs.trial import Kind, whole

SECONDS, MEMORY, FILES = 20.0, 1.5e9, 200e6
PATIENCE = 60.0
"""Seconds on the clock: a busy machine is slow, and what waits for ever takes no time."""
CASES = (
    *("good", "arrays", "bart", "scanners", "stores", "rf", "config_files", "paths", "results"),
    *("variants", "edges"),
)
HEAVY = (
    *("pipeline.cli", "torch", "zarr", "h5py", "scipy.io", "scipy.special", "scipy.ndimage"),
    *("pandas", "matplotlib.figure", "nibabel", "skimage.metrics", "dask.array", "finufft"),
    *("pyarrow.parquet", "jinja2", "ome_zarr_models.v05", "pipeline.commands.estimate"),
    *(f"pipeline.stages.{stage}" for stage in (
        "ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge", "measure", "report",
    )),
)  # fmt: skip
LONGEST_LINE = 2000


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes
    ----------
    fault
        What is wrong with how it ended; empty if nothing is.
    where
        Of a traceback: file and line of the package.
    line
        The line of error that a user sees.
    """

    kind: str
    seed: int
    fault: str
    where: str
    line: str
    about: str
    seconds: float
    memory: float


def warm_up() -> None:
    """Import what the commands need, but start none of it: threads do not survive a fork."""
    for name in HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    for name in CASES:
        with suppress(ModuleNotFoundError):
            importlib.import_module(f"inputs.{name}")


def run(trial: Kind, seed: int, base: Path | None = None) -> Outcome:
    """Make a trial, run its commands, and judge how they end."""
    folder = Path(tempfile.mkdtemp(prefix="kronufft-input-"))
    try:
        (folder / "tmp").mkdir()
        if trial.base and base is not None:
            shutil.copytree(base, folder / "given")
        else:
            (folder / "given").mkdir()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _child(trial, seed, folder, write)
        os.close(write)
        with os.fdopen(read) as made:
            made.readline()  # when the trial stands, the clock starts
        return _judge(trial, seed, folder, *_watch(pid, folder / "tmp"))
    finally:
        for where, _, _ in os.walk(folder):
            os.chmod(where, 0o700)  # noqa: PTH101
        shutil.rmtree(folder, ignore_errors=True)


def _child(trial: Kind, seed: int, folder: Path, ready: int) -> None:
    """Be the process of a trial; never returns."""
    status = 70
    try:
        os.setsid()
        os.chdir(folder / "given")
        for name in ("stdout", "stderr"):
            file = os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(file, 1 if name == "stdout" else 2)
        os.environ["TMPDIR"] = str(folder / "tmp")
        tempfile.tempdir = None
        note: dict[str, Any] = {}
        status = _run_commands(trial, seed, folder, ready, note)
        (folder / "note.json").write_text(json.dumps(note))
    except BaseException:
        (folder / "broken").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run_commands(trial: Kind, seed: int, folder: Path, ready: int, note: dict[str, Any]) -> int:
    # The name of the kind counts: its trials stay the same whatever others there are.
    made = trial.make(random.Random(f"{trial.name} {seed}"))
    note.update(may=made.may, named=made.named, about=made.about, on=made.said_on)
    (folder / "note.json").write_text(json.dumps(note))
    before = set(_files(folder / "given"))
    # Far more than is allowed, so that nothing starves the machine before it is noticed.
    resource.setrlimit(resource.RLIMIT_AS, (_virtual_bytes() + 2**32,) * 2)
    os.write(ready, b"\n")
    os.close(ready)
    status = 0
    try:
        for arguments in made.commands():
            note["command"] = arguments[0]
            status = _command(arguments)
            if status:
                break
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
    except Exception as error:
        status = 1
        from pipeline.errors import KronufftError

        if isinstance(error, KronufftError):  # as the workflow says what its config lacks
            sys.stderr.write(f"kronufft: {error}\n")
        else:
            note["crash"] = f"{type(error).__name__}: {error}"[:300]
            note["where"] = _place(error)
            traceback.print_exc()
    if status == 0 and made.wrong is not None:
        note["wrong"] = made.wrong()
    if status == 0 and made.may == "accepted":
        note["wrong"] = note.get("wrong") or _warned()
    note["left"] = sorted(_left(folder, before)) if status else []
    return status


def _warned() -> str | None:
    """Return what jobs have warned of: good inputs give no reason."""
    from pipeline.storage.receipts import warnings_of

    receipts = (json.loads(path.read_text()) for path in Path("results").rglob("receipts/*.json"))
    return "; ".join(warnings_of(receipts)) or None


def _command(arguments: list[str]) -> int:
    from pipeline.cli import main

    sys.argv = ["kronufft", *arguments]
    try:
        main()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    return 0


def _place(error: BaseException) -> str:
    """Return file and line of the package in which an exception was raised or called for."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/pipeline/" in f.filename]
    if not frames:
        return "tests"
    return f"pipeline/{frames[-1].filename.rpartition('/pipeline/')[2]}:{frames[-1].lineno}"


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _left(folder: Path, before: set[Path]) -> Iterator[str]:
    """Yield what a refused command may not leave: half a result, or a temporary file."""
    for path in _files(folder / "given"):
        if path not in before and ".partial" in str(path):
            yield str(path.relative_to(folder))
    yield from (str(path.relative_to(folder)) for path in _files(folder / "tmp"))
    results = folder / "given/results"
    for marker in ("raw", "calibration", "image"):
        for store in results.rglob(f"{marker}.zarr") if results.is_dir() else ():
            if not store.with_suffix(".json").exists() and store / "zarr.json" not in before:
                yield str(store.relative_to(folder))


def _watch(pid: int, temporary: Path) -> tuple[int, str, float, float]:
    """Wait for a process; return its status, the limit it broke, seconds and bytes."""
    start, peak, worked, broken = time.monotonic(), 0.0, 0.0, ""
    page, ticks = resource.getpagesize(), os.sysconf("SC_CLK_TCK")
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            break
        with suppress(OSError, ValueError, IndexError):
            peak = max(peak, int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page)
            worked = sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15])) / ticks
        written = 0
        for path in _files(temporary):
            with suppress(OSError):
                written += path.stat().st_size
        if worked > SECONDS or seconds > PATIENCE:
            broken = "hangs"
        elif peak > MEMORY:
            broken = "memory"
        elif written > FILES:
            broken = "temporary files"
        if broken:
            os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(0.002 if seconds < 0.5 else 0.01)
    try:
        os.killpg(pid, signal.SIGKILL)
        broken = broken or "leaves a process"
    except ProcessLookupError:
        pass
    return status, broken, seconds, peak


def _judge(
    trial: Kind, seed: int, folder: Path, status: int, broken: str, seconds: float, memory: float
) -> Outcome:
    if (folder / "broken").exists():
        text = (folder / "broken").read_text()
        return Outcome(
            trial.name, seed, "the trial itself failed", "tests", text, "", seconds, memory
        )
    note = json.loads((folder / "note.json").read_text())
    said = (folder / note["on"]).read_text(errors="replace").strip().splitlines()
    start = next((n for n, line in enumerate(said) if line.startswith("kronufft: ")), len(said))
    line = "\n".join(said[start:]) if note["on"] == "stderr" else "\n".join(said[:1])
    fault = broken
    if not fault and os.WIFSIGNALED(status):
        fault = f"signal {os.WTERMSIG(status)}"
    elif not fault and "crash" in note:
        fault = f"traceback: {note['crash'].partition(':')[0]}"
        line = note["crash"]
    elif not fault and "kronufft: internal error" in line:
        fault = f"traceback: {line.split(': ')[2]}"
    elif not fault and status:
        fault = _fault_of_refusal(note, said, line)
    elif not fault and note["may"] == "refused":
        fault = "accepted"
    elif not fault and note.get("wrong"):
        fault, line = "wrong result", note["wrong"]
    command = note.get("command", "")
    frames = re.findall(
        r'/(pipeline/\S+)", line (\d+)', (folder / "stderr").read_text(errors="replace")
    )
    where = note.get("where", ":".join(frames[-1]) if frames else "")
    about = f"{command}: {note['about']}" if command else note["about"]
    return Outcome(trial.name, seed, fault, where, line, about, round(seconds, 3), memory)


def _fault_of_refusal(note: dict[str, Any], said: list[str], line: str) -> str:
    if note["may"] == "accepted":
        return "refused"
    if note["left"]:
        return f"leaves {note['left'][0]}"
    if not line:
        return "no line of error" if "Usage:" not in "\n".join(said) else ""
    if "\n" in line:
        return "several lines"
    if len(line) > LONGEST_LINE:
        return "a line too long"
    if note["named"] and not any(word in line for word in note["named"]):
        return "does not say what is at fault"
    if re.search(r"\b(None|nan)Type|object at 0x|[A-Z][A-Za-z]+(Error|Exception)\(", line):
        return "speaks Python"
    return ""


def make_base(folder: Path) -> None:
    """Make a small finished run, in a process of its own."""
    pid = os.fork()
    if pid:
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError((folder / "said").read_text())
        return
    status = 1
    try:
        os.chdir(folder)
        said = os.open("said", os.O_CREAT | os.O_WRONLY)
        os.dup2(said, 1)
        os.dup2(said, 2)
        from inputs.results import give_base

        give_base()
        status = max(_command(arguments) for arguments in whole()())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
