"""Paths that name something else than a file of data: everywhere where a config takes one."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from inputs.acquired import arrays_given, bart_given, given, simulated, write_native
from inputs.trial import Trial, check, ingested, kind, kinds, loop, stages, whole

THINGS = ("nothing", "an empty file", "a folder", "a FIFO", "/dev/zero", "/dev/null",
          "a loop of links", "a link to nothing", "NUL", "4000 characters", "a long name", "empty",
          "a surrogate", "/proc/self/mem", "a socket", "through a file", "some bytes")  # fmt: skip


def make(what: str, chance: Random) -> str:
    """Make what a path is to name, and return the path."""
    match what:
        case "an empty file":
            Path("thing").touch()
        case "a folder":
            Path("thing").mkdir()
        case "a FIFO":
            os.mkfifo("thing")
        case "a loop of links":
            loop("thing")
        case "a link to nothing":
            Path("thing").symlink_to("nowhere")
        case "a socket":
            import socket

            socket.socket(socket.AF_UNIX).bind("thing")
        case "through a file":
            Path("file").touch()
            return "file/thing"
        case "some bytes":
            Path("thing").write_bytes(chance.randbytes(1000))
        case "NUL":
            return "a\x00b"
        case "4000 characters":
            return "a/" * 2000
        case "a long name":
            return "x" * 300
        case "a surrogate":
            return "a\ud800b"
        case "empty":
            return ""
        case _ if what.startswith("/"):
            return what
    return "thing"


def _given(where: str, path: str) -> Any:
    """Return files of a user in which one path is another one."""
    if where.startswith("source of "):
        format_ = where.removeprefix("source of ")
        kind_ = "rf" if format_ in ("gotcha", "fresnel", "rf native", "rf arrays") else "mri"
        made = arrays_given("npz") if format_ == "arrays" else given(format_.removeprefix("rf "),
                                                                     path, kind_)  # fmt: skip
        if kind_ == "rf":
            made.config["sources"]["scan"]["scene"] = {"shape": [8, 8], "spacing": [1.0, 1.0]}
        if format_ == "bart":
            made = bart_given()
        if format_ == "rf arrays":
            made.config["sources"]["scan"]["arrays"] = {
                "y": {"axes": ["pulse", "freq"]}, "frequencies": {"axes": ["freq"]},
                "transmitter": {"axes": ["pulse", "coordinate"]},
            }  # fmt: skip
        made.row["source"] = path
        return made
    if where == "file of arrays":
        made = arrays_given("npy")
        made.config["sources"]["scan"]["arrays"]["kspace"]["file"] = f"../{path}"
    elif where == "file of bart":
        made = bart_given()
        made.config["sources"]["scan"]["bart"]["kspace"] = path
        if path == "thing" and os.path.lexists(path):
            for end in (".cfl", ".hdr"):
                Path(f"{path}{end}").symlink_to(path)
    else:
        made = simulated()
        if where == "nufft.tuning":
            made.config["nufft"] = {"tuning": path}
        elif where == "weights_file":
            made.config["reconstructions"]["cg"] = {"algorithm": "unrolled", "weights_file": path}
        elif where == "data_root":
            made = arrays_given("npz")
            made.config["data_root"] = path
        elif where == "datasets":
            made.config["datasets"] = path
    return made


WHERE = (
    *(f"source of {name}" for name in (
        "arrays", "bart", "native", "gotcha", "fresnel", "rf native", "rf arrays")),
    *("file of arrays", "file of bart", "nufft.tuning", "weights_file", "data_root", "datasets"),
)  # fmt: skip


@kinds("path", [f"{where}: {what}" for where in WHERE for what in THINGS], 1)
def path(chance: Random, name: str) -> Trial:
    where, what = name.split(": ")
    made = _given(where, make(what, chance))
    made.write()
    # An empty file name stands for the folder itself, which may be right.
    may = "either" if (where, what) in (("data_root", "empty"), ("source of bart", "empty"),
                                        ("source of gotcha", "empty")) else "refused"  # fmt: skip
    words = ("scan", "config.yaml", "table.tsv", "thing", "weights_file", "tuning", "/proc", "/dev")
    if where == "datasets":
        words = (*words, what.strip("a "), "xxx", "a/a", ": not readable", "dataset table")
    return Trial(whole("merge"), may, words)


@kinds("config at", THINGS, 1)
def config(chance: Random, what: str) -> Trial:
    place = make(what, chance)

    def commands() -> Any:
        yield ["check", place]

    return Trial(commands, "refused")


@kinds("check passes what is not there", ["source", "data root", "tuning", "network"], 1)
def unchecked(chance: Random, what: str) -> Trial:
    where = {"source": "source of arrays", "data root": "data_root", "tuning": "nufft.tuning",
             "network": "weights_file"}[what]  # fmt: skip
    made = _given(where, "nothing")
    made.write()
    return Trial(check, "refused", ("nothing",))


RESULTS = {
    "a file": "results",
    "a loop of links": "results",
    "a file as the dataset": "results/scan",
    "a loop as the dataset": "results/scan",
    "a folder as the marker": "results/scan/raw.json",
    "a file as the store": "results/scan/raw.zarr",
    "a folder as the receipt": "results/scan/receipts/ingest.json",
    "a FIFO as the marker": "results/scan/raw.json",
    "a FIFO as the receipt": "results/scan/receipts/ingest.json",
    "a file as the unfinished": "results/scan/.raw.json.partial",
    "a full disk": "results",
    "no place to write": "results",
}


@kinds("results are", RESULTS, 2)
def results(chance: Random, what: str) -> Trial:
    """Whatever stands where results go."""
    made = simulated()
    made.write()
    place = Path(RESULTS[what])
    place.parent.mkdir(parents=True, exist_ok=True)
    if "folder" in what:
        place.mkdir()
        (place / "mine").touch()
    elif "loop" in what:
        place.symlink_to(place.name)
    elif "FIFO" in what:
        os.mkfifo(place)
    elif what == "a full disk":
        place.symlink_to("/dev/full")
    elif what == "no place to write":
        place.symlink_to("/proc/self/fdinfo")
    else:
        place.write_text("mine")
    may = "either" if "store" in what or "FIFO" in what else "refused"
    return Trial(ingested, may, ("results",))


@kinds("in a store:", ["a FIFO as a chunk", "a FIFO as metadata", "/dev/zero as a chunk",
                       "a folder as a chunk", "a loop as metadata", "a loop as a folder",
                       "a huge chunk"], 2)  # fmt: skip
def inside(chance: Random, what: str) -> Trial:
    write_native()
    part = "zarr.json" if "metadata" in what else "c/0/0/0/0"
    if what == "a loop as a folder":
        Path("raw.zarr/again").symlink_to(".")
    else:
        place = Path("raw.zarr/kspace", part)
        place.unlink()
        if "FIFO" in what:
            os.mkfifo(place)
        elif "/dev/zero" in what:
            place.symlink_to("/dev/zero")
        elif "folder" in what:
            place.mkdir()
        elif "huge" in what:
            with place.open("wb") as file:
                file.truncate(8 * 10**9)
        else:
            place.symlink_to(place.name)
    made = given("native", "raw.zarr")
    made.write()
    may = "either" if what == "a loop as a folder" else "refused"
    return Trial(ingested, may, ("scan", "raw.zarr"))


def _as_anybody() -> None:
    """Give up root's right to read and write everything; nothing to do for anybody else."""
    import ctypes

    if os.getuid() == 0 and sys.platform == "linux":
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        if ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()):
            raise OSError("the capabilities of root are not to be given up")


