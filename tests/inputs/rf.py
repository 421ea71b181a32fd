"""Radar and microwave data that are wrong, damaged or hostile, in each of their formats."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import damaged, given, mutated, write_container
from inputs.trial import Given, Trial, ingested, kind, kinds, whole

SPEED_OF_LIGHT = 299_792_458.0
PULSES = 24
FREQUENCIES = np.linspace(9.3e9, 9.9e9, 16)
SCENE: dict[str, Any] = {"shape": [16, 16], "spacing": [0.5, 0.5], "origin": [0.0, 0.0, 0.0]}
POINT = (3, -2)  # voxels from the centre
FRESNEL = np.array([2.0, 3.0, 5.0])


def _positions() -> np.ndarray:
    azimuth = np.deg2rad(np.linspace(0, 3, PULSES))
    return 1e4 * np.stack([np.cos(azimuth), np.sin(azimuth), np.full(PULSES, 0.1)], axis=1)


def history() -> dict[str, np.ndarray]:
    """Return the pulses that a bright point sends back, ``y [pulse, freq]``, and where from."""
    places = _positions()
    reference = np.linalg.norm(places, axis=1)
    point = np.array([*np.multiply(POINT, 0.5), 0.0])
    path = np.linalg.norm(places - point, axis=1) - reference
    y = np.exp(-4j * np.pi * np.multiply.outer(path, FREQUENCIES) / SPEED_OF_LIGHT)
    return {
        "y": y,
        "frequencies": FREQUENCIES,
        "transmitter": places,
        "reference_path": 2 * reference,
    }


def brightest() -> str | None:
    """Say if the brightest voxel is not where the point is."""
    import zarr

    image = np.asarray(zarr.open_group("results/scan/mf/image.zarr", mode="r")["image"])
    if not np.isfinite(image).all():
        return "the image is not finite"
    found = np.unravel_index(np.argmax(np.abs(image[0, 0])), image.shape[2:])
    expected = tuple(8 + p for p in POINT[::-1])  # y, x
    return None if np.abs(np.subtract(found, expected)).max() <= 1 else f"the point is at {found}"


def gotcha_given(fields: dict[str, Any] | None = None) -> Given:
    """Write pulses as the Gotcha files hold them."""
    from scipy.io import savemat

    savemat(
        "source.mat", {"data": gotcha_fields() if fields is None else fields}, do_compression=True
    )
    return given("gotcha", "source.mat", "rf", scene=SCENE)


def gotcha_fields() -> dict[str, Any]:
    """Return the structure of a Gotcha file."""
    measured = history()
    places = measured["transmitter"]
    return {"fp": measured["y"].T.astype(np.complex64), "freq": FREQUENCIES[:, None],
            **{name: places[:, i] for i, name in enumerate("xyz")},
            "r0": np.linalg.norm(places, axis=1)}  # fmt: skip


def pulses_given(container: str = "npz", arrays: dict[str, np.ndarray] | None = None) -> Given:
    """Write pulses as arrays."""
    source, files = write_container(container, history() if arrays is None else arrays)
    axes = {"y": ["pulse", "freq"], "frequencies": ["freq"], "transmitter": ["pulse", "coordinate"],
            "reference_path": ["pulse"]}  # fmt: skip
    if container == "mat5":  # which knows no vectors
        axes |= {"frequencies": ["1", "freq"], "reference_path": ["1", "pulse"]}
    mapping = {name: {**({"file": files[name]} if files else {"name": name}), "axes": entry}
               for name, entry in axes.items()}  # fmt: skip
    return given("arrays", source, "rf", scene=SCENE, arrays=mapping)


def native_given(arrays: dict[str, np.ndarray] | None = None) -> Given:
    """Write pulses as another program would write this project's own layout."""
    import zarr

    measured = {name: value[None] if name != "frequencies" else value
                for name, value in history().items()}  # fmt: skip
    measured["receiver"] = measured["transmitter"]
    measured |= arrays or {}
    group = zarr.open_group("raw.zarr", mode="w", zarr_format=3)
    group.attrs.update(kind="rf", **SCENE)
    for name, value in measured.items():
        group.create_array(name, data=value.astype("c8" if value.dtype.kind == "c" else "f8"))
    return given("native", "raw.zarr", "rf")


