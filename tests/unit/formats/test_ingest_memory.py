"""Ingest keeps to its limit whatever the layout of its source, and copies it rightly."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from twix_files import block, end, header, write_twix

from benchmarks.ingest_memory import COILS, SAMPLES, SOURCES, coil_values
from pipeline.config.base import canonical_json
from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine import processes
from pipeline.errors import PlanError
from pipeline.mri.raw import RawData
from pipeline.stages.ingest import ingest
from pipeline.storage.publish import read_json

READOUTS = 768
WHOLE = COILS * READOUTS * SAMPLES * 8
LIMIT_MB = 126  # what is beside the process, 42 MB, is less than the 50 MB of k-space


def ingested(name, folder, readouts=READOUTS):
    """Ingest k-space of 50 MB; return the marker, the receipt and the peak of allocations."""
    settings = SOURCES[name](folder, readouts)
    out = folder / "out"
    tracemalloc.start()
    try:
        ingest(
            settings=settings, dataset="scan", raw=out / "raw.json", receipt=out / "ingest.json",
            ingest_mb=LIMIT_MB,
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return out / "raw.json", read_json(out / "ingest.json"), peak


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    """Import what a first ingest imports, which is counted with the process."""
    ingested("NumPy", tmp_path_factory.mktemp("small"), readouts=64)


@pytest.mark.parametrize(
    "name",
    [
        "NumPy, Fortran order",
        pytest.param("NumPy, readouts joined with 64 frames", marks=pytest.mark.slow),
        "NumPy archive",
        pytest.param("NumPy archive, compressed", marks=pytest.mark.slow),
        "HDF5, contiguous",
        "HDF5, compressed chunks of 4 MiB",
        pytest.param("MATLAB 5, compressed", marks=pytest.mark.slow),
        "Zarr, compressed chunks of 8 MiB",
        "BART",
        "NumPy, partitions into slices",
    ],
)
def test_no_array_is_taken_whole(name, tmp_path):
    marker, receipt, peak = ingested(name, tmp_path)
    predicted = receipt["predicted_host_bytes"]
    assert peak <= predicted - processes.INGEST <= LIMIT_MB * 10**6 - processes.INGEST < WHOLE
    raw = RawData.open(marker)
    if name == "NumPy, partitions into slices":
        coil = coil_values(READOUTS, 5).reshape(64, -1, SAMPLES)
        expected = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(coil, axes=0), axis=0), axes=0)
        for frame in (0, 31, 63):
            np.testing.assert_allclose(raw.kspace(frame)[5], expected[frame], atol=1e-5)
        return
    if name == "NumPy, Fortran order":
        expected = np.load(tmp_path / "kspace.npy", mmap_mode="r")
    elif name == "HDF5, compressed chunks of 4 MiB":
        blocks = [coil_values(COILS * 64, start) for start in range(0, READOUTS, 64)]
        expected = np.concatenate([each.reshape(COILS, 64, SAMPLES) for each in blocks], axis=1)
    else:
        expected = [coil_values(READOUTS, coil) for coil in range(COILS)]
    for coil in (0, 5, COILS - 1):
        each = np.stack([raw.kspace(frame)[coil] for frame in range(raw.frames)], axis=1)
        np.testing.assert_array_equal(each.reshape(READOUTS, SAMPLES), expected[coil])


@pytest.mark.parametrize("name", ["HDF5, one compressed chunk", "Zarr, one chunk"])
def test_a_chunk_that_does_not_fit_is_refused_before_it_is_read(name, tmp_path):
    with pytest.raises(
        PlanError,
        match=r"^scan: ingest needs 1\d\d MB, but memory.ingest_mb is 126 MB \(.*kspace: a tile as "
        r"it is read \d+.* MB\)\. .*the source in smaller chunks",
    ):
        ingested(name, tmp_path)
    assert not (tmp_path / "out/raw.json").exists()


def twix(folder, readouts):
    pytest.importorskip("twixtools")
    samples = np.ones((2, SAMPLES), "c8")
    lines = [block(samples, Lin=line, line_centre=readouts // 2) for line in range(readouts)]
    head = header(base=SAMPLES // 2, columns=SAMPLES, lines=readouts)
    path = write_twix(folder / "meas.dat", [head, *lines, end()])
    return IngestSettings(kind="mri", format="twix", source=str(path), details=SourceSettings())


@pytest.mark.parametrize("source", [SOURCES["HDF5, contiguous"], twix])
def test_what_a_reader_loads_is_predicted(source, tmp_path):
    """Of small data, libraries are nearly all."""
    settings, told = source(tmp_path, 64), tmp_path / "ingest.json"
    names = {"settings": canonical_json(settings), "dataset": "scan", "raw": tmp_path / "raw.json"}
    words = [f"--{name}={value}" for name, value in {**names, "receipt": told}.items()]
    subprocess.run([sys.executable, "-m", "pipeline", "ingest", *words], check=True)
    receipt = read_json(told)
    measured, predicted = receipt["peak_host_bytes"], receipt["predicted_host_bytes"]
    assert measured <= predicted <= 1.2 * measured
