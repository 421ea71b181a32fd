"""Config files and tables that are wrong, or that say odd things."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import arrays_given, mutated, simulated
from inputs.trial import May, Trial, check, kind, kinds, whole


def finite() -> str | None:
    """Say if an image of the run is not finite, or zero throughout."""
    import zarr

    for marker in Path("results/scan").glob("*/image.json"):
        image = np.asarray(zarr.open_group(marker.with_suffix(".zarr"), mode="r")["image"])
        if not np.isfinite(image).all():
            return f"{marker}: the image is not finite"
        if not image.any():
            return f"{marker}: the image is zero throughout"
    return None


YAML = {
    "nesting of 2000": "a: " + "[" * 2000 + "]" * 2000,
    "nesting of 100000": "a: " + "[" * 100000,
    "nested mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "a nested block": "".join(" " * i + "a:\n" for i in range(1500)),
    "an integer of 5000 digits": "memory: {host_mb: " + "9" * 5000 + "}",
    "a hexadecimal integer of 5000 digits": "memory: {host_mb: 0x" + "f" * 5000 + "}",
    "a sexagesimal of 2000 parts": "memory: {host_mb: 1" + ":59" * 2000 + "}",
    "a date that is none": "data_root: 2020-13-45",
    "a time that is none": "data_root: 2020-01-01 99:99:99",
    "a date": "data_root: 2020-12-13",
    "binary": "data_root: !!binary aGVsbG8=",
    "bad binary": "data_root: !!binary é",
    "a set": "data_root: !!set {a, b}",
    "omap": "data_root: !!omap [a]",
    "pairs": "data_root: !!pairs [a]",
    "an object": "data_root: !!python/object/apply:os.system ['touch hacked']",
    "an unknown tag": "data_root: !unknown x",
    "int of text": "memory: {host_mb: !!int x}",
    "float of text": "memory: {host_mb: !!float x}",
    "bool of text": "compute: {deterministic: !!bool x}",
    "null of text": "data_root: !!null x",
    "a timestamp of text": "data_root: !!timestamp x",
    "a mapping as a key": "? {a: 1}\n: 2",
    "a list as a key": "? [a, b]\n: 2",
    "a number as a key": "5: 2",
    "a key that is null": "~: 2",
    "a key that stands twice": "memory: {host_mb: 100}\nmemory: {host_mb: 100}",
    "a loop": "memory: &a [*a]",
    "a loop of mappings": "memory: &a {host_mb: *a}",
    "an unknown alias": "memory: *nobody",
    "a merge of nothing": "memory: {<<: 5}",
    "a merge of itself": "memory: &a {<<: *a}",
    "tabs": "memory:\n\thost_mb: 5",
    "an open bracket": "memory: [1, 2\ncompute: {",
    "an open quote": 'memory: "abc\ncompute: x\n',
    "two documents": "a: 1\n---\nb: 2",
    "NUL": "data_root: \x00",
    "a control character": "data_root: \x07",
    "surrogates": 'data_root: "\\ud800"',
    "NUL, escaped": 'data_root: "a\\0b"',
    "directives": "%YAML 9.9\n---\na: 1",
    "only a comment": "# nothing",
    "empty": "",
    "a number": "5",
    "a text": "text",
    "a list": "[1, 2]",
    "10000 keys": "".join(f"k{i}: 1\n" for i in range(10000)),
    "10000 errors": "sources: {" + ", ".join(f"a{i}: {{x: 1}}" for i in range(10000)) + "}",
    "a key of 100000 letters": "k" * 100000 + ": 1",
}


@kinds("YAML", YAML, 1)
def yaml(chance: Random, what: str) -> Trial:
    made = simulated()
    good = json.dumps({"datasets": "table.tsv", **made.config})
    if what in ("empty", "only a comment", "a number", "a text", "a list", "two documents"):
        text = YAML[what]
    else:
        lines = [f"{key}: {json.dumps(value)}" for key, value in json.loads(good).items()
                 if not YAML[what].startswith(key)]  # fmt: skip
        text = "\n".join([*lines, YAML[what]] if chance.random() < 0.7 else [YAML[what], *lines])
    made.write(text)
    harmless = ("a merge of itself", "binary", "surrogates", "NUL, escaped")
    may: May = "either" if what in harmless else "refused"
    return Trial(check, may, ("config.yaml",))


ENCODINGS = {
    "latin-1": "data_root: é".encode("latin-1"),
    "UTF-16": "data_root: x".encode("utf-16"),
    "a lone UTF-16 mark": b"\xff\xfe",
    "random bytes": bytes(range(256)) * 20,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
}


@kinds("YAML in", ENCODINGS, 2)
def encoding(chance: Random, what: str) -> Trial:
    simulated().write()
    Path("config.yaml").write_bytes(ENCODINGS[what])
    return Trial(check, "refused", ("config.yaml",))


@kind("YAML: alias bomb", 2)
def alias_bomb(chance: Random) -> Trial:
    """Nine levels of nine aliases each: a billion values in 500 bytes."""
    made = simulated()
    many = chance.choice([7, 9, 10])
    lines = ["bomb0: &b0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, many):
        lines.append(f"bomb{level}: &b{level} [" + ", ".join([f"*b{level - 1}"] * 9) + "]")
    where = chance.choice(["memory", "sources", "data_root"])
    rest = {"datasets": "table.tsv", **made.config}
    rest.pop(where, None)
    text = "\n".join([*lines, f"{where}: *b{many - 1}"])
    made.write(text + "\n" + "\n".join(f"{k}: {json.dumps(v)}" for k, v in rest.items()))
    return Trial(check, "refused", ("config.yaml",), about=f"{where}, {many} levels")


@kind("YAML: mapping bomb", 2)
def mapping_bomb(chance: Random) -> Trial:
    made = simulated()
    lines = ["b0: &b0 {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}"]
    for level in range(1, 9):
        keys = ", ".join(f"{key}: *b{level - 1}" for key in "abcdefghi")
        lines.append(f"b{level}: &b{level} {{{keys}}}")
    rest = {"datasets": "table.tsv", **made.config, "sources": None}
    del rest["sources"]
    text = "\n".join([*lines, "sources: *b8"])
    made.write(text + "\n" + "\n".join(f"{k}: {json.dumps(v)}" for k, v in rest.items()))
    return Trial(check, "refused", ("config.yaml",))


@kind("YAML: cut off or flipped", 25)
def yaml_damage(chance: Random) -> Trial:
    made = simulated()
    made.write()
    content = bytearray(Path("config.yaml").read_bytes())
    at = chance.randrange(len(content))
    if chance.random() < 0.4:
        del content[at:]
    else:
        content[at] = chance.randrange(256)
    Path("config.yaml").write_bytes(content)
    return Trial(whole("ingest"), about=f"at {at}")


FULL: dict[str, Any] = {
    "data_root": ".",
    "memory": {"device_mb": "auto", "host_mb": 1400, "block_images": "auto", "shards": "auto"},
    "compute": {"device": "cpu", "threads": 1, "precision": "single", "deterministic": False,
                "checkpoint_seconds": 60.0},
    "nufft": {"tolerance": 1e-3, "backend": "auto", "oversampling": None, "kernel_width": None},
    "calibration": {"coil_maps": "auto", "calibration_width": 24, "density": "auto",
                    "density_iterations": 20},
    "output": {"ome_zarr": True, "nifti": True},
    "measure": {"extent": "auto", "floor_db": -50.0, "false_alarm_probability": 1e-6},
}  # fmt: skip

RECONSTRUCTIONS: tuple[dict[str, Any], ...] = (
    {"algorithm": "gridding"},
    {"algorithm": "cg-sense", "iterations": 3, "regularization": 0.001, "residual": 0.0,
     "weights": "density", "normal": "auto", "preconditioner": "none", "frames_per_image": 1,
     "shape": [12, 14]},
    {"algorithm": "fista", "iterations": 3, "penalty": "l1", "sparsity": 0.05, "tolerance": 1e-5,
     "debias": False},
    {"algorithm": "admm", "iterations": 3, "penalty": "tv", "sparsity": 0.05, "rho": 1.0,
     "inner_iterations": 5},
    {"algorithm": "omp", "points": 3, "residual": 0.01},
)  # fmt: skip


def _run(made: Any, about: str, until: str = "report") -> Trial:
    made.write()
    return Trial(
        whole(until),
        wrong=finite,
        named=("config.yaml", "scan", "table.tsv", "NUFFT", "device"),
        about=about,
    )


@kind("setting changed", 120)
def setting(chance: Random) -> Trial:
    made = simulated()
    changed, about = mutated(FULL, chance)
    made.config |= changed
    made.config["sources"] = simulated().config["sources"]
    return _run(made, about, "merge")


@kind("reconstruction changed", 120)
def reconstruction(chance: Random) -> Trial:
    made = simulated(frames=chance.choice([1, 3]))
    chosen, about = mutated(chance.choice(RECONSTRUCTIONS), chance)
    made.config["reconstructions"] = {"cg": chosen}
    return _run(made, f"{chosen.get('algorithm')!r:.20} {about}", "merge")


@kind("simulation changed", 80)
def simulation(chance: Random) -> Trial:
    made = simulated(snr_db=30.0, frames=1, seed=0)
    scan = made.config["sources"]["scan"]
    scan["voxel_size"], scan["calibration"] = [0.001, 0.001], {"coil_maps": "walsh"}
    made.config["sources"]["scan"], about = mutated(scan, chance)
    return _run(made, about)


@kind("snr_db", 6)
def snr(chance: Random) -> Trial:
    value = chance.choice([-1e4, 1e4, -400.0, -3000.0, 1e308, -1e308])
    return _run(simulated(snr_db=value), f"{value}")


@kind("nufft: per axis", 8)
def per_axis(chance: Random) -> Trial:
    made = simulated()
    one = chance.choice([0, 1, -1, 1.05, 2, 4, 100, 1e9, 0.5, "x", None])
    values = chance.choice([[one] * 2, [2, one], [one] * 3, [], [one]])
    made.config["nufft"] = {"backend": "torchkbnufft", "tolerance": 1e-2}
    made.config["nufft"][chance.choice(["oversampling", "kernel_width"])] = values
    return _run(made, f"{made.config['nufft']}")


@kind("pairs of settings", 60)
def pairs(chance: Random) -> Trial:
    """Two values that are fine alone may not go together."""
    made = simulated(frames=chance.choice([1, 2]), coils=chance.choice([1, 2, 3]))
    pick = chance.choice
    made.config["nufft"] = {"tolerance": pick([1e-1, 1e-6, 1e-12, 1e-16]), "backend": pick(
        ["ducc0", "finufft", "torchkbnufft", "cufinufft", "triton", "auto"]), "oversampling": pick(
        [None, 1.25, 2.0, 4.0, [2.0, 2.0], [0, 0], [1e9, 1e9], [2.0, 2.0, 2.0]]), "kernel_width":
        pick([None, 4, 16, [4, 4], [0, 0], [100, 100]])}  # fmt: skip
    made.config["calibration"] = {"coil_maps": pick(["auto", "source", "espirit", "walsh", "none"]),
        "density": pick(["auto", "source", "radial", "stack-of-stars", "voronoi", "bistatic",
        "pipe-menon", "none"]), "calibration_width": pick([8, 24, 128]), "virtual_coils":
        pick(["all", "all", 1, 2, 0.5, 0.999]), "whitening": pick(["auto", "noise", "none"]),
        "noise_region": pick([None, None, {"outermost": 0.1}, {"samples": [-4, None]},
        {"readouts": [0, 10**6]}, {"samples": [3, 1]}, {}]),
        "compression": pick(["svd", "svd", "geometric"]),
        "delays": pick(["none", "none", "ring"])}  # fmt: skip
    made.config["compute"] = {"device": pick(["cpu", "cpu", "cuda", "cuda:7"]), "threads": 1,
        "precision": pick(["single", "double"]), "deterministic": pick([True, False])}  # fmt: skip
    made.config["memory"] = {"host_mb": pick([16, 300, 1400, 10**9]), "shards": pick(["auto", 3]),
                             "block_images": pick(["auto", 1, 5])}  # fmt: skip
    made.config["sources"]["scan"]["shape"] = pick(
        [[12, 14], [2, 2], [3, 200], [12, 14, 8], [13, 7]]
    )
    return _run(made, json.dumps({k: made.config[k] for k in ("nufft", "calibration", "memory")}))


NAMES = (
    *("raw.zarr", "raw.json", "calibration.zarr", "calibration.json", "receipts", "report.html"),
    *("metrics.csv", "metrics.parquet", "research-object", "ro-crate-metadata.json", "logs"),
    *("report-so-far.html", "tuning.json", ".raw.json.partial", "raw", "CON", "con", "aux", "nul"),
)


@kinds("reconstruction called", NAMES[:-5], 1)
def reserved(chance: Random, name: str) -> Trial:
    """A name that the run's own files have would destroy them."""
    made = simulated()
    made.config["reconstructions"] = {name: made.config["reconstructions"]["cg"]}
    made.row["reconstruction"] = name
    if name in ("tuning.json", "logs", "raw", "metrics.csv", "metrics.parquet", "report.html",
                "report-so-far.html", "ro-crate-metadata.json", "research-object"):  # fmt: skip
        return _run(made, name)
    made.write()
    return Trial(check, "refused", (name,))