def _closed(trial: Trial, path: str, *, only_writing: bool = False) -> Trial:
    """Return a trial before whose commands a path is closed, or only to writing."""
    place = Path(path)
    mode = (0o500 if place.is_dir() else 0o400) if only_writing else 0

    def commands() -> Iterator[list[str]]:
        place.chmod(mode)
        yield from trial.commands()

    return replace(trial, commands=commands)


CLOSED = ("the config", "the table", "a file", "a folder", "a file in a folder", "a bart file",
          "a store", "a chunk", "metadata", "the network", "the tuning file", "the data root",
          "a gotcha file", "a fresnel file")  # fmt: skip


@kinds("path: closed", CLOSED, 2)
def closed(chance: Random, what: str) -> Trial:
    """What the user may not read."""
    _as_anybody()
    made, path = arrays_given("npz"), "source.npz"
    match what:
        case "the config" | "the table":
            path = {"the config": "config.yaml", "the table": "table.tsv"}[what]
        case "a folder" | "a file in a folder":
            made = arrays_given("npy")
            path = "source" if what == "a folder" else "source/kspace.npy"
        case "a bart file":
            made, path = bart_given(), chance.choice(["ksp.cfl", "ksp.hdr", "sens.cfl"])
        case "a store" | "a chunk" | "metadata":
            write_native()
            made = given("native", "raw.zarr")
            path = {"a store": "raw.zarr", "a chunk": "raw.zarr/kspace/c/0/0/0/0",
                    "metadata": "raw.zarr/kspace/zarr.json"}[what]  # fmt: skip
        case "the network" | "the tuning file":
            path = "thing"
            Path(path).write_text("{}")
            made = _given("weights_file" if "net" in what else "nufft.tuning", path)
        case "the data root":
            Path("root").mkdir()
            Path("source.npz").rename("root/source.npz")
            made.config["data_root"] = path = "root"
        case "a gotcha file" | "a fresnel file":
            from inputs.rf import fresnel_given, gotcha_given

            made = gotcha_given() if "gotcha" in what else fresnel_given()
            path = made.row["source"]
    made.write()
    # A file that cannot be read: the folder, or the file in it, is named.
    return _closed(Trial(whole("plan"), "refused", (path, Path(path).name, "kspace")), path)


