"""Paths that name something else than a file of data: everywhere where a config takes one."""

import os
from pathlib import Path
from random import Random
from typing import Any

from inputs.acquired import arrays_given, bart_given, given, simulated, write_native
from inputs.trial import Trial, check, ingested, kind, kinds, loop, whole

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
)


@kind("estimate", 25)
def estimate(chance: Random) -> Trial:
    pick = chance.choice
    number = ["0", "1", "-1", "10", "1000000", "9" * 19, "9" * 40, "nan", "1e3", ""]
    told = ["estimate", "--algorithm", pick(["cg-sense", "gridding", "tikhonov", "fista", "x", ""]),
            "--shape", pick(ESTIMATES)]  # fmt: skip
    for option in chance.sample(["--coils", "--samples", "--frames", "--pairs", "--frequencies",
                                 "--samples-per-readout", "--iterations", "--tolerance", "--set",
                                 "--rows", "--device-mb", "--host-mb"], 4):  # fmt: skip
        told += [option, pick([*number, "penalty=tv", "x=", "32x16"])]

    def commands() -> Any:
        yield told

    return Trial(commands, about=" ".join(told)[:200])
