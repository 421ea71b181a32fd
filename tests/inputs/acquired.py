"""Tiny acquisitions whose images are known, in every container that the formats read."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.trial import Given

SHAPE = (12, 14)
COILS, READOUTS, SAMPLES = 2, 26, 28
AXES = {
    "kspace": ("frame", "coil", "readout", "sample"),
    "trajectory": ("frame", "readout", "sample", "axis"),
    "sensitivities": ("coil", "y", "x"),
    "weights": ("readout", "sample"),
    "noise": ("coil", "sample"),
}
CONTAINERS = (
    *("npy", "npz", "npz compressed", "hdf5", "hdf5 chunks", "hdf5 fletcher", "hdf5 pairs"),
    *("mat5", "mat5 compressed", "mat7.3"),
)


def truth(frames: int = 1) -> np.ndarray:
    """Return a smooth image without symmetry, complex128 ``[frame, y, x]``."""
    y, x = np.meshgrid(*[np.arange(size) - size // 2 for size in SHAPE], indexing="ij")
    blobs = [(1.0, -1.5, 2.0, 2.2), (0.7j, 2.5, -2.5, 1.6), (-0.5, 1.0, 4.0, 1.5)]
    images = []
    for frame in range(frames):
        images.append(
            sum(
                a
                * (1 + 0.3 * frame)
                * np.exp(-((y - cy) ** 2 + (x - cx + 0.5 * frame) ** 2) / w**2)
                for a, cy, cx, w in blobs
            )
        )
    return np.stack(images)


def acquisition(frames: int = 1) -> dict[str, np.ndarray]:
    """Return what is measured: exact sums over a golden-angle trajectory, well sampled."""
    from pipeline.mri.generators.radial import golden_radial

    y, x = np.meshgrid(*[np.arange(size) - size // 2 for size in SHAPE], indexing="ij")
    maps = np.stack([np.exp(1j * 0.1 * x) * (1 + 0.05 * y), np.exp(-0.2j * y) * (1 - 0.04 * x)])
    maps /= np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))
    k = np.stack([golden_radial(READOUTS, SAMPLES, frame=frame) for frame in range(frames)])
    places = np.stack([y.ravel(), x.ravel()])
    kspace = np.empty((frames, COILS, READOUTS, SAMPLES), np.complex128)
    for frame, image in enumerate(truth(frames)):
        sums = np.exp(-1j * k[frame].reshape(-1, 2) @ places)
        kspace[frame] = ((maps * image).reshape(COILS, -1) @ sums.T).reshape(kspace.shape[1:])
    return {"kspace": kspace, "trajectory": k, "sensitivities": maps}


def misfit(frames: int = 1, factor: complex = 1.0, most: float = 0.05) -> str | None:
    """Say how the image of a run differs from the truth, or None if it does not."""
    import zarr

    image = np.asarray(zarr.open_group("results/scan/cg/image.zarr", mode="r")["image"])[:, 0]
    expected = factor * truth(frames)
    if image.shape != expected.shape:
        return f"the image has the shape {image.shape}, not {expected.shape}"
    if not np.isfinite(image).all():
        return "the image is not finite"
    error = np.linalg.norm(image - expected) / np.linalg.norm(expected)
    return None if error < most else f"the image is wrong by {error:.3g}"


def altered() -> str | None:
    """Say which array of `raw.zarr` is not what was measured, to the last bit, or None."""
    import zarr

    group = zarr.open_group("results/scan/raw.zarr", mode="r")
    for name, values in acquisition().items():
        stored = np.asarray(group[name])
        expected = values.astype(stored.dtype).reshape(stored.shape)
        off = np.abs(stored - expected).max()
        if off > 1e-6 * np.abs(expected).max():
            return f"{name} is off by {off:.3g}"
    return None


def write_container(container: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, dict[str, str]]:
    """Write arrays; return the source, and the file of each array where it is a folder."""
    if container == "npy":
        Path("source").mkdir(exist_ok=True)
        for name, values in arrays.items():
            np.save(f"source/{name}.npy", values)
        return "source", {name: f"{name}.npy" for name in arrays}
    if container.startswith("npz"):
        (np.savez if container == "npz" else np.savez_compressed)("source.npz", **arrays)
        return "source.npz", {}
    if container.startswith("mat5"):
        from scipy.io import savemat

        savemat("source.mat", dict(arrays), do_compression="compressed" in container)
        return "source.mat", {}
    import h5py

    path = "source.mat" if container == "mat7.3" else "source.h5"
    options: dict[str, Any] = {}
    with h5py.File(path, "w", userblock_size=512 if container == "mat7.3" else 0) as file:
        for name, stored in arrays.items():
            values = stored
            if container == "hdf5 chunks" and values.ndim:
                options = {"chunks": True, "compression": "gzip", "shuffle": True}
            if container == "hdf5 fletcher":
                options = {"chunks": True, "fletcher32": True}
            if container in ("hdf5 pairs", "mat7.3") and values.dtype.kind == "c":
                part = values.real.dtype
                pairs = np.empty(values.shape, [("real", part), ("imag", part)])
                pairs["real"], pairs["imag"] = values.real, values.imag
                values = pairs
            file.create_dataset(name, data=values, **options)
    if container == "mat7.3":
        with Path(path).open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path, {}


def config(**sources: Any) -> dict[str, Any]:
    """Return settings that reconstruct a tiny acquisition exactly."""
    return {
        "memory": {"host_mb": 1400},
        "compute": {"device": "cpu", "threads": 1},
        "output": {"ome_zarr": False, "nifti": False},
        "sources": {"scan": {"shape": list(SHAPE), **sources}},
        "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 20, "weights": "none"}},
    }


def given(
    format_: str, source: str, kind: str = "mri", chosen: str = "cg", **sources: Any
) -> Given:
    """Return files of a user with one dataset, `scan`."""
    content = config(**sources)
    if kind == "rf":
        del content["sources"]["scan"]["shape"]
        content["reconstructions"] = {"mf": {"algorithm": "matched-filter"}}
        chosen = "mf"
    row = {"dataset": "scan", "kind": kind, "format": format_, "source": source,
           "reconstruction": chosen}  # fmt: skip
    return Given(content, row)


def arrays_given(container: str = "npz", arrays: Mapping[str, np.ndarray] | None = None) -> Given:
    """Write a good acquisition into a container and return how a user would name it."""
    values = acquisition() if arrays is None else dict(arrays)
    source, files = write_container(container, values)
    mapping: dict[str, dict[str, Any]] = {}
    for name, array in values.items():
        axes = list(AXES[name])[-array.ndim :] if array.ndim else []
        mapping[name] = {"name": name, "axes": axes}
        if files:
            mapping[name] = {"file": files[name], "axes": axes}
    return given("arrays", source, arrays=mapping)


def simulated(**simulation: Any) -> Given:
    """Return a tiny simulated dataset."""
    chosen = {"trajectory": "golden-radial", "readouts": 9, "samples": 24, "coils": 2, **simulation}
    made = given("simulation", "shepp-logan", simulation=chosen)
    made.config["reconstructions"]["cg"]["iterations"] = 10
    return made


def write_native(
    path: str = "raw.zarr", arrays: Mapping[str, np.ndarray] | None = None, **options: Any
) -> None:
    """Write an acquisition as another program would write this project's own layout."""
    import zarr

    values = acquisition() if arrays is None else dict(arrays)
    values = {name: array[:, None] if name == "sensitivities" else array
              for name, array in values.items()}  # fmt: skip
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(kind="mri", shape=list(SHAPE), voxel_size=[0.001, 0.001])
    for name, array in values.items():
        dtype = np.float32 if array.dtype.kind == "f" else np.complex64
        chunks = tuple(max(1, size // 2) for size in array.shape)
        group.create_array(name, data=array.astype(dtype), **{"chunks": chunks, **options})


def zip_folder(folder: str, path: str) -> None:
    """Pack a store into a zip file, uncompressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))


def write_bart(base: str, values: np.ndarray, sizes: str | None = None) -> None:
    """Write a pair of BART files; the last axis of ``values`` is dimension 0."""
    told = " ".join(map(str, reversed(values.shape))) if sizes is None else sizes
    Path(f"{base}.hdr").write_text(f"# Dimensions\n{told}\n")
    values.astype("<c8").tofile(f"{base}.cfl")


def bart_given() -> Given:
    """Write a good acquisition as BART does."""
    measured = acquisition()
    k = np.zeros((READOUTS, SAMPLES, 3))
    k[..., :2] = (measured["trajectory"][0] * np.array(SHAPE) / (2 * np.pi))[..., ::-1]
    write_bart("ksp", measured["kspace"][0][..., None])
    write_bart("traj", k)
    write_bart("sens", measured["sensitivities"][:, None])
    return given("bart", ".", bart={"kspace": "ksp", "trajectory": "traj", "sensitivities": "sens"})


WEIRD: tuple[Any, ...] = (
    *(None, "", "auto", "nan", "-", "\x00", "a\nb", "\u202e", "../..", "é" * 50, "x" * 5000),
    *(-1, 0, 1, 2, 3, 2**31, 2**63, 10**18, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e300, -1e300),
    *(float("nan"), float("inf"), -float("inf")),
    *(True, False, [], {}, [0], [0, 0], [1, 1], [1, 1, 1, 1], [1e300, 1e300], [None, None], [[[]]]),
    *({"a": 1}, {"": ""}, [-1, 4], ["a", "b"], [2**40, 2**40], [1e-30, 1e30], [float("nan")] * 2),
)
"""Values that nobody expects."""


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each node of a JSON tree, the root left out."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    found = [at] if at else []
    for key, value in items:
        found += places(value, (*at, key))
    return found


def mutated(tree: Any, chance: Random, values: tuple[Any, ...] = WEIRD) -> tuple[Any, str]:
    """Return a copy of a JSON tree with a node that is replaced, removed or added, and which."""
    copy = json.loads(json.dumps(tree))
    where = chance.choice(places(copy))
    node = copy
    for key in where[:-1]:
        node = node[key]
    what = chance.random()
    if what < 0.12:
        del node[where[-1]]
        return copy, f"{where} removed"
    value = chance.choice(values)
    if what < 0.2 and isinstance(node, dict):
        key = chance.choice(["x", "", "Shape", "\x00", "__class__", "null"])
        node[key] = value
        return copy, f"{(*where[:-1], key)} = {value!r:.60}"
    node[where[-1]] = value
    return copy, f"{where} = {value!r:.60}"


def damaged(content: bytes, chance: Random, *, header: int = 0) -> tuple[bytes, str]:
    """Return damaged bytes, and what was done; ``header`` keeps flips to the first bytes."""
    size = max(1, min(header or len(content), len(content)))
    match chance.randrange(6):
        case 0:
            at = chance.randrange(size)
            flipped = content[at] ^ (1 << chance.randrange(8)) if content else 0
            return content[:at] + bytes([flipped]) + content[at + 1 :], f"bit flipped at {at}"
        case 1:
            at = chance.randrange(size)
            return content[:at], f"cut off at {at}"
        case 2:
            at, many = chance.randrange(size), chance.choice([4, 16, 64])
            return content[:at] + bytes(many) + content[at + many :], f"{many} zeros at {at}"
        case 3:
            at, many = chance.randrange(size), chance.choice([4, 16])
            noise = chance.randbytes(many)
            return content[:at] + noise + content[at + many :], f"{many} random at {at}"
        case 4:
            at = chance.randrange(size)
            return content[:at] + content[at + 3 :], f"3 bytes lost at {at}"
        case _:
            return b"", "emptied"
