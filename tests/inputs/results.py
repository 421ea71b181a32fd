"""A finished run, and what happens to its files; networks and tuning files, which others make."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import WEIRD, arrays_given, damaged, mutated, places, simulated
from inputs.trial import Trial, kind, kinds, stages, whole


def give_base() -> None:
    """Write config and source of the run that others damage."""
    made = arrays_given("npz")
    made.config["output"] = {"ome_zarr": True, "nifti": True}
    made.config["memory"]["shards"] = 2
    made.write()


def _files() -> list[Path]:
    """Return the files of the run that hold a checksum, or have one elsewhere."""
    return sorted(
        path for path in Path("results").rglob("*")
        if path.is_file() and path.suffix not in (".csv", ".html", ".parquet")
        and path.name != "ro-crate-metadata.json"
    )  # fmt: skip


def _verify() -> Iterator[list[str]]:
    yield ["verify", "results"]


@kind("verify: whole", 2, base=True)
def sound(chance: Random) -> Trial:
    return Trial(_verify, "accepted")


@kinds("verify: deleted", [
    "image.json", "image.zarr/zarr.json", "plan.tsv", "0000.zarr.zip", "merge.json", "raw.json",
    "reconstruct-0000.json", "provenance.json", "magnitude.nii.gz", "calibration.json",
    "magnitude.ome.zarr/zarr.json", "raw.zarr/kspace/zarr.json",
], 1, base=True)  # fmt: skip
def deleted(chance: Random, name: str) -> Trial:
    next(path for path in _files() if str(path).endswith(f"/{name}")).unlink()
    words = (name, name.split("/", maxsplit=1)[0], name.replace(".json", ".zarr"))
    return Trial(_verify, "refused", words, said_on="stdout")


@kinds(
    "verify: emptied", ["magnitude.nii.gz", "plan.tsv", "merge.json", "0000.zarr.zip"], 1, base=True
)
def emptied(chance: Random, name: str) -> Trial:
    next(path for path in _files() if path.name == name).write_bytes(b"")
    return Trial(_verify, "refused", (name,), said_on="stdout")


@kind("verify: damaged", 40, base=True)
def verified(chance: Random) -> Trial:
    path = chance.choice(_files())
    content, about = damaged(path.read_bytes(), chance)
    if content == path.read_bytes():
        content, about = b"", "emptied"
    path.write_bytes(content)
    # White space is not part of what JSON says.
    may = "either" if path.suffix == ".json" else "refused"
    words = (path.name, "image", "raw", "calibration", "magnitude", "shares")
    return Trial(_verify, may, words, said_on="stdout", about=f"{path} {about}")


READERS = ("plan", "accumulate", "reconstruct", "merge", "measure", "report")


@kinds("damaged result read by", READERS, 12, base=True)
def read(chance: Random, stage: str) -> Trial:
    """A stage whose input is damaged says which file, and how to make it again."""
    path = chance.choice(_files())
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    return Trial(stages(stage), named=("results/",), about=f"{path} {about}")


@kind("damaged image", 12, base=True)
def image(chance: Random) -> Trial:
    path = next(p for p in Path("results/scan/cg/image.zarr/image/c").rglob("*") if p.is_file())
    content, about = damaged(path.read_bytes(), chance)
    if content == path.read_bytes():
        content = b""
    path.write_bytes(content)
    return Trial(stages("measure"), "refused", ("scan/cg",), about=about)


@kind("damaged image, reported", 6, base=True)
def reported(chance: Random) -> Trial:
    """The page is made without the damaged image, and says how to make it again."""
    path = next(p for p in Path("results/scan/cg/image.zarr/image/c").rglob("*") if p.is_file())
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 16
    path.write_bytes(content)

    def wrong() -> str | None:
        page = Path("results/report.html").read_text()
        return None if "--force results/scan/cg/image.json" in page else "the page does not tell"

    return Trial(stages("report"), "accepted", wrong=wrong)


@kind("show", 20, base=True)
def show(chance: Random) -> Trial:
    path = chance.choice(_files())
    path.write_bytes(damaged(path.read_bytes(), chance)[0])

    def commands() -> Iterator[list[str]]:
        yield ["show", "results/scan/cg", *chance.choice([[], ["--commands"]])]

    return Trial(commands, named=("results/",), about=str(path))


def _network(arguments: Any = None, about: Any = None) -> None:
    import torch

    from pipeline.solvers.unrolled import UnrolledProximalGradient

    told = {"image_axes": 2, "layers": 2, "channels": 2, "kernel_size": 3, "threshold": 0.01}
    torch.manual_seed(0)
    made = UnrolledProximalGradient(**told)
    arrays = {name: value.detach().numpy() for name, value in made.state_dict().items()}
    said = json.dumps({"arguments": told if arguments is None else arguments, "training": {}})
    np.savez("network.npz", **arrays, about=np.array(said if about is None else about))


def _unrolled(**simulation: Any) -> Any:
    made = simulated(**simulation)
    chosen = {"algorithm": "unrolled", "weights_file": "network.npz"}
    made.config["reconstructions"] = {"cg": chosen}
    made.write()
    return made


@kind("good: network", 2)
def good_network(chance: Random) -> Trial:
    _network()
    _unrolled()
    return Trial(whole("measure"), "accepted")


@kind("network: of other axes", 2)
def other_axes(chance: Random) -> Trial:
    """Met by the plan, before anything is reconstructed."""
    _network()
    made = _unrolled(trajectory="kooshball")
    made.config["sources"]["scan"]["shape"] = [10, 12, 14]
    made.write()
    return Trial(whole("plan"), "refused", ("network.npz",))


@kind("network: about", 30)
def network(chance: Random) -> Trial:
    told = {"image_axes": 2, "layers": 2, "channels": 2, "kernel_size": 3, "threshold": 0.01}
    if chance.random() < 0.5:
        arguments, text = mutated(told, chance)
        if any(
            isinstance(v, int) and not isinstance(v, bool) and v > 100 for v in arguments.values()
        ):
            arguments, text = {**told, "layers": 10**6}, "a million layers"
        _network(arguments)
    else:
        about = chance.choice(["", "{", "null", "[]", '{"arguments": 5}', "[" * 100000, "{}", 5,
                               [1.0, 2.0], b"\xff", '{"arguments": {}}'])  # fmt: skip
        _network(about=about)
        text = repr(about)[:40]
    _unrolled()
    return Trial(whole("merge"), named=("network.npz",), about=text)


@kind("network: damaged", 20)
def damaged_network(chance: Random) -> Trial:
    _network()
    path = Path("network.npz")
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    _unrolled()
    return Trial(whole("merge"), named=("network.npz", "weights_file"), about=about)


@kind("network: arrays", 12)
def network_arrays(chance: Random) -> Trial:
    _network()
    with np.load("network.npz") as stored:
        arrays = dict(stored)
    name = chance.choice(sorted(set(arrays) - {"about"}))
    value = arrays[name]
    arrays[name] = chance.choice(
        [value.ravel()[:0], value[None], value * np.nan, value.astype(str), value * 1e30,
         np.zeros(3), value.astype("c16" if value.dtype.kind == "c" else "f8")]
    )  # fmt: skip
    if chance.random() < 0.3:
        del arrays[name]
    np.savez("network.npz", **arrays)
    _unrolled()
    return Trial(whole("merge"), named=("network.npz", "scan"), about=name)


def _tuned() -> dict[str, Any]:
    """Return what `kronufft tune` could have written."""
    from pipeline.engine.rates import Rates

    transform = {"backend": "ducc0", "precision": "single", "tolerance": 1e-3, "oversampling": 1.5,
                 "forward_error": 1e-4, "adjoint_error": 1e-4, "forward_seconds": 1e-3,
                 "adjoint_seconds": 1e-3, "setup_seconds": 1e-3}  # fmt: skip
    timings = {
        "measured": "2026-01-01", "machine": {"device": "cpu", "name": "x", "threads": 1,
        "versions": {}}, "shape": [12, 14], "coils": 2, "frames": 1, "samples": 216, "source": "x",
        "tolerance": 1e-3, "transforms": [transform], "products": [{"fft": "scipy", "piece_bytes":
        65536, "error": 1e-4, "seconds": 1e-3}], "batches": [{"transforms": 2, "seconds": 1e-3,
        "product_seconds": 1e-3}], "threads": [{"threads": 1, "seconds": 1e-3}],
        "rates": Rates.host(1).model_dump(mode="json"),
    }  # fmt: skip
    return {"measurements": [timings]}


def _write_tuned(content: dict[str, Any]) -> None:
    from pipeline.storage.publish import write_json

    write_json(Path("tuning.json"), content)
    made = simulated()
    made.config["nufft"] = {"tuning": "tuning.json"}
    made.write()


@kind("good: tuning file", 2)
def good_tuning(chance: Random) -> Trial:
    _write_tuned(_tuned())
    return Trial(whole("merge"), "accepted")


@kind("tuning file: changed", 40)
def changed_tuning(chance: Random) -> Trial:
    """Its checksum is right, and one value is what nobody has measured."""
    tree, about = mutated(_tuned(), chance, tuple(v for v in WEIRD if _in_json(v)))
    _write_tuned(tree)
    return Trial(whole("merge"), named=("tuning.json", "NUFFT", "scan"), about=about)


def _in_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return False
    return True


@kind("tuning file: none", 10)
def tuning(chance: Random) -> Trial:
    _write_tuned(_tuned())
    text = chance.choice(["", "{}", "[]", "null", "{" * 50000, '{"a":' * 3000, '{"checksum": 1}'])
    Path("tuning.json").write_text(text)
    return Trial(whole("plan"), "refused", ("tuning.json",), about=text[:30])


@kinds("damaged result read by: of another version,", READERS, 10, base=True)
def other_version(chance: Random, stage: str) -> Trial:
    """A marker, receipt or provenance whose checksum is right, and which lacks something."""
    from pipeline.storage.publish import write_json

    chosen = [path for path in _files() if path.suffix == ".json" and ".zarr" not in str(path)]
    path = chance.choice(chosen)
    content = json.loads(path.read_text())
    del content["checksum"]
    where = chance.choice([at for at in places(content) if "versions" not in at])
    node = content
    for key in where[:-1]:
        node = node[key]
    del node[where[-1]]
    write_json(path, content)
    about = f"{path} {where} removed"
    return Trial(stages(stage), named=("results/", "scan"), about=about)