@kinds("dataset called", NAMES[:-3], 1)
def reserved_dataset(chance: Random, name: str) -> Trial:
    made = simulated()
    made.row["dataset"] = name
    made.config["sources"] = {name: made.config["sources"]["scan"]}
    made.write()
    taken = name in ("report.html", "metrics.csv", "metrics.parquet", "report-so-far.html",
                     "tuning.json")  # fmt: skip
    return Trial(check, "refused" if taken else "either", (name,))


@kind("names", 40)
def names(chance: Random) -> Trial:
    made = simulated()
    odd = ("", ".", "..", "a/b", "-x", "é", "a b", "a\x00", "x" * 300, "x" * 5000, "a..b", "{a}",
           "a.", ".a", "*", "$(touch hacked)", "cg\n", "a\u202eb", "1", "true", "null")  # fmt: skip
    name = chance.choice(odd)
    if chance.random() < 0.5:
        made.row["dataset"] = name
        made.config["sources"] = {name: made.config["sources"]["scan"]}
    else:
        made.row["reconstruction"] = name
        made.config["reconstructions"] = {name: made.config["reconstructions"]["cg"]}
    made.write()
    return Trial(
        whole("measure"),
        named=("config.yaml", "table.tsv", name[:20] or "x"),
        about=repr(name)[:60],
    )


