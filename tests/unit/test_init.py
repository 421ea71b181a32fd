"""`init`, `check` and `quick` on files as people have them: right axes, units and way up."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config.base import load_yaml
from pipeline.config.datasets import load_datasets
from pipeline.config.file import load_config
from pipeline.in_process import run
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan, voxel_average
from pipeline.storage.publish import open_published

SHAPE = (48, 40)  # y, x: the head is upright
VOXEL = (0.002, 0.0025)  # m, of the file whose units are 1/m
SPOKES, SAMPLES, COILS = 61, 96, 3


@pytest.fixture(scope="module")
def measured():
    """Trajectory ``[readout, sample, (y, x)]`` [cycles/voxel] and k-space of an upright head."""
    angles = np.pi * (np.arange(SPOKES) * 0.6180339887 % 1)
    radii = np.arange(SAMPLES) / SAMPLES - 0.5
    k = np.stack([np.outer(np.sin(angles), radii), np.outer(np.cos(angles), radii)], axis=-1)
    coils = coils_around(SHAPE, COILS)
    y = fourier_transform(
        shepp_logan(2), SHAPE, 2 * np.pi * k.reshape(-1, 2), coils.shifts, coils.coefficients
    )
    return k, y.reshape(COILS, SPOKES, SAMPLES).astype(np.complex64)


def write_cfl(path, array):
    sizes = " ".join(map(str, array.shape))
    path.with_name(path.name + ".hdr").write_text(f"# Dimensions\n{sizes}\n")
    array.astype(np.complex64).ravel("F").tofile(path.with_name(path.name + ".cfl"))


def npz(folder, k, y):
    np.savez(folder / "plain.npz", kspace=y, traj=k.astype(np.float32))
    return "plain.npz"


def hdf5(folder, k, y):
    with h5py.File(folder / "parts.h5", "w") as file:
        file["scan/kdata_re"], file["scan/kdata_im"] = y.real, y.imag
        file["scan/ktraj_re"], file["scan/ktraj_im"] = 2 * np.pi * k[..., 1], 2 * np.pi * k[..., 0]
        file["scan/dcf"] = np.linalg.norm(k, axis=-1)
    return "parts.h5"


def matlab(folder, k, y):
    """Axes in MATLAB's order, complex trajectory in cycles per field of view."""
    of_fov = k * SHAPE
    content = {"data": y.T, "k": (of_fov[..., 1] + 1j * of_fov[..., 0]).T}
    scipy.io.savemat(folder / "fov.mat", content)
    return "fov.mat"


def normalised(folder, k, y):
    """Readouts and samples on one axis, and units that reach 1."""
    np.savez(folder / "one.npz", raw=y.reshape(COILS, -1).T, coords=2 * k.reshape(-1, 2))
    return "one.npz"


def metres(folder, k, y):
    np.savez(folder / "metres.npz", kspace=y, traj=k / VOXEL)
    return "metres.npz"


def components(folder, k, y):
    np.savez(folder / "apart.npz", signal=y[:, None], kx=k[..., 1], ky=k[..., 0])
    return "apart.npz"


def frames(folder, k, y):
    """As torchkbnufft has them, (frame, axis, sample), with coils behind the frames."""
    of_frames = np.moveaxis(k[:60].reshape(3, 20, SAMPLES, 2), -1, 1)
    measured = y[:, :60].reshape(COILS, 3, 20, SAMPLES).swapaxes(0, 1)
    np.savez(folder / "series.npz", kspace=measured, trajectory=2 * np.pi * of_frames)
    return "series.npz"


def apart(folder, k, y):
    """Two files in a folder."""
    (folder / "both").mkdir()
    np.save(folder / "both/kspace.npy", y)
    np.save(folder / "both/traj.npy", k[..., ::-1])
    return "both"


def bart(folder, k, y):
    trajectory = np.zeros((3, SAMPLES, SPOKES))
    trajectory[0], trajectory[1] = (k[..., 1] * SHAPE[1]).T, (k[..., 0] * SHAPE[0]).T
    (folder / "cfl").mkdir()
    write_cfl(folder / "cfl/t", trajectory)
    write_cfl(folder / "cfl/k", y.T[None])
    return "cfl"


