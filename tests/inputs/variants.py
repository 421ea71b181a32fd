"""The same acquisition in unusual types, names and places: right, or refused."""

import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import (
    AXES,
    SHAPE,
    acquisition,
    arrays_given,
    bart_given,
    given,
    misfit,
    truth,
    write_container,
    write_native,
    zip_folder,
)
from inputs.trial import Given, Trial, ingested, kind, kinds, whole

PAIRS = [("r", "<f4"), ("i", "<f4")]
GOOD_TYPES: dict[str, tuple[str, ...]] = {
    "kspace": ("<c8", ">c8", "<c16", ">c16", "clongdouble"),
    "trajectory": ("<f4", ">f4", "<f8", ">f8", "longdouble", "f2"),
    "sensitivities": ("<c8", ">c8", "<c16", ">c16"),
    "weights": ("f2", ">f8", "i1", "u1", "u8", "?", ">i4"),
    "noise": ("<c8", ">c16"),
}
"""Of each array: types that hold its values, for weights of one everywhere."""
BAD_TYPES = ("U3", "S3", "V8", "M8[s]", "O", "fields", "c8 weights")


def everything(chance: Random) -> dict[str, np.ndarray]:
    """Return the acquisition with weights and a noise scan."""
    noise = np.random.default_rng(chance.randrange(99)).standard_normal((2, 50, 2))
    measured = acquisition()
    return {
        **measured,
        "weights": np.ones(measured["kspace"].shape[2:]),
        "noise": 1e-3 * noise.view(np.complex128)[..., 0],
    }


@kinds(
    "good: type", [f"{name} {type_}" for name, types in GOOD_TYPES.items() for type_ in types], 1
)
def good_type(chance: Random, what: str) -> Trial:
    """Whatever holds the values gives their image."""
    name, type_ = what.split()
    arrays = everything(chance)
    arrays[name] = arrays[name].astype(type_)
    plain = type_ not in ("clongdouble", "longdouble")  # which HDF5 and MATLAB have no place for
    able = {"npy", "npz", "npz compressed"} | ({"hdf5", "hdf5 chunks"} if plain else set())
    if plain and type_ not in ("f2", "?"):
        able |= {"mat5", "mat7.3"}
    container = chance.choice(sorted(able))
    arrays_given(container, arrays).write()
    tolerance = 0.1 if type_ == "f2" else 0.05
    return Trial(whole("merge"), "accepted", wrong=lambda: misfit(most=tolerance), about=container)


@kinds("array changed: to", BAD_TYPES, 3)
def bad_type(chance: Random, type_: str) -> Trial:
    arrays = everything(chance)
    name = "weights" if "weights" in type_ else chance.choice(sorted(arrays))
    shape = arrays[name].shape
    if type_ == "fields":
        arrays[name] = np.zeros(shape, [("a", "f4"), ("b", "f4"), ("c", "f4")])
    elif type_ == "c8 weights":
        arrays[name] = arrays[name] + 1j
    else:
        arrays[name] = np.zeros(shape, type_)
    arrays_given(chance.choice(["npy", "npz"]), arrays).write()
    return Trial(ingested, "refused", ("scan",), about=name)


@kinds("good: store of", ("f8", "i2", "f4 weights", ">c8", "c16"), 2)
def store_type(chance: Random, type_: str) -> Trial:
    """This project's own layout in other types: a trajectory of integers is none."""
    import zarr

    write_native()
    group = zarr.open_group("raw.zarr", mode="r+")
    name = {"f8": "trajectory", "f4 weights": "weights"}.get(type_, "kspace")
    values = acquisition()["kspace"]
    if name == "weights":
        group.create_array("weights", data=np.ones((1, *values.shape[2:]), "f4"))
    else:
        values = acquisition()[name]
        del group[name]
        group.create_array(name, data=values.astype(type_))
    given("native", "raw.zarr").write()
    if type_ == "i2":
        return Trial(whole("merge"), named=("scan",))
    return Trial(whole("merge"), "accepted", wrong=misfit)


ODD_NAMES = (
    *("é", "測定", "a b", "a.b", "-x", "KSPACE", "a:b", "%s", "{x}", "a'b", "x" * 200, "\u202e"),
)


@kinds("good: name", range(len(ODD_NAMES)), 2)
def good_name(chance: Random, number: int) -> Trial:
    """Files and arrays are called what people call them."""
    name = ODD_NAMES[number]
    container = chance.choice(["npz", "hdf5", "npy"])
    arrays = acquisition()
    source, files = write_container(container, {f"{key}{name}": v for key, v in arrays.items()})
    end = "" if files else Path(source).suffix
    Path(source).rename(f"{name}{end}")
    mapping = {
        key: {"file" if files else "name": f"{key}{name}{'.npy' if files else ''}",
              "axes": list(AXES[key])}
        for key in arrays
    }  # fmt: skip
    given("arrays", f"{name}{end}", arrays=mapping).write()
    return Trial(whole("merge"), "accepted", wrong=misfit, about=f"{container} {name!r:.20}")


LINKED = ("the source", "a file of the source", "data_root", "a store", "a chunk", "results",
          "the config", "a hard link", "a bart file", "an absolute path")  # fmt: skip


def _moved(path: str) -> None:
    """Put a file or folder elsewhere, and a link in its place."""
    Path("elsewhere").mkdir(exist_ok=True)
    Path(path).rename(Path("elsewhere", Path(path).name))
    Path(path).symlink_to(Path("elsewhere", Path(path).name).absolute())


