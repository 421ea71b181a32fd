"""Zarr stores by other programs: this project's own layout, wrong, damaged or hostile."""

import json
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import (
    acquisition,
    altered,
    damaged,
    given,
    misfit,
    mutated,
    write_native,
    zip_folder,
)
from inputs.trial import May, Trial, ingested, kind, kinds, whole


def _codecs(name: str) -> Any:
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    made = {"gzip": GzipCodec, "blosc": BloscCodec, "zstd": ZstdCodec, "crc32c": Crc32cCodec}
    return [made[part]() for part in name.split(", ") if part in made]


def _native(
    chance: Random, codecs: str = "none", *, zipped: bool | None = None, **options: Any
) -> Any:
    write_native(compressors=_codecs(codecs), **options)
    source = "raw.zarr"
    if chance.random() < 0.3 if zipped is None else zipped:
        zip_folder("raw.zarr", "raw.zarr.zip")
        source = "raw.zarr.zip"
    made = given("native", source)
    made.write()
    return made


@kinds("damaged chunk", ["none", "gzip", "blosc", "zstd", "crc32c", "blosc, crc32c"], 14)
def chunk(chance: Random, codecs: str) -> Trial:
    made = _native(chance, codecs, zipped=False)
    path = Path("raw.zarr", chance.choice(["kspace/c/0/1/0/0", "trajectory/c/0/1/0/0",
                                           "sensitivities/c/0/0/1/0"]))  # fmt: skip
    if not path.exists():
        path = next(Path("raw.zarr/kspace/c").rglob("0"))
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    if chance.random() < 0.3:
        zip_folder("raw.zarr", "raw.zarr.zip")
        made.row["source"] = "raw.zarr.zip"
        made.write()
    if "crc32c" in codecs:
        return Trial(ingested, wrong=altered, named=("scan", "raw.zarr"), about=about)
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=about)


@kind("missing chunk", 6)
def missing(chance: Random) -> Trial:
    """A chunk that is not there reads as zeros: a coil would be lost in silence."""
    _native(chance, zipped=False)
    chosen = sorted(Path("raw.zarr/kspace/c").rglob("*"))
    chance.choice([path for path in chosen if path.is_file()]).unlink()
    return Trial(whole("merge"), "refused", ("kspace",))


@kind("damaged zip of a store", 14)
def damaged_zip(chance: Random) -> Trial:
    made = _native(chance, chance.choice(["none", "gzip", "crc32c"]), zipped=True)
    path = Path(made.row["source"])
    content = path.read_bytes()
    if chance.random() < 0.5:  # the directory at the end
        tail, about = damaged(content[-2000:], chance)
        content = content[:-2000] + tail
    else:
        content, about = damaged(content, chance)
    path.write_bytes(content)
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=about)


@kind("metadata changed", 120)
def metadata(chance: Random) -> Trial:
    _native(chance, chance.choice(["none", "gzip", "blosc", "zstd"]), zipped=False)
    name = chance.choice(["", "kspace", "kspace", "trajectory", "sensitivities"])
    path = Path("raw.zarr", name, "zarr.json")
    content, about = mutated(json.loads(path.read_text()), chance)
    path.write_text(json.dumps(content))
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=f"{name} {about}")


@kind("metadata damaged", 25)
def metadata_damaged(chance: Random) -> Trial:
    _native(chance, zipped=False)
    path = Path("raw.zarr", chance.choice(["", "kspace", "trajectory"]), "zarr.json")
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=f"{path} {about}")


ATTRIBUTES: dict[str, Any] = {
    "shape": [[1, 1], [0, 0], [-1, -1], [12], [12, 14, 1, 1], [10**9, 10**9], [12.5, 14], "ab",
              None, [[12, 14]], 12, {"a": 1}, [12, 13], [1, 14], [True, True], [10**400, 2]],
    "voxel_size": [[float("nan")] * 2, [1e300, 1e300], [1e-300, 1e-300], [0, 0], [-1, -1], [0.001],
                   "ab", None, [float("inf"), 1], [True, True], [1e308, 1e-308], [[0.001, 0.001]]],
    "affine": [np.zeros((4, 4)).tolist(), np.full((4, 4), float("nan")).tolist(), [[1]], [], "x", 1,
               np.eye(3).tolist(), (np.eye(4) * 1e300).tolist(), np.ones((4, 4)).tolist(), {},
               [["a"] * 4] * 4, (np.eye(4) * 1e-300).tolist(), np.diag([1, 1, 1, 0]).tolist()],
    "kind": ["rf", "", None, 1, [], "MRI", {"a": []}],
    "source": [None, 1, "x" * 10**6, [], {"a": "\x00"}],
    "provenance": [None, 1, [], "x", {"format": {"a": [[[]]]}}, float("nan")],
    "pattern": ["radial", "x", 1, None, []],
    "frames": [0, -1, "x", 10**9],
}  # fmt: skip


@kinds("attribute", ATTRIBUTES, 16)
def attribute(chance: Random, name: str) -> Trial:
    import zarr

    made = _native(chance, zipped=False)
    value = chance.choice(ATTRIBUTES[name])
    zarr.open_group("raw.zarr", mode="r+").attrs[name] = value
    made.config["output"] = {"ome_zarr": True, "nifti": True}
    made.write()
    # What has no say in the image may be anything.
    wrong = misfit if name in ("source", "provenance", "pattern", "frames") else None
    return Trial(whole(), wrong=wrong, named=("scan", "raw.zarr"), about=f"{value!r:.80}")