def pairs_given() -> Given:
    """Write two pairs of small arrays of antennas, which measure noise."""
    import zarr

    generator = np.random.default_rng(1)
    group = zarr.open_group("raw.zarr", mode="w", zarr_format=3)
    group.attrs.update(kind="rf", shape=[8, 8], spacing=[0.1, 0.1], origin=[0.0, 0.0, 0.0])
    frequencies = np.linspace(1e9, 1.2e9, 3)
    group.create_array("frequencies", data=frequencies)
    y = generator.standard_normal((1, 2, 3, 4, 5, 2)).view(np.complex128)[..., 0]
    group.create_array("y", data=y.astype(np.complex64))
    for pair in range(2):
        own = group.create_group(f"pair/{pair}")
        for name, count, axis in (("tx", 4, 0), ("rx", 5, 1)):
            places = np.zeros((count, 3))
            places[:, axis] = np.arange(count) * 0.15
            places[:, 2] = -20.0 - pair
            own.create_array(name, data=places)
    return given("native", "raw.zarr", "rf")


@kinds("good RF", ["gotcha", "pulses", "native", "pairs", "simulation", "fresnel"], 3)
def good(chance: Random, what: str) -> Trial:
    made = {"gotcha": gotcha_given, "pulses": pulses_given, "native": native_given,
            "pairs": pairs_given, "fresnel": fresnel_given}.get(what)  # fmt: skip
    files = made() if made else given("simulation", "rf6", "rf", seed=chance.randrange(9))
    files.write()
    right = brightest if what in ("gotcha", "pulses", "native") else None
    return Trial(whole("measure"), "accepted", wrong=right)


def fresnel_given(rows: list[list[float]] | None = None) -> Given:
    """Write fields as the Institut Fresnel's files hold them: noise around a plane wave."""
    table = fresnel_rows() if rows is None else rows
    head = ["# Institut Fresnel, Marseille, FRANCE", "# Number of frequencies : 3 (2 --> 5 GHz)",
            "# Number of views : 2", "# Number of receivers : 5 per view."]  # fmt: skip
    lines = [
        f"{v:3.0f} {r:4.0f} {f:6.1f} " + " ".join(f"{x: .9e}" for x in e) for v, r, f, *e in table
    ]
    Path("source.exp").write_text("\n".join([*head, *lines]) + "\n")
    return given("fresnel", "source.exp", "rf",
                 scene={"shape": [8, 8], "spacing": [0.01, 0.01]})  # fmt: skip


def fresnel_rows() -> list[list[float]]:
    """Return rows of two views of five receivers at three frequencies."""
    generator = np.random.default_rng(3)
    rows = []
    for view in (1, 2):
        for step in (100, 140, 180, 220, 260):
            receiver = ((view - 1) * 180 + step) % 360 + 1
            rows += [[view, receiver, f, *generator.standard_normal(4)] for f in FRESNEL]
    return rows


GOOD_TYPES = ("y >c8", "y <c16", "frequencies f4", "transmitter >f8", "transmitter f4",
              "reference_path >f8", "frequencies >f8")  # fmt: skip


@kinds("good RF: type", GOOD_TYPES, 2)
def good_type(chance: Random, what: str) -> Trial:
    """Single precision resolves positions to a mm at 10 km: a tenth of a wave, and no more."""
    name, type_ = what.split()
    arrays = history()
    arrays[name] = arrays[name].astype(type_)
    made = pulses_given(chance.choice(["npz", "npy", "hdf5 chunks", "mat5", "mat7.3"]), arrays)
    made.write()
    return Trial(whole("measure"), "accepted", wrong=brightest, about=made.row["source"])


@kind("RF store: damaged chunk", 20)
def chunk(chance: Random) -> Trial:
    made = chance.choice([native_given, pairs_given])()
    made.write()
    path = chance.choice([path for path in sorted(Path("raw.zarr").rglob("*"))
                          if path.is_file() and path.name != "zarr.json"])  # fmt: skip
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=f"{path} {about}")


EXTRAS: dict[str, Any] = {
    "weights": [0.0, -1.0, float("nan"), 1.0, 1e30],
    "noise_std": [0.0, -1.0, float("nan"), 1e-3, 1e30],
    "reference": [0.0, 1.0, float("nan"), 1e30],
    "targets": [0.0, 1e9, float("nan")],
}