HEAD = "dataset\tkind\tformat\tsource\treconstruction\n"
TABLES = {
    "empty": "",
    "only a header": HEAD,
    "commas": "dataset,kind,format,source,reconstruction\nscan,mri,simulation,shepp-logan,cg\n",
    "spaces": "dataset kind format source reconstruction\nscan mri simulation shepp-logan cg\n",
    "no header": "scan\tmri\tsimulation\tshepp-logan\tcg\n",
    "a column less": "dataset\tkind\tformat\tsource\nscan\tmri\tsimulation\tshepp-logan\n",
    "a column twice": "dataset\tkind\tkind\tsource\treconstruction\nscan\tmri\tmri\tx\tcg\n",
    "a cell less": HEAD + "scan\tmri\tsimulation\tcg\n",
    "a cell more": HEAD + "scan\tmri\tsimulation\tx\tcg\t\n",
    "a dataset twice": HEAD + "scan\tmri\tsimulation\tshepp-logan\tcg\n" * 2,
    "case": HEAD + "scan\tMRI\tsimulation\tshepp-logan\tcg\n",
    "unknown reconstruction": HEAD
    + "scan\tmri\tsimulation\tshepp-logan\tcgg\n",
    "unknown phantom": HEAD + "scan\tmri\tsimulation\tx\tcg\n",
    "a mark within": HEAD + "\ufeffscan\tmri\tsimulation\tshepp-logan\tcg\n",
    "carriage returns": "dataset\tkind\tformat\tsource\treconstruction\r"
    "scan\tmri\tsimulation\tshepp-logan\tcg\r",
    "NUL": HEAD + "scan\tmri\tsimulation\t\x00\tcg\n",
    "a long cell": HEAD + "s" * 10**6
    + "\tmri\tsimulation\tshepp-logan\tcg\n",
    "quotes": '"dataset"\t"kind"\t"format"\t"source"\t"reconstruction"\n',
    "one line of a million cells": "\t" * 10**6,
}  # fmt: skip


