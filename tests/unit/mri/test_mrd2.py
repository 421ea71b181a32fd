"""Streams of MRD version 2, written by the package of its makers, become arrays."""

import hashlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from acquisitions import complex_normal
from mrd2_files import stream

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError, DependencyError
from pipeline.formats.lazy import whole
from pipeline.mri.formats import mrd2

mrd = pytest.importorskip("mrd")

RNG = np.random.default_rng(6)
DATA = os.environ.get("KRONUFFT_DATA", "")


@contextmanager
def opened(path, **details):
    settings = IngestSettings(
        kind="mri", format="mrd2", source=str(path), details=SourceSettings(**details)
    )
    with mrd2.open_source(settings, "scan", Budget("scan", 600)) as acquisition:
        yield acquisition


NO_FLAGS = mrd.AcquisitionFlags(0)


def series():
    kspace = complex_normal(RNG, (3, 2, 5, 10))
    k = RNG.uniform(-0.5, 0.5, (3, 5, 2, 10)).astype(np.float32)
    noise = complex_normal(RNG, (2, 30))
    readouts = [(noise, None, mrd.AcquisitionFlags.IS_NOISE_MEASUREMENT, {})]
    readouts += [
        (kspace[frame, :, line], k[frame, line], NO_FLAGS, {"repetition": frame})
        for line in range(5)
        for frame in range(3)
    ]
    return readouts, kspace, k, noise


def test_readouts_become_frames_by_their_counters(tmp_path):
    readouts, kspace, k, noise = series()
    with opened(stream(tmp_path / "scan.mrd2", readouts)) as found:
        assert found.shape == (8, 12)
        np.testing.assert_allclose(found.voxel_size, (3e-3, 2e-3))
        np.testing.assert_array_equal(whole(found.arrays["kspace"]), kspace)
        np.testing.assert_array_equal(whole(found.arrays["noise"]), noise)
        expected = 2 * np.pi * np.moveaxis(k, 2, -1)[..., ::-1]
        np.testing.assert_allclose(whole(found.arrays["trajectory"]), expected)
        assert found.oriented
        np.testing.assert_allclose(found.affine @ [0, 4, 6, 1], [3e-3, -2e-3, -1e-3, 1])


def test_a_stream_is_read_as_it_arrives(tmp_path, monkeypatch):
    """From a pipe that has some bytes now and then, and never a second time."""
    readouts, kspace, _, noise = series()
    content = stream(tmp_path / "scan.mrd2", readouts).read_bytes()
    taken, given = os.pipe()

    def write():
        with os.fdopen(given, "wb", buffering=0) as pipe:
            for start in range(0, len(content), 999):
                pipe.write(content[start : start + 999])

    writer = Thread(target=write)
    writer.start()
    with os.fdopen(taken) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        with opened("-") as found:
            writer.join()
            np.testing.assert_array_equal(whole(found.arrays["kspace"]), kspace)
            np.testing.assert_array_equal(whole(found.arrays["noise"]), noise)
            checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
            assert found.provenance["files"] == [
                {"file": "-", "bytes": len(content), "checksum": checksum}
            ]


def test_whole_readouts_of_a_stream_that_is_cut_off(tmp_path, monkeypatch):
    readouts, kspace, *_ = series()
    path = stream(tmp_path / "scan.mrd2", readouts)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(DataError, match=r"after 1\d whole readouts .*`sources.scan`"), opened(path):
        pass
    with path.open() as pipe, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", pipe)
        with (
            pytest.raises(DataError, match=r"send it again, .* in `details` of"),
            opened(Path("-")),
        ):
            pass
        patched.setattr(sys, "stdin", None)
        with pytest.raises(ConfigError, match="standard input is closed"), opened(Path("-")):
            pass
    with opened(path, readouts={"incomplete": True, "frames": []}) as found:
        count = found.arrays["kspace"].shape[2]
        in_order = kspace.transpose(2, 0, 1, 3).reshape(-1, 2, 10)
        expected = in_order[:count].swapaxes(0, 1)
        np.testing.assert_array_equal(whole(found.arrays["kspace"])[0], expected)
        assert found.provenance["whole_readouts"] == count + 1
        assert found.doubts == (
            "scan: the file is cut off, and was read as far as readouts are whole",
        )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_files_and_a_missing_package_are_told(tmp_path, monkeypatch):
    (tmp_path / "a.mrd2").write_bytes(b"\x89HDF" * 20)
    with pytest.raises(DataError, match="no readable MRD stream"), opened(tmp_path / "a.mrd2"):
        pass
    monkeypatch.setitem(sys.modules, "mrd", None)
    with pytest.raises(DependencyError, match="mrd-python"), opened(tmp_path / "a.mrd2"):
        pass


@pytest.mark.skipif(not DATA, reason="KRONUFFT_DATA does not name a folder with the measured data")
def test_a_phantom_is_that_of_the_makers():
    folder = Path(DATA) / "mrd2-phantom"
    with opened(folder / "phantom_64x4.mrd2") as found:
        kspace = whole(found.arrays["kspace"])[0]
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(1, 2))), axes=(1, 2))
    reader = mrd.BinaryMrdReader(str(folder / "recon.mrd2"))
    reader.read_header()
    found = [np.asarray(item.value.data) for item in reader.read_data()]
    reader.close()
    theirs = np.abs(found[0]).squeeze()
    ours = np.linalg.norm(image, axis=0)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