@kinds("RF array: beside", EXTRAS, 6)
def extras(chance: Random, name: str) -> Trial:
    """Weights, noise, a reference and targets that come with a measurement."""
    measured = history()
    shape = {"weights": measured["y"].shape, "noise_std": (), "reference": (16, 16)}.get(name)
    if shape is None:
        shape = chance.choice([(1, 2), (1, 3), (1, 4), (0, 4), (3,)])
    value = chance.choice(EXTRAS[name])
    made = native_given({name: np.full(shape, value)})
    made.write()
    return Trial(whole(), named=("scan", "raw.zarr"), about=f"{shape} {value}")


@kind("RF: damaged", 40)
def damage(chance: Random) -> Trial:
    made = chance.choice([gotcha_given, pulses_given, fresnel_given])()
    made.write()
    path = Path(made.row["source"])
    content, about = damaged(path.read_bytes(), chance, header=chance.choice([0, 0, 300]))
    path.write_bytes(content)
    return Trial(whole("merge"), named=("scan",), about=f"{path} {about}")


def _one(values: np.ndarray, chance: Random, value: float) -> np.ndarray:
    copy = np.array(values, values.dtype if values.dtype.kind in "fc" else float)
    copy.ravel()[chance.randrange(copy.size)] = value
    return copy


CHANGES = {
    "NaN": lambda v, c: _one(v, c, np.nan),
    "infinity": lambda v, c: _one(v, c, np.inf),
    "1e300": lambda v, c: _one(v, c, 1e300),
    "zero": lambda v, c: v * 0,
    "tiny": lambda v, c: v * 1e-300,
    "huge": lambda v, c: v * 1e200,
    "large": lambda v, c: v * 1e12,
    "empty": lambda v, c: v[:0],
    "one": lambda v, c: v[:1],
    "one less": lambda v, c: v[:-1],
    "an axis more": lambda v, c: v[None],
    "a number": lambda v, c: v.ravel()[0],
    "transposed": lambda v, c: v.T,
    "reversed": lambda v, c: v[::-1],
    "complex": lambda v, c: v + 1j,
    "text": lambda v, c: np.full(v.shape, "x"),
    "booleans": lambda v, c: v.real > 0,
}


@kinds("RF array", CHANGES, 6)
def change(chance: Random, what: str) -> Trial:
    format_ = chance.choice(["gotcha", "pulses", "native"])
    if format_ == "gotcha":
        fields = gotcha_fields()
        name = chance.choice(sorted(fields))
        fields[name] = CHANGES[what](fields[name], chance)
        made = gotcha_given(fields)
    elif format_ == "pulses":
        made = pulses_given()
        arrays = history()
        name = chance.choice(sorted(arrays))
        arrays[name] = np.asarray(CHANGES[what](arrays[name], chance))
        write_container("npz", arrays)
    else:
        made = native_given()
        import zarr

        group = zarr.open_group("raw.zarr", mode="r+")
        name = chance.choice(sorted(group.array_keys()))
        values = np.asarray(CHANGES[what](np.asarray(group[name]), chance))
        del group[name]
        group.create_array(name, data=values)
    made.write()
    return Trial(whole("measure"), named=("scan",), about=f"{format_} {name} {what}")


ATTRIBUTES: dict[str, Any] = {
    "shape": [[1, 1], [0, 0], [16], [-1, 16], [10**9, 10**9], "ab", None, [16.5, 16], [[16]], {}],
    "spacing": [[float("nan")] * 2, [1e300] * 2, [1e-300] * 2, [0, 0], [-1, 1], "ab", None, [1], 3],
    "origin": [[float("nan")] * 3, [1e300] * 3, [1] * 9, "abc", None, 1, [], [1e20, 0, 0]],
    "range": [float("nan"), 0, -1, 1e300, "x", [], True, 1e-300],
    "kind": ["mri", None, [], 1],
    "time_sign": ["-", 0, None, [], {}, 1.0, "x", True],
    "coherent": ["no", None, [], 0],
    "model_error": ["x", float("nan"), -1, [], 1e300],
    "layout": ["pairs", "phase-history", 1, []],
    "frames": [0, -1, 10**9, "x"],
    "tx_grid": [[4, 1], [0, 0], [10**9, 1], "x", None, [2, 2], [-2, -2], [4], 4, [[4, 1]]],
    "source": [None, 1, {"a": 1}],
}  # fmt: skip


