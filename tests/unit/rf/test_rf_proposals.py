"""`init` on RF files: what is certain, a grid as fine and as large as the data, a picture of it."""

from importlib import import_module

import h5py
import numpy as np
import pytest
import scipy.io
from cphd_files import Collection
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.base import load_yaml
from pipeline.config.datasets import load_datasets, stage_settings
from pipeline.config.file import load_config
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.rf.formats.gotcha import is_gotcha
from pipeline.rf.preview import preview

C = 299_792_458.0
FREQUENCIES = np.linspace(9.5e9, 10.1e9, 61)
TARGETS = np.array([[0.0, 0.0, 0.0], [4.2, -3.0, 0.0]])
AMPLITUDES = 1.0, 2.0
POINT = np.array([1.5, -2.0, 0.0])
"""From where phases count, where the format leaves that open."""
WEAK = 0.03 - 0.02j
"""Where a weak scatterer stands among the antennas of the Institut Fresnel, x + jy [m]."""
ANGLES = np.deg2rad(np.linspace(20, 23, 73))


def measured(point):
    """Positions ``[pulse, 3]``, reference paths, and exact sums ``[pulse, freq]``."""
    antenna = 7000 * np.stack([np.cos(ANGLES), np.sin(ANGLES), np.ones(73)], axis=1)
    reference = 2 * np.linalg.norm(antenna - point, axis=1)
    y = np.zeros((73, 61), complex)
    for amplitude, target in zip(AMPLITUDES, TARGETS, strict=True):
        path = 2 * np.linalg.norm(antenna - target, axis=1) - reference
        y += amplitude * np.exp(-2j * np.pi / C * np.outer(path, FREQUENCIES))
    return antenna, reference, y.astype(np.complex64)


def npz(folder):
    antenna, reference, y = measured(POINT)
    np.savez(
        folder / "scan.npz",
        y=y, frequencies=FREQUENCIES, transmitter=antenna, reference_path=reference,
    )  # fmt: skip
    return "scan.npz"


def hdf5(folder):
    """In a group, other axes, a frame."""
    antenna, reference, y = measured(POINT)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["radar/y"], file["radar/frequencies"] = y.T[None], FREQUENCIES
        file["radar/transmitter"], file["radar/receiver"] = antenna.T, antenna.T
        file["radar/reference_path"] = reference
    return "scan.h5"


def gotcha(folder):
    antenna, reference, y = measured(np.zeros(3))
    x, north, up = antenna.T
    data = {"fp": y.T, "freq": FREQUENCIES, "x": x, "y": north, "z": up, "r0": reference / 2}
    (folder / "pass").mkdir()
    scipy.io.savemat(folder / "pass/scan.mat", {"data": data})
    return "pass"


def cphd(folder):
    Collection(grid=False).write(folder / "scan.cphd")
    return "scan.cphd"


def fresnel(folder):
    """Eight views of a weak scatterer, by receivers every 15 degrees."""
    rows = []
    for view in range(8):
        for step in range(60, 301, 15):
            receiver = (45 * view + step) % 360
            ends = [1.67 * np.exp(1j * np.deg2rad(angle)) for angle in (45 * view, receiver)]
            through = abs(ends[0] - ends[1])
            over = sum(abs(end - WEAK) for end in ends)
            for f in range(2, 9):
                k = 2e9 * np.pi * f / C
                incident, scattered = np.exp(-1j * k * through), 0.1 * np.exp(-1j * k * over)
                parts = [g(e) for e in (incident + scattered, incident) for g in (np.real, np.imag)]
                rows.append(f"{view + 1} {receiver + 1} {f} " + " ".join(f"{x:.9e}" for x in parts))
    head = ["# Number of frequencies : 7", "# Number of views : 8", "# Number of receivers : 17"]
    (folder / "scan.exp").write_text("\n".join([*head, *rows]) + "\n")
    return "scan.exp"


def init(folder, name, *options):
    done = CliRunner().invoke(
        app, ["init", str(folder / name), "--name", "scan", "--output", str(folder), *options]
    )
    if done.exception:
        raise done.exception
    config = load_config(load_yaml(folder / "scan.yaml"), "scan.yaml")
    return done.output, config, load_datasets(folder / "scan.tsv", config)["scan"]