def ismrmrd(folder, k, y):
    files = pytest.importorskip("mrd_files")
    readouts = [
        files.readout(y[:, at], k[at][:, ::-1], kspace_encode_step_1=at) for at in range(SPOKES)
    ]
    files.write_mrd(folder / "scan.h5", files.header((1, *SHAPE), trajectory="radial"), readouts)
    return "scan.h5"


def invoke(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def upright(image):
    """Say whether an image is the head, and not a turned or mirrored one."""
    truth = voxel_average(shepp_logan(2), SHAPE)
    turns = (truth, truth[::-1], truth[:, ::-1], np.rot90(truth, 2))
    found = [np.corrcoef(np.abs(image).ravel(), turn.ravel())[0, 1] for turn in turns]
    return found[0] == max(found) and found[0] > 0.7


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (npz, ["--order", "y,x"]),
        (hdf5, []),
        (matlab, []),
        (normalised, ["--order", "y,x"]),
        (metres, ["--order", "y,x", "--units", "cycles_per_m"]),
        (components, []),
        (frames, ["--order", "y,x"]),
        (apart, []),
        (bart, []),
        (ismrmrd, []),
    ],
)
def test_a_file_becomes_an_upright_image(write, told, measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path, *measured)
    picture = "--picture" if write is hdf5 else "--no-picture"
    said = invoke("init", source, "--name", "scan", "--shape", "48x40", picture, *told)
    assert "kspace: frame " in said
    assert (tmp_path / "scan.png").exists() == (picture == "--picture")
    config = load_config(load_yaml(Path("scan.yaml")))
    row = load_datasets(Path("scan.tsv"), config)["scan"]
    files = run(config, row, "gridding", tmp_path / "results", until="merge")
    frames = np.abs(np.asarray(open_published(files.image)["image"])[:, 0])
    assert upright(frames.mean(axis=0))