@kinds("RF attribute", ATTRIBUTES, 8)
def attribute(chance: Random, name: str) -> Trial:
    import zarr

    made = chance.choice([native_given, pairs_given])()
    group = zarr.open_group("raw.zarr", mode="r+")
    value = chance.choice(ATTRIBUTES[name])
    where = group["pair/0"] if name == "tx_grid" and "pair" in group else group
    where.attrs[name] = value
    made.config["output"] = {"ome_zarr": True, "nifti": True}
    made.write()
    return Trial(whole(), named=("scan", "raw.zarr"), about=f"{value!r:.60}")


@kind("RF metadata changed", 60)
def metadata(chance: Random) -> Trial:
    made = chance.choice([native_given, pairs_given])()
    path = chance.choice(sorted(Path("raw.zarr").rglob("zarr.json")))
    content, about = mutated(json.loads(path.read_text()), chance)
    path.write_text(json.dumps(content))
    made.write()
    return Trial(whole("merge"), named=("scan", "raw.zarr"), about=f"{path} {about}")


LAYOUTS = ("pair is an array", "pair is empty", "pairs of odd names", "pair without positions",
           "frequencies is a group", "no frequencies", "calib is an array", "scene is an array",
           "1e12 frequencies", "1e12 pulses", "1e18 values of y", "pair 10^6", "paired antennas",
           "a chunk is missing", "a chunk of shape 0", "text", "positions of 10^12")  # fmt: skip


@kinds("RF store:", LAYOUTS, 3)
def layout(chance: Random, what: str) -> Trial:
    import zarr

    pulses = what in ("calib is an array", "scene is an array", "1e12 frequencies", "1e12 pulses",
                      "pair is an array", "a chunk is missing")  # fmt: skip
    made = native_given() if pulses else pairs_given()
    group = zarr.open_group("raw.zarr", mode="r+")
    match what:
        case "pair is an array":
            group.create_array("pair", data=np.zeros(3))
        case "pair is empty":
            del group["pair/0"], group["pair/1"]
        case "pairs of odd names":
            group.create_group(
                chance.choice(["pair/x", "pair/5", "pair/-1", "pair/ 1", "pair/\u0663"])
            )
        case "pair without positions":
            del group["pair/1/tx"]
        case "frequencies is a group" | "no frequencies":
            del group["frequencies"]
            if "group" in what:
                group.create_group("frequencies")
        case "calib is an array" | "scene is an array":
            group.create_array(what.split(maxsplit=1)[0], data=np.zeros(3))
        case "1e12 frequencies":
            del group["frequencies"]
            group.create_array("frequencies", shape=(10**12,), chunks=(1000,), dtype="f8")
        case "1e12 pulses":
            del group["y"], group["transmitter"]
            group.create_array("y", shape=(1, 10**12, 16), chunks=(1, 1000, 16), dtype="c8")
            group.create_array("transmitter", shape=(1, 10**12, 3), chunks=(1, 1000, 3), dtype="f8")
        case "1e18 values of y":
            del group["y"]
            group.create_array("y", shape=(10**16, 2, 3, 4, 5), chunks=(1, 2, 3, 4, 5), dtype="c8")
        case "pair 10^6":
            for index in range(2, 300):
                group.create_group(f"pair/{index}")
        case "paired antennas":
            group["pair/0"].attrs["paired"] = True
        case "a chunk is missing":
            next(path for path in Path("raw.zarr/y/c").rglob("*") if path.is_file()).unlink()
        case "a chunk of shape 0":
            path = Path("raw.zarr/y/zarr.json")
            content = json.loads(path.read_text())
            content["chunk_grid"]["configuration"]["chunk_shape"][0] = 0
            path.write_text(json.dumps(content))
        case "text":
            del group["pair/0/tx"]
            group.create_array("pair/0/tx", shape=(4, 3), dtype="<U4")
        case "positions of 10^12":
            del group["pair/0/tx"]
            group.create_array("pair/0/tx", shape=(10**12, 3), chunks=(1000, 3), dtype="f8")
    made.write()
    may = "either" if what in ("paired antennas", "scene is an array") else "refused"
    return Trial(whole("merge"), may, ("scan", "raw.zarr"))