@kinds("good: link", LINKED, 2)
def linked(chance: Random, what: str) -> Trial:
    """Links to what is right are as right."""
    if what in ("a store", "a chunk"):
        write_native()
        made = given("native", "raw.zarr")
        _moved("raw.zarr" if what == "a store" else "raw.zarr/kspace/c/0/0/0/0")
    elif what == "a bart file":
        made = bart_given()
        _moved("ksp.cfl")
    else:
        made = arrays_given("npy" if what == "a file of the source" else "npz")
    made.write()
    match what:
        case "the source":
            _moved("source.npz")
        case "a file of the source":
            _moved("source/kspace.npy")
        case "data_root":
            Path("root").symlink_to(".")
            made.config["data_root"] = "root"
            made.write()
        case "results":
            Path("elsewhere").mkdir()
            Path("results").symlink_to("elsewhere")
        case "the config":
            _moved("config.yaml")
        case "a hard link":
            os.link("source.npz", "same.npz")
        case "an absolute path":
            made.row["source"] = str(Path("source.npz").absolute())
            made.write()
    return Trial(whole("merge"), "accepted", wrong=misfit)


def _sparse(path: str, size: int) -> None:
    with Path(path).open("r+b") as file:
        file.truncate(size)


@kinds("path: sparse", ("npy", "cfl", "zip", "hdf5", "config", "table", "exp"), 2)
def sparse(chance: Random, what: str) -> Trial:
    """Files that say they are a terabyte, and are a few blocks on disk."""
    size, named = 10**12, ("scan", "table.tsv", "config.yaml")
    readouts = size // (8 * 2 * 28)
    made: Given
    match what:
        case "npy":
            made = arrays_given("npy")
            big = np.lib.format.open_memmap("source/big.npy", "w+", "<c8", (1, 2, 26, 28))
            del big
            content = Path("source/big.npy").read_bytes()[:128]
            shape = str((1, 2, readouts, 28)).encode()
            head = content[:10] + content[10:].replace(b"(1, 2, 26, 28)", shape)[:118]
            Path("source/kspace.npy").write_bytes(head)
            _sparse("source/kspace.npy", 128 + 8 * 2 * 28 * readouts)
        case "cfl":
            made = bart_given()
            Path("ksp.hdr").write_text(f"# Dimensions\n1 28 {readouts} 2\n")
            _sparse("ksp.cfl", 8 * 2 * 28 * readouts)
        case "zip" | "hdf5":
            made = arrays_given("npz" if what == "zip" else "hdf5")
            _sparse(made.row["source"], size)
        case "exp":
            from inputs.rf import fresnel_given

            made = fresnel_given()
            _sparse("source.exp", size)
        case _:
            made = arrays_given("npz")
    made.write()
    if what in ("config", "table"):
        _sparse({"config": "config.yaml", "table": "table.tsv"}[what], size)
    return Trial(ingested, "either" if what == "hdf5" else "refused", named)


def _reference(what: str) -> Any:
    image = truth()
    match what:
        case "right":
            return image
        case "three frames":
            return truth(3)
        case "zero":
            return image * 0
        case "NaN":
            return image + np.nan
        case "1e30":
            return image * 1e30
        case "1e-30":
            return image * 1e-30
        case "half the matrix":
            return image[:, ::2, ::2]
        case "real":
            return np.abs(image)
        case "integers":
            return (1000 * np.abs(image)).astype(">i2")
        case "constant":
            return np.ones_like(image)
        case _:
            return image[0]


REFERENCES = ("right", "three frames", "zero", "NaN", "1e30", "1e-30", "half the matrix", "real",
              "integers", "constant", "an axis less")  # fmt: skip


@kinds("array changed: reference", REFERENCES, 2)
def reference(chance: Random, what: str) -> Trial:
    """What metrics are taken against."""
    arrays = {**acquisition(), "reference": np.asarray(_reference(what))}
    source, _ = write_container("npz", arrays)
    axes = {**AXES, "reference": ("frame", "y", "x")}
    mapping = {name: {"name": name, "axes": list(axes[name])} for name in arrays}
    given("arrays", source, arrays=mapping).write()
    may = "accepted" if what in ("right", "real", "integers") else "either"
    if what in ("NaN", "half the matrix", "an axis less", "three frames"):
        may = "refused"
    return Trial(whole(), may, ("reference",), misfit if may == "accepted" else None)


@kind("good: store packed twice", 2)
def packed(chance: Random) -> Trial:
    """A zip file that another program made, with folders as entries of their own."""
    import zipfile

    write_native()
    zip_folder("raw.zarr", "raw.zarr.zip")
    with zipfile.ZipFile("raw.zarr.zip", "a") as archive:
        archive.mkdir("kspace")
        archive.mkdir("extra")
    given("native", "raw.zarr.zip").write()
    return Trial(whole("merge"), "accepted", wrong=misfit)


@kind("array changed: shape of the image", 12)
def shape(chance: Random) -> Trial:
    """A matrix that the maps are not of."""
    made = arrays_given("npz")
    made.config["sources"]["scan"]["shape"] = chance.choice(
        [[14, 12], [12, 14, 2], [2, 2], [12, 15], [10**6, 10**6], [SHAPE[0] * 2, SHAPE[1] * 2]]
    )
    made.write()
    return Trial(ingested, "refused", ("sensitivities", "trajectory", "scan"))