@kind("attribute missing", 4)
def attribute_missing(chance: Random) -> Trial:
    import zarr

    _native(chance, zipped=False)
    name = chance.choice(["shape", "voxel_size", "kind"])
    attributes = zarr.open_group("raw.zarr", mode="r+").attrs
    del attributes[name]
    return Trial(ingested, "refused", (name,))


DECLARED = {
    "1e18 samples": (1, 2, 10**9, 10**9),
    "1e18 frames": (10**18, 2, 26, 28),
    "1e12 coils": (1, 10**12, 26, 28),
    "1e6 frames": (10**6, 2, 26, 28),
    "no samples": (1, 2, 26, 0),
    "a chunk of 8 GB": (1, 1400000, 26, 28),
}


@kinds("Zarr that declares", DECLARED, 3)
def declared(chance: Random, what: str) -> Trial:
    """Chunks that are not there take no room."""
    import zarr

    made = _native(chance, zipped=False)
    made.write()
    group = zarr.open_group("raw.zarr", mode="r+")
    shape = DECLARED[what]
    chunks = shape if "chunk" in what else tuple(max(1, min(size, 1000)) for size in shape)
    del group["kspace"], group["sensitivities"]
    group.create_array("kspace", shape=shape, chunks=chunks, dtype=np.complex64)
    if what == "1e18 samples":
        del group["trajectory"]
        group.create_array(
            "trajectory", shape=(1, *shape[2:], 2), chunks=(1, 1, 1000, 2), dtype=np.float32
        )
    return Trial(ingested, "refused", ("kspace", "trajectory"))


@kind("bomb: Zarr chunk", 3)
def bomb(chance: Random) -> Trial:
    """One chunk of 3 GB that is stored in less than a MB."""
    import numcodecs
    import zarr
    from zarr.codecs import ZstdCodec

    _native(chance, zipped=False)
    group = zarr.open_group("raw.zarr", mode="r+")
    del group["kspace"], group["sensitivities"]
    shape = (1, 515000, 26, 28)
    group.create_array("kspace", shape=shape, chunks=shape, dtype="c8", compressors=[ZstdCodec()])
    place = Path("raw.zarr/kspace/c/0/0/0/0")
    place.parent.mkdir(parents=True)
    place.write_bytes(numcodecs.Zstd().encode(bytes(10**8)) * 30)
    return Trial(ingested, "refused", ("kspace",))


ODD = (
    *(
        "version 2",
        "version 2 with pickles",
        "an array at the root",
        "kspace is a group",
        "an empty group",
    ),
    *("text", "bytes", "objects", "float64", "int16", "a group more", "sharded", "transposed"),
    *("a marker", "a marker that lies", "a link out", "a zip in a zip", "a zip with .."),
)


@kinds("store:", ODD, 2)
def odd(chance: Random, what: str) -> Trial:
    import zarr

    made = _native(chance, zipped=False)
    group = zarr.open_group("raw.zarr", mode="r+")
    values = acquisition()["kspace"]
    source: str = "raw.zarr"
    may: May = "refused"
    match what:
        case "version 2" | "version 2 with pickles":
            old = zarr.open_group("old.zarr", mode="w", zarr_format=2)
            old.attrs.update(dict(group.attrs))
            old.create_array("kspace", data=values.astype("c8"))
            if "pickles" in what:
                meta = json.loads(Path("old.zarr/kspace/.zarray").read_text())
                meta["filters"], meta["dtype"] = [{"id": "pickle"}], "|O"
                Path("old.zarr/kspace/.zarray").write_text(json.dumps(meta))
            source = "old.zarr"
        case "an array at the root":
            source = "raw.zarr/kspace"
        case "kspace is a group":
            del group["kspace"]
            group.create_group("kspace")
        case "an empty group":
            zarr.open_group("old.zarr", mode="w", zarr_format=3)
            source = "old.zarr"
        case "text" | "bytes" | "objects":
            del group["kspace"]
            kinds_ = {"text": "<U4", "bytes": "S4", "objects": "str"}
            group.create_array("kspace", shape=values.shape, dtype=kinds_[what])
        case "float64" | "int16":
            del group["kspace"]
            group.create_array("kspace", data=values.real.astype(what))
            may = "either"
        case "a group more":
            group.create_group("more").create_array("x", data=np.zeros(3))
            may = "accepted"
        case "sharded":
            del group["kspace"]
            group.create_array("kspace", data=values.astype("c8"), chunks=(1, 1, 13, 14),
                               shards=(1, 2, 26, 28))  # fmt: skip
            may = "accepted"
        case "transposed":
            from zarr.codecs import TransposeCodec

            del group["kspace"]
            group.create_array("kspace", data=values.astype("c8"),
                               filters=[TransposeCodec(order=(3, 1, 0, 2))])  # fmt: skip
            may = "accepted"
        case "a marker":
            source = "raw.json"
            Path("raw.json").write_text("{}")
            may = "either"
        case "a marker that lies":
            Path("raw.json").write_text(chance.choice(["", "[]", "{", "null", "x" * 1000]))
            source, may = "raw.json", "either"
        case "a link out":
            Path("raw.zarr/kspace").rename("elsewhere")
            Path("raw.zarr/kspace").symlink_to("../elsewhere")
            may = "either"
        case "a zip in a zip":
            zip_folder("raw.zarr", "inner.zip")
            with zipfile.ZipFile("raw.zip", "w") as archive:
                archive.write("inner.zip")
            source = "raw.zip"
        case "a zip with ..":
            with zipfile.ZipFile("raw.zip", "w") as archive:
                archive.writestr("../../zarr.json", Path("raw.zarr/zarr.json").read_text())
            source = "raw.zip"
    made.row["source"] = source
    made.write()
    right = misfit if may == "accepted" else None
    return Trial(whole("merge"), may, ("scan", source), right)
