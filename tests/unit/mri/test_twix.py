"""Readouts of Siemens raw data, as all versions lay them out, become arrays."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from acquisitions import complex_normal
from twix_files import block, end, header, write_twix

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError, DependencyError
from pipeline.formats.lazy import whole
from pipeline.mri.formats import twix

pytest.importorskip("twixtools")

RNG = np.random.default_rng(5)
DATA = os.environ.get("KRONUFFT_DATA", "")


@contextmanager
def opened(path, **details):
    settings = IngestSettings(
        kind="mri", format="twix", source=str(path), details=SourceSettings(**details)
    )
    with twix.open_source(settings, "scan", Budget("scan", 600)) as acquisition:
        yield acquisition


def measurement(kspace, *, extended=True, **more):
    """Return header and blocks of k-space [repetition, coil, line, sample], and its end."""
    lines, columns = kspace.shape[2:]
    blocks = [header(base=columns // 2, columns=columns, lines=lines)]
    for repetition, frame in enumerate(kspace):
        for line in range(lines):
            blocks.append(
                block(frame[:, line], extended=extended, Lin=line, Rep=repetition,
                      line_centre=lines // 2, **more)
            )  # fmt: skip
    return [*blocks, end(extended=extended)]


@pytest.mark.parametrize("extended", [True, False], ids=["VD/VE/XA", "VB"])
def test_lines_of_repetitions(tmp_path, extended):
    kspace = complex_normal(RNG, (2, 3, 6, 16))
    path = write_twix(
        tmp_path / "meas.dat", measurement(kspace, extended=extended), extended=extended
    )
    with opened(path) as found:
        assert found.shape == (6, 8)
        np.testing.assert_allclose(found.voxel_size, (0.2 / 6, 0.2 / 8))
        assert found.dwell_time == pytest.approx(1e-5)  # of twice 5 us
        image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=-1)), axes=-1)[..., 4:12]
        expected = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, axes=-1)), axes=-1)
        np.testing.assert_allclose(whole(found.arrays["kspace"]), expected, atol=1e-5)
        cycles = whole(found.arrays["trajectory"])[0] * np.array([6, 8]) / (2 * np.pi)
        np.testing.assert_allclose(cycles[:, 0, 0], np.arange(6) - 3, atol=1e-12)


def test_noise_of_an_earlier_measurement_and_what_is_left_out(tmp_path):
    kspace, noise = complex_normal(RNG, (1, 2, 4, 12)), complex_normal(RNG, (2, 20))
    adjustment = [
        header(base=10, columns=20, lines=1, dwell=2500),
        block(noise, flags=["NOISEADJSCAN"]),
        end(),
    ]
    scan = measurement(kspace)
    scan[1:1] = [
        block(complex_normal(RNG, (2, 30)), flags=["PHASCOR"]),
        block(complex_normal(RNG, (2, 12)), flags=["PATREFSCAN"]),
    ]
    scan[3] = block(kspace[0, :, 0], flags=["PATREFSCAN", "PATREFANDIMASCAN"], line_centre=2)
    with opened(write_twix(tmp_path / "meas.dat", adjustment, scan)) as found:
        assert found.arrays["kspace"].shape == (1, 2, 4, 6)
        np.testing.assert_array_equal(whole(found.arrays["noise"]), noise)
        assert found.noise_dwell_time == pytest.approx(2.5e-6)
        assert found.provenance["left_out"] == [
            "1 readouts of noise",
            "1 readouts of a calibration alone",
            "1 readouts of navigators and phase corrections",
        ]


def test_reflected_lines_discarded_samples_and_place(tmp_path):
    kspace = complex_normal(RNG, (2, 4, 12))
    blocks = [header(base=12, columns=12, lines=4, read_fov=240, thickness=5)]
    for line in range(4):
        samples = np.pad(kspace[:, line], ((0, 0), (3, 1)))
        flags = ["REFLECT"] if line % 2 else []
        # A quarter turn about the head-foot axis, as of a transversal slice.
        blocks.append(
            block(samples, flags=flags, cut=(3, 1), centre=9, line_centre=2, Lin=line,
                  position=(10, -20, 30), quaternion=(np.sqrt(0.5), 0, 0, np.sqrt(0.5)))
        )  # fmt: skip
    with opened(write_twix(tmp_path / "meas.dat", [*blocks, end()])) as found:
        expected = kspace.copy()
        expected[:, 1::2] = expected[:, 1::2, ::-1]
        np.testing.assert_array_equal(whole(found.arrays["kspace"])[0], expected)
        # x leads to the left, y to the front, z to the head: (superior, anterior, right).
        expected = np.array([[5, 0, 0], [0, 50, 0], [0, 0, -20]]) * 1e-3
        np.testing.assert_allclose(found.affine[:3, :3], expected, atol=1e-9)
        centre = found.affine @ [0, 2, 6, 1]
        np.testing.assert_allclose(centre, [0.03, 0.02, -0.01, 1], atol=1e-8)


def test_whole_readouts_of_a_file_that_is_cut_off(tmp_path):
    kspace = complex_normal(RNG, (4, 2, 3, 16))
    path = write_twix(tmp_path / "meas.dat", measurement(kspace))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 1500])
    with pytest.raises(DataError, match=r"is cut off: (9|10) readouts are whole"), opened(path):
        pass
    with opened(path, readouts={"incomplete": True}) as found:
        assert found.arrays["kspace"].shape[0] == 3
        assert found.provenance["whole_readouts"] in (9, 10)


# twixtools leaves the file open that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_files_and_a_missing_package_are_told(tmp_path, monkeypatch):
    (tmp_path / "a.dat").write_bytes(b"\0" * 4096)
    with pytest.raises(DataError, match="not readable as Siemens"), opened(tmp_path / "a.dat"):
        pass
    monkeypatch.setitem(sys.modules, "twixtools", None)
    advice = r"pip install 'kronufft\[scanners\]'"
    with pytest.raises(DependencyError, match=advice), opened(tmp_path / "a.dat"):
        pass


@pytest.mark.skipif(not DATA, reason="KRONUFFT_DATA does not name a folder with the measured data")
def test_a_measured_file_is_read_as_by_twixtools():
    import twixtools

    path = Path(DATA) / "twix/gre.dat"
    scans = twixtools.read_twix(str(path), parse_pmu=False, verbose=False)
    expected = np.stack([each.data for each in scans[-1]["mdb"]])
    file = twix.TwixFile(path, "scan", Budget("scan", 600), incomplete=False)
    np.testing.assert_array_equal(file.samples(np.arange(160)), expected)
    place, known = file.place(0), scans[-1]["geometry"][0]
    np.testing.assert_allclose(place.position, 1e-3 * np.array(known.offset), atol=1e-7)
    phase, read, normal = np.array(known.prs_to_pcs()).T
    np.testing.assert_allclose(place.directions, [normal, phase, read], atol=1e-4)
