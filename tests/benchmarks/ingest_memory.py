"""Predicted against measured memory of ingest, for a source of 2 GiB in each layout.

``python tests/benchmarks/ingest_memory.py [WORDS]`` prints a table for docs/performance.md. Sources
are written piece by piece to ``--folder``, which needs 8 GiB, one after the other. Each is ingested
in a fresh process.
"""

import argparse
import io
import math
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.base import canonical_json
from pipeline.config.sources import IngestSettings
from pipeline.storage.publish import read_json

COILS, SAMPLES = 16, 512
AXES = ("coil", "readout", "sample")
_BLOCK = np.random.default_rng(0).standard_normal((256, SAMPLES, 2), np.float32)
_BLOCK = _BLOCK.view(np.complex64)[..., 0]
Make = Callable[[Path, int], dict[str, Any]]
"""Writes k-space of so many readouts to a folder; returns its entry in `arrays`."""


def coil_values(readouts: int, seed: int) -> np.ndarray:
    """Return k-space of a coil that does not compress, complex64 ``[readout, sample]``."""
    return np.resize(_BLOCK, (readouts, SAMPLES)) * np.complex64(1 + seed / 7)


def _coils(readouts: int) -> Iterator[np.ndarray]:
    for coil in range(COILS):
        yield coil_values(readouts, coil)


def _npy_header(shape: tuple[int, ...], *, fortran: bool = False) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<c8", "fortran_order": fortran, "shape": shape}
    )
    return file.getvalue()


def npy(folder: Path, readouts: int) -> dict[str, Any]:
    with (folder / "kspace.npy").open("wb") as file:
        file.write(_npy_header((COILS, readouts, SAMPLES)))
        for coil in _coils(readouts):
            coil.tofile(file)
    return {"file": "kspace.npy", "axes": AXES}


