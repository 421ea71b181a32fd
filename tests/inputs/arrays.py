"""Files of arrays, and BART's, that are wrong, damaged or hostile."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import (
    AXES,
    CONTAINERS,
    SHAPE,
    acquisition,
    altered,
    arrays_given,
    damaged,
    given,
    misfit,
    mutated,
    write_container,
)
from inputs.trial import Given, May, Trial, ingested, kind, kinds, whole


def _source(made) -> Path:
    return Path(made.row["source"])


@kinds("damaged file", CONTAINERS, 12)
def damage(chance: Random, container: str) -> Trial:
    """Without checksums a wrong value cannot be told from a right one, but it does not crash."""
    made = arrays_given(container)
    made.write()
    path = _source(made)
    if path.is_dir():
        path = path / chance.choice(["kspace.npy", "trajectory.npy", "sensitivities.npy"])
    header = chance.choice([0, 0, 128, 600])
    content, about = damaged(path.read_bytes(), chance, header=header)
    path.write_bytes(content)
    return Trial(whole("merge"), named=("scan", path.name), about=about)


CHECKED = ("npz", "npz compressed", "hdf5 fletcher", "mat5 compressed")


@kinds("damaged values", CHECKED, 6)
def damaged_values(chance: Random, container: str) -> Trial:
    """Damage among values that have a checksum is met, or does no harm."""
    made = arrays_given(container)
    made.write()
    content = bytearray(_source(made).read_bytes())
    at = chance.randrange(len(content) // 4, len(content) * 3 // 4)
    content[at : at + 4] = chance.randbytes(4)
    _source(made).write_bytes(content)
    return Trial(ingested, wrong=altered, named=("scan",), about=f"4 bytes at {at}")


def _zeros(values, chance):
    values[:] = 0
    return values


CHANGES = {
    "NaN": lambda v, c: _put(v, c, np.nan),
    "infinity": lambda v, c: _put(v, c, np.inf),
    "1e300": lambda v, c: _put(v, c, 1e300),
    "all 1e30": lambda v, c: v * 0 + 1e30,
    "all zero": _zeros,
    "empty": lambda v, c: v[..., :0],
    "no axes": lambda v, c: v.ravel()[0],
    "one value": lambda v, c: v.ravel()[:1].reshape((1,) * v.ndim),
    "an axis more": lambda v, c: v[None],
    "an axis less": lambda v, c: v[0],
    "one less": lambda v, c: v[..., :-1],
    "transposed": lambda v, c: np.swapaxes(v, -1, -2),
    "booleans": lambda v, c: v.real > 0,
    "int8": lambda v, c: np.clip(v.real, -100, 100).astype(np.int8),
    "text": lambda v, c: np.full(v.shape, "x"),
    "bytes": lambda v, c: np.full(v.shape, b"x"),
    "times": lambda v, c: np.zeros(v.shape, "datetime64[s]"),
    "records": lambda v, c: np.zeros(v.shape, [("a", "f4"), ("b", "i4")]),
    "objects": lambda v, c: np.full(v.shape, {"a": 1}, object),
    "half precision": lambda v, c: v.real.astype(np.float16),
    "long double": lambda v, c: v.real.astype(np.longdouble),
    "uint64": lambda v, c: np.full(v.shape, 2**64 - 1, np.uint64),
}
STORABLE = {
    "npz": set(CHANGES),
    "hdf5": set(CHANGES) - {"text", "times", "objects", "long double"},
    "mat5": set(CHANGES) - {"times", "half precision", "long double"},
}


def _put(values, chance, value):
    values.ravel()[chance.randrange(values.size)] = value
    return values


@kinds("array changed", CHANGES, 6)
def change(chance: Random, what: str) -> Trial:
    container = chance.choice([name for name, able in STORABLE.items() if what in able])
    arrays = acquisition()
    name = chance.choice(sorted(arrays))
    arrays[name] = np.asarray(CHANGES[what](arrays[name].copy(), chance))
    made = arrays_given(container, arrays)
    made.config["sources"]["scan"]["arrays"][name]["axes"] = list(AXES[name])
    made.write()
    may: May = "refused" if what == "all zero" else "either"
    return Trial(whole("merge"), may, ("scan",), about=f"{container}: {name} {what}")


@kind("mapping changed", 60)
def mapping(chance: Random) -> Trial:
    made = arrays_given(chance.choice(["npz", "npy", "hdf5"]))
    scan = made.config["sources"]["scan"]
    names = ["kspace", "trajectory", "sensitivities", "traj", "/kspace", "../kspace", "é", ""]
    axes = ["frame", "coil", "readout", "sample", "axis", "y", "1", "sample readout", "pair"]
    pool = (*names, *axes, axes[:4], axes[3::-1], [], ["1"] * 40, 0.0, -1.0, 1e300, 1e-300, None,
            10**30, True, {}, "rad_per_m", ["x", "y"], ["x", "x"])  # fmt: skip
    scan["arrays"], about = mutated(scan["arrays"], chance, pool)
    if chance.random() < 0.3:
        scan["samples_per_readout"] = chance.choice([1, 7, 28, 29, 10**9, 10**30])
    made.write()
    return Trial(whole("merge"), named=("scan",), about=about)


def _npy(header: str, values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header.encode("latin-1") + values


HEADERS = {
    "1e18 values": "{'descr': '<c8', 'fortran_order': False, 'shape': (1000000000, 1000000000), }",
    "a huge integer": "{'descr': '<c8', 'fortran_order': False, 'shape': (" + "9" * 4000 + ",), }",
    "a negative size": "{'descr': '<c8', 'fortran_order': False, 'shape': (-1, -840), }",
    "sizes that are text": "{'descr': '<c8', 'fortran_order': False, 'shape': ('a', 2), }",
    "sizes that are floats": "{'descr': '<c8', 'fortran_order': False, 'shape': (2.0, 2.0), }",
    "nested brackets": "{'descr': '<c8', 'fortran_order': False, 'shape': " + "(" * 9000,
    "a call": "__import__('os').system('touch hacked')",
    "an unknown type": "{'descr': 'x99', 'fortran_order': False, 'shape': (2,), }",
    "a type of a million fields": "{'descr': [" + "('a', '<f4'), " * 3000 + "], 'shape': (2,)}",
    "a header of NUL": "\x00" * 100,
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (2, 26, 28), }",
    "no shape": "{'descr': '<c8', 'fortran_order': False}",
    "2000 axes": "{'descr': '<c8', 'fortran_order': False, 'shape': (" + "1, " * 2000 + "), }",
}


@kinds("NumPy header", HEADERS, 2)
def header(chance: Random, what: str) -> Trial:
    content = _npy(HEADERS[what], bytes(chance.choice([0, 16, 20000])), chance.choice(
        [b"\x01\x00", b"\x02\x00", b"\x03\x00"]))  # fmt: skip
    if chance.random() < 0.5:
        made = arrays_given("npy")
        Path("source/kspace.npy").write_bytes(content)
    else:
        made = arrays_given("npz")
        with zipfile.ZipFile("source.npz") as old:
            others = {name: old.read(name) for name in old.namelist() if "kspace" not in name}
        with zipfile.ZipFile("source.npz", "w", chance.choice([0, 8])) as new:
            for name, values in {**others, "kspace.npy": content}.items():
                new.writestr(name, values)
    made.write()
    return Trial(ingested, "refused", ("kspace",), about=what)


@kind("NumPy header of 4 GB", 2)
def long_header(chance: Random) -> Trial:
    made = arrays_given("npy")
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 10) + b"{" * 200
    Path("source/kspace.npy").write_bytes(content)
    made.write()
    return Trial(ingested, "refused", ("kspace",))


@kind("bomb: npz", 3)
def npz_bomb(chance: Random) -> Trial:
    """Half a gigabyte of zeros in half a megabyte, that no mapping wants."""
    made = arrays_given("npz compressed")
    shape = chance.choice(["(50000000,)", "(2, 26, 28)", "(3, 2, 26, 28)"])
    head = _npy(f"{{'descr': '<c8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n")
    with (
        zipfile.ZipFile("source.npz", "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("bomb.npy", "w", force_zip64=True) as member,
    ):
        member.write(head)
        for _ in range(500):
            member.write(bytes(10**6))
    made.config["sources"]["scan"]["arrays"]["kspace"]["name"] = "bomb"
    made.write()
    return Trial(ingested, "refused", ("kspace",), about=shape)


@kind("bomb: mat5", 2)
def mat_bomb(chance: Random) -> Trial:
    """A compressed matrix that says it is 4 GB and holds 16 MB of zeros, packed."""
    made = arrays_given("mat5 compressed")
    rows = 2**28
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    sizes = struct.pack("<IIii", 5, 8, rows, 2)
    name = struct.pack("<IH", 1, 6)[:4] + struct.pack("<I", 6) + b"kspace\x00\x00"
    body = flags + sizes + name + struct.pack("<II", 9, (rows * 16) % 2**32) + bytes(2**24)
    packed = zlib.compress(struct.pack("<II", 14, 2**31) + body)
    content = _source(made).read_bytes()[:128] + struct.pack("<II", 15, len(packed)) + packed
    _source(made).write_bytes(content)
    made.write()
    return Trial(ingested, "refused", ("kspace", "source.mat"))


def _declared(shape: tuple[int, ...], axes: list[str], **options: Any) -> Given:
    """Write an HDF5 file whose k-space is only declared."""
    import h5py

    measured = acquisition()
    made = arrays_given("hdf5", {name: measured[name] for name in ("kspace", "trajectory")})
    with h5py.File("source.h5", "a") as file:
        del file["kspace"]
        file.create_dataset("kspace", shape, "<c8", **options)
    made.config["sources"]["scan"]["arrays"]["kspace"]["axes"] = axes
    return made


ALL_AXES = ["frame", "coil", "readout", "sample"]
HUGE = {
    "1e18 frames": (10**18, 2, 26, 28),
    "1e9 coils": (1, 10**9, 26, 28),
    "1e12 coils": (1, 10**12, 26, 28),
    "1e18 coils": (1, 10**18, 26, 28),
    "a chunk of 8 GB": (1, 1400000, 26, 28),
}


@kinds("HDF5 that declares", HUGE, 3)
def hdf5_huge(chance: Random, what: str) -> Trial:
    """Chunks that were never written take no room in the file."""
    shape = HUGE[what]
    chunks = shape if "chunk" in what else (1, 2, 26, 28)
    if "chunk" in what:  # HDF5 allows 4 GB a chunk
        chunks = (1, 700000, 26, 28)
    made = _declared(shape, ALL_AXES, chunks=chunks)
    made.write()
    return Trial(ingested, "refused", ("kspace",))


@kind("HDF5 that declares: 1e18 samples", 3)
def hdf5_huge_trajectory(chance: Random) -> Trial:
    import h5py

    made = _declared((1, 2, 10**9, 10**9), ALL_AXES, chunks=(1, 1, 1, 1000))
    with h5py.File("source.h5", "a") as file:
        del file["trajectory"]
        file.create_dataset("trajectory", (1, 10**9, 10**9, 2), "<f4", chunks=(1, 1, 1000, 2))
    made.write()
    return Trial(ingested, "refused", ("kspace", "trajectory"))


@kind("HDF5 chunk that was never written", 4)
def hdf5_missing(chance: Random) -> Trial:
    """What was never written reads as zeros: a coil would be lost in silence."""
    import h5py

    values = acquisition()["kspace"]
    made = _declared(values.shape, ALL_AXES, chunks=(1, 1, 26, 28))
    with h5py.File("source.h5", "a") as file:
        file["kspace"][:, :1] = values[:, :1]
    made.write()
    return Trial(whole("merge"), "refused", ("kspace",))


@kind("bomb: HDF5 chunk", 3)
def hdf5_bomb(chance: Random) -> Trial:
    """One chunk of 3 GB that is stored in 3 MB."""
    import h5py

    shape = (1, 515000, 26, 28)
    made = _declared(shape, ALL_AXES, chunks=shape, compression="gzip")
    with h5py.File("source.h5", "a") as file:
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(bytes(10**8)) for _ in range(30)) + packer.flush()
        file["kspace"].id.write_direct_chunk((0, 0, 0, 0), packed)
    made.write()
    return Trial(ingested, "refused", ("kspace",))


@kind("HDF5 of unusual kinds", 12)
def hdf5_kinds(chance: Random) -> Trial:
    import h5py

    made = arrays_given("hdf5")
    what = chance.choice(["external", "virtual", "soft link", "loop", "external link", "null",
                          "vlen", "enum", "opaque", "reference", "compound", "group"])  # fmt: skip
    with h5py.File("source.h5", "a") as file:
        values = file["kspace"][...]
        del file["kspace"]
        match what:
            case "external":
                Path("raw.bin").write_bytes(bytes(values.nbytes))
                file.create_dataset("kspace", values.shape, values.dtype,
                                    external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])  # fmt: skip
            case "virtual":
                layout = h5py.VirtualLayout(values.shape, values.dtype)
                layout[...] = h5py.VirtualSource("other.h5", "kspace", values.shape)
                file.create_virtual_dataset("kspace", layout)
            case "soft link":
                file["kspace"] = h5py.SoftLink("/nowhere")
            case "loop":
                file["kspace"], file["other"] = h5py.SoftLink("/other"), h5py.SoftLink("/kspace")
            case "external link":
                file["kspace"] = h5py.ExternalLink("/etc/passwd", "/x")
            case "null":
                file["kspace"] = h5py.Empty("c8")
            case "vlen":
                file.create_dataset("kspace", values.shape, h5py.vlen_dtype(np.float32))
            case "enum":
                file.create_dataset("kspace", values.shape, h5py.enum_dtype({"a": 1}, "i4"))
            case "opaque":
                file.create_dataset("kspace", values.shape, np.dtype("V8"))
            case "reference":
                file.create_dataset("kspace", values.shape, h5py.ref_dtype)
            case "compound":
                file.create_dataset("kspace", values.shape, [("real", "S4"), ("imag", "S4")])
            case "group":
                file.create_group("kspace")
    made.write()
    return Trial(ingested, "refused", ("kspace",), about=what)


@kind("zip file of unusual kinds", 10)
def npz_kinds(chance: Random) -> Trial:
    made = arrays_given("npz")
    what = chance.choice(["encrypted", "nested", "bzip2", "lzma", "twice", "folder", "directory"])
    buffer = io.BytesIO()
    np.save(buffer, acquisition()["kspace"])
    method = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}.get(what, 0)
    content = buffer.getvalue()
    with zipfile.ZipFile("source.npz") as old:
        others = {name: old.read(name) for name in old.namelist() if "kspace" not in name}
    with zipfile.ZipFile("source.npz", "w", method) as new:
        for name, values in others.items():
            new.writestr(name, values)
        if what == "nested":
            content = Path(__file__).read_bytes()
        new.writestr("kspace.npy/" if what == "directory" else "kspace.npy", content)
    if what == "encrypted":
        raw = bytearray(Path("source.npz").read_bytes())
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            raw[raw.rfind(mark) + at] |= 1
        Path("source.npz").write_bytes(raw)
    made.write()
    return Trial(whole("merge"), wrong=misfit, named=("kspace", "source.npz"), about=what)


@kind("units", 12)
def units(chance: Random) -> Trial:
    """A trajectory in other units than it is said to be in is refused, or it is right."""
    arrays = acquisition()
    factor = chance.choice([1 / (2 * np.pi), SHAPE[0] / (2 * np.pi), 1e3, 180 / np.pi, 1e-30, 1e30])
    arrays["trajectory"] = arrays["trajectory"] * factor
    made = arrays_given("npz", arrays)
    made.write()
    return Trial(whole("merge"), "refused", ("trajectory",), about=f"{factor}")


@kind("table of arrays", 8)
def sets_of_arrays(chance: Random) -> Trial:
    """Arrays that are missing, or too many, or not for this kind of data."""
    arrays = acquisition()
    for name in chance.sample(sorted(arrays), chance.randrange(1, 3)):
        del arrays[name]
    source, _ = write_container("npz", {**arrays, "unused": np.zeros(3)})
    names = chance.sample(["kspace", "trajectory", "noise", "y", "tx"], chance.randrange(4))
    mapping = {name: {"name": name, "axes": ["coil", "sample"]} for name in [*arrays, *names]}
    made = given("arrays", source, arrays=mapping)
    made.write()
    return Trial(ingested, "refused", ("scan",), about=f"{sorted(mapping)}")