def test_the_size_of_voxels_follows_from_units_of_length(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = ("--units", "cycles_per_m", "--order", "y,x", "--no-picture", "--name", "scan")
    said = invoke("init", metres(tmp_path, *measured), *told)
    assert "guess: voxel_size = [" in said
    assert "]: the largest |k| is taken for half a cycle per voxel" in said
    source = load_config(load_yaml(Path("scan.yaml"))).sources["scan"]
    assert source.voxel_size == pytest.approx(VOXEL, rel=1e-3)
    assert source.shape == (48, 48)
    invoke("init", "metres.npz", *told, "--force", "--voxel-size", "0.001,0.00125")
    assert load_config(load_yaml(Path("scan.yaml"))).sources["scan"].shape == (96, 96)


def test_units_that_may_be_of_length_are_a_guess(measured, tmp_path, monkeypatch):
    k, y = measured
    monkeypatch.chdir(tmp_path)
    np.savez("coarse.npz", kspace=y, traj=k * 160)
    said = invoke("init", "coarse.npz", "--no-picture")
    assert "units = cycles_per_fov: it reaches 80, half a matrix of 160, unless" in said


def test_a_person_at_a_terminal_is_asked_for_guesses(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.commands.init.at_terminal", lambda: True)
    npz(tmp_path, *measured)
    command = ["init", "plain.npz", "--no-picture", "--force"]
    done = CliRunner().invoke(app, command, input="y,x\n\n", catch_exceptions=False)
    assert "Image axis of each component, as stored: nothing tells" in done.output
    source = yaml.safe_load(Path("plain.yaml").read_text())["sources"]["plain"]
    assert source["arrays"]["trajectory"]["axis_order"] == ["y", "x"]
    assert source["shape"] == [48, 48]
    assert "guess: shape" in done.output  # kept, not confirmed
    assert "guess: arrays.trajectory.axis_order" not in done.output
    told = [*command, "--order", "y,x", "--shape", "48x40"]
    assert "return keeps it" not in CliRunner().invoke(app, told).output


def test_nothing_is_assumed_in_silence(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path, *measured)
    said = invoke("init", "plain.npz", "--no-picture")
    assert "guess: shape = [48, 48]: readouts see 96 voxels" in said
    assert "guess: arrays.trajectory.axis_order = [x, y]: nothing tells which component" in said
    assert "guess: voxel_size: not in the file; 1 mm" in said
    text = Path("plain.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert "# GUESS: nothing tells which component is x" in text
    written = yaml.safe_load(text)["sources"]["plain"]
    assert written["shape"] == [48, 48]
    assert written["arrays"]["trajectory"] == {
        "name": "traj",
        "axes": ["readout", "sample", "axis"],
        "units": "cycles_per_voxel",
        "axis_order": ["x", "y"],
    }
    said = CliRunner().invoke(app, ["init", "plain.npz", "--no-picture"]).exception
    assert "plain.yaml is there already; --force writes over it" in str(said)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"kspace": np.ones((2, 5, 6), "c8")},
            (),
            "looks like a trajectory .*--array trajectory.*--axes kspace=coil,y,x",
        ),
        ({"traj": np.ones((5, 6, 2))}, (), "looks like a kspace .*--array kspace"),
        (
            {
                "kspace": np.ones((2, 5, 7), "c8"),
                "traj": np.random.default_rng(0).random((5, 6, 2)) - 0.5,
            },
            (),
            "do not fit; say it with --axes kspace",
        ),
        (
            {
                "kspace": np.ones((2, 5, 6), "c8"),
                "traj": 1e4 * np.random.default_rng(0).random((5, 6, 2)),
            },
            (),
            "no units explain it; say it with --units",
        ),
        (
            {
                "kspace": np.ones((2, 5, 6), "c8"),
                "traj": np.random.default_rng(0).random((5, 6, 2)) - 0.5,
            },
            ("--order", "z,x"),
            "belong to y, x, not z, x",
        ),
        ({"a": np.ones(3)}, ("--array", "kspace=b"), "holds no array b; it holds a"),
        ({"a": np.ones(3)}, ("--array", "b"), "found `b`; give NAME=VALUE"),
        ({"a": np.ones(3)}, ("--array", "traj=a"), "`traj`; did you mean `trajectory`"),
        *(
            (
                {"kspace": np.ones((2, 5, 6), "c8"), "traj": np.ones((5, 6, 2))},
                ("--axes", told),
                message,
            )
            for told, message in (
                (
                    "kspace=coil,sample",
                    r"kspace has axes of \(2, 5, 6\), and --axes names coil, sam",
                ),
                ("kspac=coil,readout,sample", "did you mean `kspace`"),
                ("trajectory=axis,readout,axis", "of which `axis` are the components"),
                ("trajectory=readout,sample", "a name for each, --axes trajectory="),
            )
        ),
    ],
)
def test_what_cannot_be_known_is_asked_for(arrays, options, message, tmp_path):
    np.savez(tmp_path / "scan.npz", **arrays)
    done = CliRunner().invoke(
        app, ["init", str(tmp_path / "scan.npz"), "--output", str(tmp_path), *options]
    )
    with pytest.raises(Exception, match=message):
        raise done.exception
    assert not list(tmp_path.glob("*.yaml"))


def test_axes_of_the_image_make_k_space_a_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = np.random.default_rng(0).standard_normal((3, 8, 12, 2)) @ np.array([1, 1j])
    grid[:, 2] = 0
    maps = np.ones((3, 8, 12), "c8")
    np.savez("grid.npz", ksp=grid.astype("c8"), maps=maps)
    said = invoke("init", "grid.npz", "--axes", "kspace=coil,y,x")
    assert "found: trajectory.kind = cartesian" in said
    assert "kspace: frame 1, coil 3, readout 7, sample 12" in said
    assert "sensitivities: coil 3, z 1, y 8, x 12" in said
    assert Path("grid.png").is_file()


def test_a_folder_of_files_that_are_read_one_by_one_names_them(tmp_path):
    for name in ("meas.dat", "other.dat"):
        (tmp_path / name).touch()
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert r"nothing that can be read here (meas.dat, other.dat); name one" in str(done.exception)