def npy_fortran(folder: Path, readouts: int) -> dict[str, Any]:
    """The coil is the fastest axis."""
    with (folder / "kspace.npy").open("wb") as file:
        file.write(_npy_header((COILS, readouts, SAMPLES), fortran=True))
        for sample in range(SAMPLES):
            coil_values(readouts * COILS // SAMPLES, sample).tofile(file)
    return {"file": "kspace.npy", "axes": AXES}


def npy_joined(folder: Path, readouts: int) -> dict[str, Any]:
    """Of each readout all frames follow each other, and readouts are joined with frames."""
    with (folder / "kspace.npy").open("wb") as file:
        file.write(_npy_header((COILS, readouts, SAMPLES)))
        for coil in _coils(readouts):
            coil.tofile(file)
    return {"file": "kspace.npy", "axes": ("coil", "readout frame", "sample")}


def _npz(folder: Path, readouts: int, compression: int) -> dict[str, Any]:
    with (
        zipfile.ZipFile(folder / "kspace.npz", "w", compression, compresslevel=1) as archive,
        archive.open("kspace.npy", "w", force_zip64=True) as file,
    ):
        file.write(_npy_header((COILS, readouts, SAMPLES)))
        for coil in _coils(readouts):
            file.write(coil.tobytes())
    return {"file": "kspace.npz", "axes": AXES}


def npz_stored(folder: Path, readouts: int) -> dict[str, Any]:
    return _npz(folder, readouts, zipfile.ZIP_STORED)


def npz_compressed(folder: Path, readouts: int) -> dict[str, Any]:
    return _npz(folder, readouts, zipfile.ZIP_DEFLATED)


def _hdf5(folder: Path, readouts: int, **options: Any) -> dict[str, Any]:
    import h5py

    with h5py.File(folder / "kspace.h5", "w") as file:
        stored = file.create_dataset("kspace", (COILS, readouts, SAMPLES), "<c8", **options)
        for index, coil in enumerate(_coils(readouts)):
            stored[index] = coil
    return {"file": "kspace.h5", "axes": AXES}


def hdf5_contiguous(folder: Path, readouts: int) -> dict[str, Any]:
    return _hdf5(folder, readouts)


def hdf5_coil(folder: Path, readouts: int) -> dict[str, Any]:
    """A chunk is a coil, as it is."""
    return _hdf5(folder, readouts, chunks=(1, readouts, SAMPLES))


def hdf5_packed(folder: Path, readouts: int) -> dict[str, Any]:
    """A chunk of 4 MiB holds all coils of some readouts, compressed."""
    chunks = (COILS, 64, SAMPLES)
    import h5py

    with h5py.File(folder / "kspace.h5", "w") as file:
        stored = file.create_dataset(
            "kspace", (COILS, readouts, SAMPLES), "<c8", chunks=chunks, compression=1, shuffle=True
        )
        for start in range(0, readouts, 64):
            stored[:, start : start + 64] = coil_values(COILS * 64, start).reshape(chunks)
    return {"file": "kspace.h5", "axes": AXES}


def hdf5_packed_coil(folder: Path, readouts: int) -> dict[str, Any]:
    """A chunk is a coil, compressed."""
    return _hdf5(folder, readouts, chunks=(1, readouts, SAMPLES), compression=1)


def hdf5_packed_whole(folder: Path, readouts: int) -> dict[str, Any]:
    """All is one compressed chunk."""
    import h5py

    shape = (COILS, readouts, SAMPLES)
    packer = zlib.compressobj(1)
    zeros = bytes(2**20)
    packed = [packer.compress(zeros) for _ in range(math.prod(shape) * 8 // 2**20)]
    with h5py.File(folder / "kspace.h5", "w") as file:
        stored = file.create_dataset("kspace", shape, "<c8", chunks=shape, compression=1)
        stored.id.write_direct_chunk((0, 0, 0), b"".join([*packed, packer.flush()]))
    return {"file": "kspace.h5", "axes": AXES}


def matlab_73(folder: Path, readouts: int) -> dict[str, Any]:
    """Version 7.3: HDF5 with axes in reverse and complex numbers as pairs."""
    import h5py

    pairs = np.dtype([("real", "<f4"), ("imag", "<f4")])
    with h5py.File(folder / "kspace.mat", "w", userblock_size=512) as file:
        stored = file.create_dataset(
            "kspace", (COILS, readouts, SAMPLES), pairs, chunks=(1, 64, SAMPLES), compression=1
        )
        for index, coil in enumerate(_coils(readouts)):
            stored[index] = coil.view(pairs)
    return {"file": "kspace.mat", "axes": AXES}


def _matlab_5(readouts: int) -> Iterator[bytes]:
    """Yield a matrix ``[sample, readout, coil]`` in single precision, part by part."""

    def tag(kind: int, size: int) -> bytes:
        return struct.pack("<II", kind, size)

    count = COILS * readouts * SAMPLES
    head = tag(6, 8) + struct.pack("<II", 7 | 0x800, 0)
    head += tag(5, 12) + struct.pack("<iii4x", SAMPLES, readouts, COILS) + tag(1, 6) + b"kspace\0\0"
    yield tag(14, len(head) + 2 * (8 + 4 * count)) + head
    for part in ("real", "imag"):
        yield tag(7, 4 * count)
        for coil in _coils(readouts):
            yield getattr(coil, part).tobytes()


_MATLAB_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def matlab_5(folder: Path, readouts: int) -> dict[str, Any]:
    with (folder / "kspace.mat").open("wb") as file:
        file.write(_MATLAB_HEADER)
        for part in _matlab_5(readouts):
            file.write(part)
    return {"file": "kspace.mat", "axes": AXES[::-1]}


def matlab_5_packed(folder: Path, readouts: int) -> dict[str, Any]:
    packer, size = zlib.compressobj(1), 0
    with (folder / "kspace.mat").open("wb") as file:
        file.write(_MATLAB_HEADER + bytes(8))
        for part in _matlab_5(readouts):
            size += file.write(packer.compress(part))
        size += file.write(packer.flush())
        file.seek(len(_MATLAB_HEADER))
        file.write(struct.pack("<II", 15, size))
    return {"file": "kspace.mat", "axes": AXES[::-1]}


ARRAYS: dict[str, Make] = {
    "NumPy": npy,
    "NumPy, Fortran order": npy_fortran,
    "NumPy, readouts joined with 64 frames": npy_joined,
    "NumPy archive": npz_stored,
    "NumPy archive, compressed": npz_compressed,
    "HDF5, contiguous": hdf5_contiguous,
    "HDF5, a chunk a coil": hdf5_coil,
    "HDF5, compressed chunks of 4 MiB": hdf5_packed,
    "HDF5, a compressed chunk a coil": hdf5_packed_coil,
    "HDF5, one compressed chunk": hdf5_packed_whole,
    "MATLAB 7.3, compressed": matlab_73,
    "MATLAB 5": matlab_5,
    "MATLAB 5, compressed": matlab_5_packed,
}


def arrays_of(make: Make, folder: Path, readouts: int) -> IngestSettings:
    """Write a source of k-space as ``make`` does, with a trajectory."""
    entry = make(folder, readouts)
    frames = 64 if "readout frame" in entry["axes"] else 1
    shape = (readouts // frames, SAMPLES, 3)
    k = np.random.default_rng(1).uniform(-3.1, 3.1, shape).astype(np.float32)
    np.save(folder / "trajectory.npy", k)
    trajectory = {"file": "trajectory.npy", "axes": ("readout", "sample", "axis")}
    details = {"shape": (64, 64, 64), "arrays": {"kspace": entry, "trajectory": trajectory}}
    if frames > 1:
        details["readouts_per_frame"] = readouts // frames
    return IngestSettings(kind="mri", format="arrays", source=str(folder), details=details)


def stack(folder: Path, readouts: int) -> IngestSettings:
    """64 partitions one after the other, which become slices."""
    settings = arrays_of(npy, folder, readouts)
    k = np.load(folder / "trajectory.npy").reshape(64, -1, SAMPLES, 3)
    k[..., 1:] = k[0, ..., 1:]
    k[..., 0] = (np.arange(64) - 32)[:, None, None] * (2 * np.pi / 64)
    np.save(folder / "trajectory.npy", k.reshape(readouts, SAMPLES, 3))
    return settings.model_copy(
        update={"details": settings.details.model_copy(update={"decouple_partitions": True})}
    )


def _zarr(folder: Path, readouts: int, chunks: tuple[int, ...], **options: Any) -> IngestSettings:
    import zarr

    group = zarr.open_group(folder / "raw.zarr", mode="w", zarr_format=3)
    group.attrs.update(kind="mri", shape=[64, 64, 64], voxel_size=[1e-3] * 3)
    stored = group.create_array(
        "kspace", shape=(1, COILS, readouts, SAMPLES), chunks=chunks, dtype="c8", **options
    )
    along = (stored.shards or stored.chunks)[1]
    for start in range(0, COILS, along):
        stored[0, start : start + along] = np.stack(
            [coil_values(readouts, coil) for coil in range(start, start + along)]
        )
    k = np.random.default_rng(1).uniform(-3.1, 3.1, (1, readouts, SAMPLES, 3)).astype(np.float32)
    group.create_array("trajectory", data=k, chunks=(1, 2048, SAMPLES, 3))
    return IngestSettings(kind="mri", format="native", source=str(folder / "raw.zarr"), details={})


def zarr_plain(folder: Path, readouts: int) -> IngestSettings:
    return _zarr(folder, readouts, (1, 1, 2048, SAMPLES), compressors=None)


def zarr_packed(folder: Path, readouts: int) -> IngestSettings:
    return _zarr(folder, readouts, (1, 1, 2048, SAMPLES))


def zarr_coil(folder: Path, readouts: int) -> IngestSettings:
    return _zarr(folder, readouts, (1, 1, readouts, SAMPLES))


def zarr_shards(folder: Path, readouts: int) -> IngestSettings:
    return _zarr(folder, readouts, (1, 1, 256, SAMPLES), shards=(1, 1, readouts, SAMPLES))


def zarr_whole(folder: Path, readouts: int) -> IngestSettings:
    """All is one chunk, as it is; written without Zarr, which would hold it."""
    import zarr

    settings = _zarr(folder, 2048, (1, 1, 2048, SAMPLES), compressors=None)
    group = zarr.open_group(folder / "raw.zarr", mode="r+")
    shape = (1, COILS, readouts, SAMPLES)
    del group["kspace"], group["trajectory"]
    group.create_array("kspace", shape=shape, chunks=shape, dtype="c8", compressors=None)
    k = np.random.default_rng(1).uniform(-3.1, 3.1, (1, readouts, SAMPLES, 3)).astype(np.float32)
    group.create_array("trajectory", data=k, chunks=(1, 2048, SAMPLES, 3))
    place = folder / "raw.zarr/kspace/c/0/0/0/0"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        for coil in _coils(readouts):
            coil.tofile(file)
    return settings


def bart(folder: Path, readouts: int) -> IngestSettings:
    def write(name: str, sizes: list[int], parts: Iterator[np.ndarray]) -> None:
        (folder / f"{name}.hdr").write_text(f"# Dimensions\n{' '.join(map(str, sizes))}\n")
        with (folder / f"{name}.cfl").open("wb") as file:
            for part in parts:
                part.astype(np.complex64).tofile(file)

    write("kspace", [1, SAMPLES, readouts, COILS], _coils(readouts))
    k = np.random.default_rng(1).uniform(-30, 30, (readouts, SAMPLES, 3))
    write("trajectory", [3, SAMPLES, readouts], iter([k]))
    details = {"shape": (64, 64, 64), "bart": {"kspace": "kspace", "trajectory": "trajectory"}}
    return IngestSettings(kind="mri", format="bart", source=str(folder), details=details)


def simulation(folder: Path, readouts: int) -> IngestSettings:
    """256^3 voxels, 20 coils; 40 million samples take hours, and as much memory as these."""
    details = {
        "shape": (256, 256, 256),
        "simulation": {
            "trajectory": "kooshball", "readouts": max(64, readouts // 10), "samples": SAMPLES,
            "coils": 20, "snr_db": 30.0,
        },
    }  # fmt: skip
    return IngestSettings(kind="mri", format="simulation", source="shepp-logan", details=details)


SOURCES: dict[str, Callable[[Path, int], IngestSettings]] = {
    **{
        name: lambda folder, readouts, make=make: arrays_of(make, folder, readouts)
        for name, make in ARRAYS.items()
    },
    "Zarr": zarr_plain,
    "Zarr, compressed chunks of 8 MiB": zarr_packed,
    "Zarr, a compressed chunk a coil": zarr_coil,
    "Zarr, a shard a coil": zarr_shards,
    "Zarr, one chunk": zarr_whole,
    "BART": bart,
    "NumPy, partitions into slices": stack,
    "simulation": simulation,
}


def main() -> None:
    """Measure all sources, or those whose names contain the words on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--gib", type=float, default=2.0, help="size of k-space")
    given = parser.parse_args()
    readouts = round(given.gib * 2**30 / (COILS * SAMPLES * 8) / 256) * 256
    say("| source | measured MB | predicted MB | ratio | MB/s |\n|---|---|---|---|---|")
    for name, write in SOURCES.items():
        if not all(word in name for word in given.words):
            continue
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            settings = write(Path(folder), readouts)
            say(f"| {name} | {_ingested(settings, Path(folder))} |")


def _ingested(settings: IngestSettings, folder: Path) -> str:
    receipt, raw = folder / "results/ingest.json", folder / "results/raw.json"
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "ingest", "--dataset", "scan"),
            *("--settings", canonical_json(settings), "--raw", raw, "--receipt", receipt),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"refused in {time.perf_counter() - start:.1f} s: {done.stderr.splitlines()[-1]}"
    told = read_json(receipt)
    measured, predicted = told["peak_host_bytes"] / 1e6, told["predicted_host_bytes"] / 1e6
    written = told["phases"]["write"]["bytes"] / 1e6
    return (
        f"{measured:.0f} | {predicted:.0f} | {predicted / measured:.2f} | "
        f"{written / told['seconds']:.0f}"
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