@kind("RF settings changed", 60)
def settings(chance: Random) -> Trial:
    made = chance.choice([gotcha_given, pulses_given, fresnel_given, pairs_given])()
    scan = made.config["sources"].setdefault("scan", {})
    scan |= {"pair_correction": {"phase": [0.0, 0.0], "delay": [0.0, 0.0]}, "reference_target": {
        "position": [0.0, 0.0, 0.0], "amplitude": 1.0, "element_gains": False,
        "largest_delay": 1e-9}, "coherent": True} if chance.random() < 0.3 else {}  # fmt: skip
    if not scan:
        scan["seed"] = 0
    made.config["sources"]["scan"], about = mutated(scan, chance)
    made.write()
    return Trial(whole("measure"), named=("scan", "config.yaml"), about=about)


RF_RECONSTRUCTIONS: tuple[dict[str, Any], ...] = (
    {"algorithm": "matched-filter", "model": "auto", "model_error": 0.1},
    {"algorithm": "tikhonov", "iterations": 3, "regularization": 1e-3, "model": "W",
     "fusion": "coherent", "normal": "factors"},
    {"algorithm": "fista", "iterations": 3, "penalty": "l21", "fusion": "non-coherent"},
    {"algorithm": "admm", "iterations": 3, "penalty": "l1", "model": "F", "force_model": True},
    {"algorithm": "omp", "points": 2, "fusion": "phase-aligned"},
)  # fmt: skip


@kind("RF reconstruction changed", 60)
def reconstruction(chance: Random) -> Trial:
    made = chance.choice([gotcha_given, pairs_given])()
    values = (
        *("W", "W+D", "N", "UPA", "stored", "explicit", "toeplitz", "factors", "none", "noise"),
        *("discrepancy", "circulant", "kronecker", 0, -1, 1, 0.5, 1e-9, 1e9, True, None, []),
    )
    made.config["reconstructions"]["mf"], about = mutated(
        chance.choice(RF_RECONSTRUCTIONS), chance, values
    )
    made.write()
    return Trial(whole("measure"), named=("scan", "config.yaml", "table.tsv"), about=about)


@kind("fresnel: text", 25)
def fresnel(chance: Random) -> Trial:
    rows = fresnel_rows()
    row, column = chance.randrange(len(rows)), chance.randrange(7)
    value = chance.choice([0, -1, 1e300, float("nan"), float("inf"), 1e12, 0.5, 361, 1e-300])
    rows[row][column] = value
    made = fresnel_given(rows)
    text = Path("source.exp").read_text()
    if chance.random() < 0.4:
        old = chance.choice(["2 (", "views : 2", "receivers : 5", "frequencies : 3"])
        text = text.replace(old, old[:-1] + chance.choice(["9" * 30, "0", "-1", "\u0663", ""]))
        Path("source.exp").write_text(text)
    made.write()
    return Trial(whole("measure"), named=("scan",), about=f"{row} {column} {value}")


@kind("gotcha: folder", 6)
def gotcha_folder(chance: Random) -> Trial:
    made = gotcha_given()
    Path("folder").mkdir()
    what = chance.choice(
        ["empty", "two sizes", "text", "two polarisations", "no fields", "a folder"]
    )
    if what != "empty":
        Path("source.mat").rename("folder/a_HH.mat")
    if what in ("two sizes", "two polarisations", "no fields"):
        fields = gotcha_fields()
        fields["freq"] = fields["freq"] * (1 if "polar" in what else 1.01)
        gotcha_given({"x": 1} if what == "no fields" else fields)
        Path("source.mat").rename(f"folder/b_{'VV' if 'polar' in what else 'HH'}.mat")
    elif what == "text":
        Path("folder/b.mat").write_text("text")
    elif what == "a folder":
        Path("folder/b.mat").mkdir()
    made.row["source"] = "folder"
    made.write()
    return Trial(ingested, "refused", ("scan",), about=what)