def test_the_folder_where_one_stands_is_looked_into(measured, tmp_path, monkeypatch):
    k, y = measured
    monkeypatch.chdir(tmp_path / bart(tmp_path, k, y))
    done = CliRunner().invoke(app, ["init", ".", "--no-picture"])
    assert done.exit_code == 0, done.exception
    assert Path("cfl.yaml").is_file()


def test_the_demo_is_written_where_no_file_is_given(tmp_path):
    said = invoke("init", "--output", tmp_path)
    assert said.endswith("next: kronufft run\n")
    root = Path(__file__).parents[2]
    for name in ("config/config.yaml", "config/datasets.tsv"):
        assert (tmp_path / name).read_text() == (root / name).read_text()


def test_check_opens_the_data(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    k, y = measured
    npz(tmp_path, k, y)
    invoke("init", "plain.npz", "--no-picture", "--order", "y,x")
    assert "kspace: frame 1, coil 3, readout 61, sample 96" in invoke("check", "plain.yaml")
    text = Path("plain.yaml").read_text()
    for wrong, message in (
        (("plain:\n", "plane:\n"), "needs `sources.plain.arrays` in the config, whose sources are"),
        (("shape: [48, 48]", "shape: 48, 48"), "expected a list in brackets (found '48, 48')"),
        (("name: kspace", "name: data"), "holds no array `data`"),
        (("axes: [coil, readout, sample]", "axes: [readout, coil, sample]"), "along `readout`"),
        (("units: cycles_per_voxel", "units: rad_per_voxel"), "It looks like cycles_per_voxel"),
    ):
        Path("plain.yaml").write_text(text.replace(*wrong))
        done = CliRunner().invoke(app, ["check", "plain.yaml"])
        assert message in str(done.exception), done.output
    y[0, 3, 4] = np.nan
    np.savez("plain.npz", kspace=y, traj=k)
    y[0, 3, 4] = 0
    Path("plain.yaml").write_text(text)
    done = CliRunner().invoke(app, ["check", "plain.yaml"])
    assert "kspace has NaN at frame 0, coil 0, readout 3, sample 4" in str(done.exception)


def test_quick_makes_the_image_of_the_workflow(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path, *measured)
    told = ("--order", "y,x", "--shape", "48x40")
    invoke("init", "plain.npz", "--no-picture", *told)
    text = Path("plain.yaml").read_text()
    text += "compute: {device: cpu, threads: 1, deterministic: true}\n"
    config = load_config(yaml.safe_load(text))
    row = load_datasets(Path("plain.tsv"), config)["plain"]
    files = run(config, row, "sense", tmp_path / "results", until="merge")
    made = ("--device", "cpu", "--threads", "1", *told)
    invoke("quick", "plain.npz", "-o", "image.npy", *made)
    np.testing.assert_allclose(
        np.load("image.npy"), open_published(files.image)["image"][:], rtol=1e-4, atol=1e-4
    )
    invoke("quick", "plain.npz", "-o", "out/image.nii.gz", *made, "--set", "iterations=2")
    assert Path("out/image.nii.gz").stat().st_size > 1000
    for name, said in (("image.png", "expected a name with .nii.gz"), ("./plain.npz", "is read")):
        done = CliRunner().invoke(app, ["quick", "plain.npz", "-o", name])
        assert said in str(done.exception)
    assert Path("plain.npz").stat().st_size > 1000


def test_a_store_of_another_run_needs_nothing_told(measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path, *measured)
    invoke("init", "plain.npz", "--no-picture", "--order", "y,x", "--shape", "48x40")
    config = load_config(load_yaml(Path("plain.yaml")))
    row = load_datasets(Path("plain.tsv"), config)["plain"]
    run(config, row, "gridding", tmp_path / "results", until="ingest")
    for source in ("results/plain/raw.zarr", "results/plain/raw.json"):
        said = invoke("init", source, "--name", "again", "--no-picture", "--force")
        assert "found: format: a Zarr store" in said
        assert "reads: kspace: frame 1, coil 3, readout 61, sample 96" in said
    done = CliRunner().invoke(app, ["init", "results/plain/raw.zarr", "--order", "y,x"])
    assert "leave these out" in str(done.exception)