STAGE_NAMES = ("plan", "accumulate", "reconstruct", "merge", "measure", "report")


@kinds("results are: read-only for", STAGE_NAMES, 2, base=True)
def read_only(chance: Random, stage: str) -> Trial:
    """Nothing is lost, and one line says what cannot be written."""
    _as_anybody()
    trial = Trial(stages(stage), "refused", ("results",))
    folders = ["results", "results/scan", "results/scan/cg", "results/scan/cg/receipts"]
    for folder in ("blocks", "shares"):
        folders.append(f"results/scan/cg/{folder}")
    chosen = folders if chance.random() < 0.5 else [chance.choice(folders)]
    for folder in chosen:
        trial = _closed(trial, folder, only_writing=True)
    return replace(trial, may="refused" if chosen == folders else "either", about=str(chosen))


@kind("results are: read-only for: verify", 2, base=True)
def read_only_verified(chance: Random) -> Trial:
    _as_anybody()

    def verify() -> Iterator[list[str]]:
        yield ["verify", "results"]
        yield ["show", "results/scan/cg"]

    return _closed(Trial(verify, "accepted"), "results", only_writing=True)


@kinds("damaged result read by: closed,", [*STAGE_NAMES, "verify", "show"], 3, base=True)
def closed_result(chance: Random, stage: str) -> Trial:
    """A file of the results that may not be read any more."""
    _as_anybody()
    files = sorted(path for path in Path("results").rglob("*") if path.suffix != ".html")
    path = str(chance.choice(files))

    def commands() -> Iterator[list[str]]:
        yield [stage, "results" if stage == "verify" else "results/scan/cg"]

    told = commands if stage in ("verify", "show") else stages(stage)
    on: Any = "stdout" if stage == "verify" else "stderr"
    return _closed(Trial(told, named=("results/",), about=path, said_on=on), path)


@kind("settings of a stage", 25)
def settings(chance: Random) -> Trial:
    """What --settings may be, besides JSON of settings."""
    simulated().write()
    stage = chance.choice(["ingest", "calibrate", "plan", "merge", "reconstruct"])
    text = chance.choice(
        ["", "{", "{}", "[]", "nothing.yaml", "{" * 100000, '{"a":' * 5000 + "1" + "}" * 5000,
         "\ud800", '{"kind": NaN}', '{"kind": 1e999}', '{"kind": ' + "9" * 5000 + "}", "a" * 5000,
         "/dev/zero", ".", "config.yaml", '{"kind": "mri", "kind": "rf"}', '{"\\u0000": 1}']
    )  # fmt: skip
    options = {
        "ingest": ["--raw", "raw.json"],
        "calibrate": ["--raw", "raw.json", "--calibration", "c.json"],
        "plan": ["--reconstruction", "r", "--raw", "raw.json", "--calibration", "c.json", "--plan",
                 "plan.tsv"],
        "merge": ["--reconstruction", "r", "--raw", "raw.json", "--plan", "plan.tsv", "--image",
                  "image.json", "--blocks", "."],
        "reconstruct": ["--reconstruction", "r", "--raw", "raw.json", "--calibration", "c.json",
                        "--plan", "plan.tsv", "--block", "0000", "--shares", ".", "--image", "x"],
    }  # fmt: skip

    def commands() -> Any:
        yield [stage, "--settings", text, "--dataset", "scan", "--receipt", "receipt.json",
               *options[stage]]  # fmt: skip

    return Trial(commands, "refused", about=f"{stage} {text[:40]}")


ESTIMATES = (
    "0x0",
    "2x2",
    "256x256",
    "100000x100000x100000",
    "9" * 30 + "x2",
    "2x",
    "x",
    "-1x4",
    "½x2",
    "²x2",
    "9" * 5000 + "x2",
)


@kind("estimate", 25)
def estimate(chance: Random) -> Trial:
    pick = chance.choice
    number = ["0", "1", "-1", "10", "1000000", "nan", "1e3", "", "²"]
    number += ["9" * digits for digits in (19, 40, 5000)]
    told = ["estimate", "--algorithm", pick(["cg-sense", "gridding", "tikhonov", "fista", "x", ""]),
            "--shape", pick(ESTIMATES)]  # fmt: skip
    for option in chance.sample(["--coils", "--samples", "--frames", "--pairs", "--frequencies",
                                 "--samples-per-readout", "--iterations", "--tolerance", "--set",
                                 "--rows", "--device-mb", "--host-mb"], 4):  # fmt: skip
        told += [option, pick([*number, "penalty=tv", "x=", "32x16"])]

    def commands() -> Any:
        yield told

    return Trial(commands, about=" ".join(told)[:200])
