import shutil
import subprocess

import numpy as np
import pytest

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.mri.formats.bart import open_cfl, open_source

BUDGET = Budget("scan", 600)

needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
ALL = slice(None)


def write_cfl(base, values):
    """Write an array whose first axis is BART's dimension 0."""
    base.with_name(base.name + ".hdr").write_text(
        "# Dimensions\n" + " ".join(map(str, values.shape)) + " \n# Command\nnone \n"
    )
    values.astype(np.complex64).ravel(order="F").tofile(base.with_name(base.name + ".cfl"))


def settings(source, shape=None, **names):
    names = {"kspace": "k", "trajectory": "t", **names}
    details = {"bart": names, "shape": shape}
    return IngestSettings(kind="mri", format="bart", source=str(source), details=details)


def read(chosen):
    with open_source(chosen, "scan", BUDGET) as acquisition:
        return acquisition.shape, {
            name: array[(ALL,) * len(array.shape)] for name, array in acquisition.arrays.items()
        }


def with_frames(values, frames_axis=10):
    """Move the last axis to BART's dimension 10."""
    return values.reshape(
        *values.shape[:-1], *(1,) * (frames_axis - values.ndim + 1), values.shape[-1]
    )


@pytest.mark.parametrize("shape", [(6, 8), (4, 6, 8)], ids=["2D", "3D"])
def test_round_trip(tmp_path, shape):
    rng = np.random.default_rng(8)
    sizes = tuple(reversed(shape)) if len(shape) == 3 else (*reversed(shape), 1)

    def random(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    kspace, maps, images = random(1, 5, 4, 2, 3), random(*sizes, 2), random(*sizes, 3)
    trajectory = rng.uniform(-2, 2, (3, 5, 4, 3))
    if len(shape) == 2:
        trajectory[2] = 0
    write_cfl(tmp_path / "k", with_frames(kspace))
    write_cfl(tmp_path / "t", with_frames(trajectory))
    write_cfl(tmp_path / "s", maps)
    write_cfl(tmp_path / "r", with_frames(images))
    found_shape, found = read(settings(tmp_path, sensitivities="s", reference="r"))
    assert found_shape == shape
    np.testing.assert_allclose(found["kspace"], kspace[0].transpose(3, 2, 1, 0), rtol=1e-6)
    scale = 2 * np.pi / np.asarray(shape)
    expected = trajectory[: len(shape)][::-1].transpose(3, 2, 1, 0) * scale
    np.testing.assert_allclose(found["trajectory"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["sensitivities"], maps.transpose(3, 2, 1, 0), rtol=1e-6)
    np.testing.assert_allclose(found["reference"], images.transpose(3, 2, 1, 0), rtol=1e-6)


@needs_bart
@pytest.mark.parametrize(
    ("shape", "command"),
    [((28, 32), "traj -r -G -x 32 -y 9"), ((20, 24, 28), "traj -r -3 -x 28 -y 30")],
    ids=["2D", "3D"],
)
def test_exact_sum_reproduces_bart(tmp_path, shape, command):
    """Our convention on BART's files gives BART's own k-space, up to its unitary scaling."""
    rng = np.random.default_rng(9)
    sizes = (*reversed(shape), 1)[:3]
    image = np.zeros(sizes, np.complex128)
    inner = tuple(slice(size // 4, size - size // 4) if size > 1 else ALL for size in sizes)
    image[inner].real = rng.standard_normal(image[inner].shape)
    image[inner].imag = rng.standard_normal(image[inner].shape)
    write_cfl(tmp_path / "r", image)
    for line in (command + " t", "scale 0.6 t t", "nufft t r k"):
        subprocess.run(["bart", *line.split()], cwd=tmp_path, check=True, capture_output=True)
    found_shape, found = read(settings(tmp_path, shape=shape, reference="r"))
    assert found_shape == shape
    k = found["trajectory"].reshape(-1, len(shape))
    axes = [np.arange(size) - size // 2 for size in shape]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    expected = np.exp(-1j * k @ positions.T) @ found["reference"].ravel()
    measured = found["kspace"].ravel() * np.sqrt(np.prod(shape))
    factor = np.vdot(measured, expected) / np.vdot(measured, measured)
    assert factor == pytest.approx(1, abs=5e-3)
    assert np.linalg.norm(expected - factor * measured) < 1e-3 * np.linalg.norm(expected)


@needs_bart
def test_phantom_belongs_to_its_maps(tmp_path):
    """BART's analytic k-space is the sum over its own image times its own maps."""
    lines = (
        "traj -r -G -x 32 -y 11 t", "phantom -k -s 4 -t t k", "phantom -S 4 -x 32 s",
        "phantom -x 32 r",
    )  # fmt: skip
    for line in lines:
        subprocess.run(["bart", *line.split()], cwd=tmp_path, check=True, capture_output=True)
    shape, found = read(settings(tmp_path, sensitivities="s", reference="r"))
    assert shape == (32, 32)
    assert found["kspace"].shape == (1, 4, 11, 32)
    y, x = np.meshgrid(np.arange(32) - 16, np.arange(32) - 16, indexing="ij")
    k = found["trajectory"].reshape(-1, 2)
    encoding = np.exp(-1j * (np.outer(k[:, 0], y) + np.outer(k[:, 1], x)))
    expected = (found["reference"] * found["sensitivities"]).reshape(4, -1) @ encoding.T
    measured = found["kspace"].reshape(4, -1)
    correlation = abs(np.vdot(expected, measured))
    assert correlation > 0.99 * np.linalg.norm(expected) * np.linalg.norm(measured)


def test_sets_of_maps_are_an_axis_of_their_own(tmp_path):
    rng = np.random.default_rng(10)
    maps = rng.standard_normal((8, 6, 1, 3, 2)) + 1j * rng.standard_normal((8, 6, 1, 3, 2))
    write_cfl(tmp_path / "k", np.ones((1, 5, 4, 3)))
    write_cfl(tmp_path / "t", np.stack([*rng.uniform(-2, 2, (2, 5, 4)), np.zeros((5, 4))]))
    write_cfl(tmp_path / "s", maps)
    shape, found = read(settings(tmp_path, sensitivities="s"))
    assert shape == (6, 8)
    np.testing.assert_allclose(found["sensitivities"], maps.transpose(3, 2, 1, 0, 4), rtol=1e-6)


def test_damaged_files(tmp_path):
    write_cfl(tmp_path / "k", np.ones((1, 5, 4)))
    assert open_cfl(tmp_path / "k").shape == (4, 5, 1)
    values, header = tmp_path / "k.cfl", tmp_path / "k.hdr"
    values.write_bytes(values.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"k.cfl: 152 bytes.*\[1, 5, 4\] need 160"):
        open_cfl(tmp_path / "k")
    header.write_text("# Dimensions\n1 five 4\n")
    with pytest.raises(DataError, match=r"k.hdr: no sizes"):
        open_cfl(tmp_path / "k")
    header.write_text("# Dimensions\n1 0 4\n")
    with pytest.raises(DataError, match="expected positive numbers"):
        open_cfl(tmp_path / "k")
    values.unlink()
    with pytest.raises(DataError, match=r"k.cfl: no such file.*pair"):
        open_cfl(tmp_path / "k")


def test_wrong_dimensions(tmp_path):
    write_cfl(tmp_path / "k", np.ones((1, 5, 4, 1, 2)))
    write_cfl(tmp_path / "t", np.ones((3, 5, 4)))
    with pytest.raises(DataError, match=r"dimension 4 has size 2.*bart slice 4 0"):
        read(settings(tmp_path, shape=(8, 8)))
    write_cfl(tmp_path / "k", np.ones((1, 5, 4)))
    with pytest.raises(DataError, match=r"3D \(its third component is not zero\).*2 axes"):
        read(settings(tmp_path, shape=(8, 8)))
    with pytest.raises(ConfigError, match=r"set `sources.scan.shape` to 3 sizes"):
        read(settings(tmp_path))
    write_cfl(tmp_path / "t", np.ones((2, 5, 4)))
    with pytest.raises(DataError, match="2 components; BART's trajectories have 3"):
        read(settings(tmp_path, shape=(8, 8)))