@kinds("table", TABLES, 1)
def table(chance: Random, what: str) -> Trial:
    simulated().write()
    Path("table.tsv").write_bytes(TABLES[what].encode())
    may = "either" if what == "carriage returns" else "refused"
    return Trial(whole("ingest"), may, ("table.tsv", "scan"))


GOOD_ROW = "scan\tmri\tsimulation\tshepp-logan\tcg"
GOOD_TABLES = {
    "a mark first": "\ufeff" + HEAD + GOOD_ROW + "\n",
    "CRLF": (HEAD + GOOD_ROW + "\n").replace("\n", "\r\n"),
    "no last line break": HEAD + GOOD_ROW,
    "comments and empty lines": "# first\n\n" + HEAD + "# between\n\n" + GOOD_ROW + "\n\n",
    "spaces around": HEAD + GOOD_ROW.replace("\t", " \t ") + "\n",
    "a reconstruction twice named by spaces": HEAD + GOOD_ROW + " \n",
}


@kinds("good: table", GOOD_TABLES, 1)
def good_table(chance: Random, what: str) -> Trial:
    simulated().write()
    Path("table.tsv").write_bytes(GOOD_TABLES[what].encode())
    return Trial(whole("merge"), "accepted", wrong=finite)


TABLE_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7")


@kinds("table: in", TABLE_ENCODINGS, 1)
def table_encoding(chance: Random, encoding: str) -> Trial:
    simulated().write()
    Path("table.tsv").write_bytes((HEAD + GOOD_ROW.replace("scan", "scané")).encode(encoding))
    return Trial(whole("ingest"), "refused", ("table.tsv",))


