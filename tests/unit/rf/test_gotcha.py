import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.rf.formats.gotcha import gotcha_files, read_gotcha
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT

BUDGET = Budget("scan", 600)

ALL = slice(None)
FREQUENCIES = np.linspace(9.3e9, 9.9e9, 12).astype(np.float32).astype(np.float64)
POINTS = np.array([[3.0, -2.0, 0.0], [-1.0, 4.0, 0.5]])
AMPLITUDES = np.array([1.0, 0.5j])


def antenna(pulses, first=0.0):
    azimuth = np.deg2rad(first + 0.01 * np.arange(pulses))
    return 10e3 * np.stack(
        [np.cos(azimuth) * 0.8, np.sin(azimuth) * 0.8, np.full(pulses, 0.6)], axis=1
    )


def measured(positions, reference):
    """Sum over the points of the model that the data's publisher gives, in double precision."""
    distance = np.linalg.norm(positions[:, None] - POINTS, axis=-1)
    phase = 4 * np.pi * FREQUENCIES[:, None, None] / SPEED_OF_LIGHT
    return np.exp(-1j * phase * (distance - reference[:, None])) @ AMPLITUDES


def content(pulses=5, first=0.0, offset=0.0):
    positions = antenna(pulses, first)
    reference = np.linalg.norm(positions, axis=1) + offset
    return {
        "fp": measured(positions, reference).astype(np.complex64),
        "freq": FREQUENCIES.astype(np.float32)[:, None],
        **{name: positions[:, i].astype(np.float32) for i, name in enumerate("xyz")},
        "r0": reference.astype(np.float32),
        "th": np.zeros(pulses),
        "af": {"r_correct": np.zeros(pulses), "ph_correct": np.zeros(pulses)},
    }


def write(path, fields=None):
    savemat(path, {"data": content() if fields is None else fields}, do_compression=True)
    return path


def test_files_are_joined_in_order(tmp_path):
    write(tmp_path / "data_3dsar_pass1_az002_HH.mat", content(4, 1.0))
    write(tmp_path / "data_3dsar_pass1_az001_HH.mat", content(5, 0.0))
    (tmp_path / "readme.txt").write_text("not data")
    files = gotcha_files(tmp_path)
    assert [file.stem.split("_")[3] for file in files] == ["az001", "az002"]
    history = read_gotcha(files, "scan", BUDGET)
    assert history.measurements.shape == (9, 12)
    np.testing.assert_array_equal(history.frequencies, FREQUENCIES)
    positions = np.concatenate([antenna(5), antenna(4, 1.0)])
    np.testing.assert_allclose(history.paths.transmitter, positions, atol=1e-3)
    np.testing.assert_array_equal(history.paths.transmitter, history.paths.receiver)
    expected = measured(positions, np.linalg.norm(positions, axis=1)).T
    values = history.measurements[(ALL, ALL)]
    assert values.dtype == history.measurements.dtype == np.complex64
    np.testing.assert_allclose(values, expected, atol=1e-6)
    for selection in [(slice(3, 7), slice(2, 9)), (slice(6, 9), ALL), (slice(2, 2), ALL)]:
        np.testing.assert_array_equal(history.measurements[selection], values[selection])
    assert [entry["file"] for entry in history.provenance["files"]] == [str(f) for f in files]


def test_its_own_autofocus_is_applied_when_asked_for(tmp_path):
    """Phases and ranges that were taken away beforehand come back."""
    fields, random = content(), np.random.default_rng(0)
    phase, range_ = random.uniform(-3, 3, 5), random.uniform(-1, 1, 5)
    k = 2 * np.pi * FREQUENCIES[:, None] / SPEED_OF_LIGHT
    wrong = fields["fp"] * np.exp(-1j * phase + 2j * k * range_)
    af = {"ph_correct": phase, "r_correct": range_}
    path = write(tmp_path / "scan.mat", {**fields, "fp": wrong.astype(np.complex64), "af": af})
    history = read_gotcha([path], "scan", BUDGET, corrected=True)
    # Referred to the antenna's range, which is where the reference was.
    own = history.paths.reference_path / 2 - np.linalg.norm(history.paths.transmitter, axis=1)
    values = history.measurements[(ALL, ALL)] * np.exp(-2j * k.T * own[:, None])
    np.testing.assert_allclose(values, fields["fp"].T, atol=1e-5)
    plain = read_gotcha([path], "scan", BUDGET).measurements[(ALL, ALL)]
    np.testing.assert_allclose(plain, wrong.T, atol=1e-6)
    short = {**af, "r_correct": range_[:3]}
    for bad in ({}, {"af": {"ph_correct": phase}}, {"af": short}, {"af": phase}):
        write(path, {**{n: v for n, v in fields.items() if n != "af"}, **bad})
        with pytest.raises(DataError, match="`own_autofocus` needs a finite"):
            read_gotcha([path], "scan", BUDGET, corrected=True)


def test_one_file(tmp_path):
    path = write(tmp_path / "scan.mat")
    assert gotcha_files(path) == [path]
    assert len(read_gotcha([path], "scan", BUDGET).paths) == 5