def brightest(config, row):
    """Where the quick picture is brightest [m]."""
    reader = import_module(f"pipeline.rf.formats.{row.format}")
    settings = stage_settings(config, row, "ingest")
    with reader.open_source(settings, "scan", Budget("scan", 500)) as acquisition:
        image, scene = preview(acquisition)
    place = np.unravel_index(np.abs(image).argmax(), image.shape)
    return (np.array(place) - np.array(image.shape) // 2) * scene.spacing


@pytest.mark.parametrize(
    ("write", "format_", "target"),
    [
        (npz, "arrays", TARGETS[1]),
        (hdf5, "arrays", TARGETS[1]),
        (gotcha, "gotcha", TARGETS[1]),
        (cphd, "cphd", Collection().targets[3]),
        (fresnel, "fresnel", np.array([WEAK.real, WEAK.imag])),
    ],
)
def test_the_picture_shows_the_brightest_target_where_it_is(write, format_, target, tmp_path):
    _, config, row = init(tmp_path, write(tmp_path))
    assert (row.kind, row.format) == ("rf", format_)
    assert (tmp_path / "scan.png").stat().st_size > 2000
    spacing = config.sources["scan"].scene.spacing
    assert (np.abs(brightest(config, row) - target[:2]) <= spacing).all()


def test_quick_back_projects_what_no_algorithm_is_named_for(tmp_path):
    source, made = tmp_path / npz(tmp_path), tmp_path / "image.npy"
    options = ["--shape", "48x40", "--voxel-size", "0.5,0.5"]
    done = CliRunner().invoke(app, ["quick", str(source), "-o", str(made), *options])
    assert done.output.endswith(f"wrote: {made}\n"), done.exception
    image = np.abs(np.load(made)).squeeze().T  # its last axis is x
    place = np.unravel_index(image.argmax(), image.shape)
    found = (np.array(place) - np.array(image.shape) // 2) * 0.5
    assert (np.abs(found - TARGETS[1][:2]) <= 0.5).all()


def test_a_structure_of_other_fields_or_an_array_is_not_gotcha(tmp_path):
    scipy.io.savemat(tmp_path / "structure.mat", {"data": {"fp": np.ones(3), "name": "x"}})
    scipy.io.savemat(tmp_path / "array.mat", {"data": np.ones((3, 4), complex)})
    (tmp_path / "text.mat").write_text("no MATLAB file")
    for name in ("structure", "array", "text"):
        assert not is_gotcha(tmp_path / f"{name}.mat")


def test_the_grid_is_as_fine_and_as_large_as_the_data_tell(tmp_path):
    output, config, _ = init(tmp_path, npz(tmp_path), "--no-picture")
    scene = config.sources["scan"].scene
    # Of a sector of the plane at 45 degrees of elevation, from its corners.
    low, high = 4 * np.pi / C * np.cos(np.pi / 4) * FREQUENCIES[[0, -1]]
    wide = high * np.cos(ANGLES[0]) - low * np.cos(ANGLES[-1])
    tall = high * np.sin(ANGLES[-1]) - low * np.sin(ANGLES[0])
    finest = np.pi / np.array([wide, tall])
    assert (scene.spacing <= finest).all()
    assert (np.array(scene.spacing) > 0.9 * finest).all()
    unambiguous = C / (2 * 10e6 * np.cos(np.pi / 4))
    extent = np.array(scene.shape) * scene.spacing
    assert np.abs(extent - unambiguous).max() < 2.01 * max(scene.spacing)
    assert "guess: scene.shape" in output
    assert "guess: arrays.y.conjugate: false" in output
    assert "# GUESS: half of what" in (tmp_path / "scan.yaml").read_text()


def test_a_grid_that_is_told_or_that_the_file_gives_is_no_guess(tmp_path):
    told = ("--shape", "40x50", "--voxel-size", "0.3,0.2", "--no-picture")
    output, config, _ = init(tmp_path, npz(tmp_path), *told)
    scene = config.sources["scan"].scene
    assert (scene.shape, scene.spacing) == ((40, 50), (0.3, 0.2))
    assert "guess: scene.shape" not in output
    Collection().write(tmp_path / "own.cphd")
    output, config, _ = init(tmp_path, "own.cphd", "--no-picture", "--force")
    assert "scan" not in config.sources
    assert "the file gives a grid of its own" in output


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ("--units", "cycles_per_fov"), "RF data have no trajectory"),
        ({}, ("--array", "y=z"), "leave out --array"),
        ({"y": np.ones((73, 60), "c8")}, (), r"y has the shape \(73, 60\), which does not fit"),
        ({"transmitter": None, "tx": np.ones((5, 3))}, (), "pairs of antenna arrays"),
        ({"reference_path": np.ones(73), "frequencies": FREQUENCIES[::-1]}, (), "increas"),
        ({}, ("--shape", "4x4x4"), "as many, in the order x, y, z"),
    ],
)
def test_what_does_not_fit_is_told(change, options, message, tmp_path):
    with np.load(tmp_path / npz(tmp_path)) as file:
        arrays = {**file, **change}
    np.savez(tmp_path / "scan.npz", **{n: v for n, v in arrays.items() if v is not None})
    with pytest.raises(Exception, match=message):
        init(tmp_path, "scan.npz", *options)
    assert not list(tmp_path.glob("*.yaml"))


def test_a_radar_by_other_names_is_no_mri(tmp_path):
    sizes = {"S": (16, 12, 41), "freq": (1, 41), "txPos": (3, 12), "rxPos": (3, 16)}
    held = {name: np.ones(size) for name, size in sizes.items()}
    scipy.io.savemat(tmp_path / "mimo.mat", held | {"S": held["S"] * 1j})
    with pytest.raises(ConfigError, match=r"a radar's .*txPos 3 x 12.*write `sources"):
        init(tmp_path, "mimo.mat")