@kind("good: table of 100000 rows", 1)
def huge_table(chance: Random) -> Trial:
    rows = "".join(f"d{i}\trf\tsimulation\trf6\tcg\n" for i in range(100000))
    made = simulated()
    made.config["reconstructions"] = {"cg": {"algorithm": "matched-filter"}}
    made.config["sources"] = {}
    made.write()
    Path("table.tsv").write_text(HEAD + rows)
    return Trial(check, "accepted")


@kind("table damaged", 25)
def table_damage(chance: Random) -> Trial:
    made = simulated()
    made.extra = [{**made.row, "dataset": "other"}]
    made.config["sources"]["other"] = made.config["sources"]["scan"]
    made.write()
    content = bytearray(Path("table.tsv").read_bytes())
    odd = [0, 9, 10, 13, 32, 35, 44, 200, 255, chance.randrange(256)]
    for _ in range(chance.choice([1, 1, 3])):
        at = chance.randrange(len(content))
        content[at : at + chance.choice([0, 1])] = bytes([chance.choice(odd)])
    Path("table.tsv").write_bytes(content)
    return Trial(
        whole("ingest"),
        named=("table.tsv", "scan", "other", "config.yaml"),
        about=str(bytes(content[-90:])),
    )


@kind("table of 20000 datasets", 1)
def long_table(chance: Random) -> Trial:
    made = simulated()
    made.extra = [{**made.row, "dataset": f"d{i}"} for i in range(20000)]
    made.write()
    return Trial(check, "refused", ("d0",))


@kind("kind and format", 10)
def formats(chance: Random) -> Trial:
    """A source that is given as one of another format, or kind."""
    made = arrays_given("npz")
    made.row["kind"] = chance.choice(["mri", "rf", "MRI", "", "ct"])
    made.row["format"] = chance.choice(
        ["native", "bart", "simulation", "gotcha", "fresnel", "", "x"]
    )
    made.write()
    return Trial(whole("ingest"), "refused", ("table.tsv", "scan", "config.yaml"))