def test_signs_are_ours(tmp_path):
    """The project's model, from the positions that were read, gives the data that were read."""
    history = read_gotcha([write(tmp_path / "a.mat")], "scan", BUDGET)
    differences = history.paths.path_differences(POINTS)
    k = 2 * np.pi * history.frequencies / SPEED_OF_LIGHT
    model = np.exp(-1j * k[:, None, None] * differences) @ AMPLITUDES
    # Positions in single precision move each pulse by a phase of up to 0.3 rad, the same for all
    # frequencies and points.
    values = history.measurements[(ALL, ALL)].T
    alignment = np.abs(np.sum(values * model.conj(), axis=0)) / np.sum(np.abs(model) ** 2, axis=0)
    np.testing.assert_allclose(alignment, 1, atol=2e-3)
    wrong = np.abs(np.sum(values * model, axis=0)) / np.sum(np.abs(model) ** 2, axis=0)
    assert wrong.max() < 0.9


@pytest.mark.parametrize("offset", [0.0, 0.05], ids=["of the distance", "motion-compensated"])
def test_reference_range(tmp_path, offset):
    """Single precision is made good where it can be; another reference is kept as it is."""
    paths = read_gotcha([write(tmp_path / "a.mat", content(offset=offset))], "scan", BUDGET).paths
    distance = np.linalg.norm(paths.transmitter, axis=1)
    tolerance = 2e-3 if offset else 1e-9
    np.testing.assert_allclose(
        paths.reference_path, 2 * (distance + offset), atol=tolerance, rtol=0
    )


def changed(**changes):
    return {**content(), **changes}


def with_pulse(value, where):
    fields = content()
    fields["fp"][where] = value
    return fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (changed(freq=FREQUENCIES / 1e9), "`freq`.*looks like GHz"),
        (changed(freq=FREQUENCIES[::-1]), "`freq`.*must increase"),
        (changed(freq=FREQUENCIES[:-1]), r"`fp` has the shape \(12, 5\), but `freq` has 11"),
        (changed(y=np.zeros(4)), r"'y': 4.*expected \(frequency, pulse\)"),
        (changed(fp=content()["fp"].T), r"`fp` has the shape \(5, 12\)"),
        (changed(fp=np.zeros((12, 5), np.int16)), "int16; expected complex"),
        (changed(r0="far"), "`r0` is <U"),
        (changed(x=np.array([7e3, np.nan, 7e3, 7e3, 7e3])), "`transmitter` of pulse 1 is"),
        (with_pulse(np.nan, (3, 2)), r"pulse 2 at 9.46364 GHz \(index 3\) is .*nan"),
        (with_pulse(0, 4), "frequency 4 is zero throughout"),
        (with_pulse(0, (slice(None), 2)), "pulse 2 is zero throughout"),
        ({"fp": 1, "freq": 1}, "no field x, y, z, r0 in a structure `data`, found fp, freq"),
        (np.ones(3), "no field .* found none"),
    ],
)
def test_bad_content(tmp_path, fields, message):
    path = write(tmp_path / "a.mat", fields)
    with pytest.raises(DataError, match=rf"scan: .*a\.mat.*{message}"):
        read_gotcha([path], "scan", BUDGET)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.1, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("compressed", [True, False])
def test_truncated_file(tmp_path, kept, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"data": content(40)}, do_compression=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"scan: .*a\.mat"):
        read_gotcha([path], "scan", BUDGET)


def test_not_matlab_or_missing(tmp_path):
    with pytest.raises(DataError, match="there are no files of type mat"):
        read_gotcha(gotcha_files(tmp_path), "scan", BUDGET)
    with pytest.raises(DataError, match="no such file"):
        read_gotcha([tmp_path / "missing.mat"], "scan", BUDGET)
    path = tmp_path / "a.mat"
    path.write_text("time,x,y,z\n" * 40)
    with pytest.raises(DataError, match="truncated or no MATLAB file"):
        read_gotcha([path], "scan", BUDGET)


def test_files_that_do_not_belong_together(tmp_path):
    first = write(tmp_path / "az001_HH.mat")
    other = changed(freq=FREQUENCIES + 1e6)
    with pytest.raises(DataError, match=r"az002_HH.mat has 12 frequencies from 9.301 .* from 9.3 "):
        read_gotcha([first, write(tmp_path / "az002_HH.mat", other)], "scan", BUDGET)
    with pytest.raises(DataError, match=r"several polarisations: HH \(az001_HH.mat\), VV \(az0"):
        read_gotcha([first, write(tmp_path / "az001_VV.mat")], "scan", BUDGET)


@pytest.mark.skipif("KRONUFFT_DATA" not in os.environ, reason="KRONUFFT_DATA names no data")
def test_trihedral_of_the_measured_scene():
    """Exact back-projection finds the trihedral at its published place."""
    folder = Path(os.environ["KRONUFFT_DATA"]) / "gotcha"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    history = read_gotcha(gotcha_files(folder), "gotcha", BUDGET)
    values = history.measurements[(ALL, ALL)]
    step = 0.25
    x, y = np.arange(-18, -12, step), np.arange(19, 25, step)
    points = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1)[:, :, 0]
    k = 2 * np.pi * history.frequencies / SPEED_OF_LIGHT
    image = np.zeros(points.shape[:2], np.complex128)
    for pulse in range(0, len(values), 2):
        difference = history.paths[pulse : pulse + 1].path_differences(points)[0]
        # The frequencies are equally spaced: a polynomial by Horner's rule instead of an
        # exponential each.
        rotation = np.exp(1j * np.diff(k).mean() * difference)
        total = np.zeros_like(image)
        for value in values[pulse, ::-1]:
            total = total * rotation + value
        image += total * np.exp(1j * k[0] * difference)
    peak = np.unravel_index(np.abs(image).argmax(), image.shape)
    np.testing.assert_allclose([x[peak[0]], y[peak[1]]], [-15.5, 21.5], atol=0.3)
    assert np.abs(image).max() > 10 * np.median(np.abs(image))
