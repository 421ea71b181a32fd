"""Cartesian measurements: read as grids, reconstructed by FFTs, like all others in every stage."""

import json

import numpy as np
import pytest
from acquisitions import complex_normal

from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import whole
from pipeline.in_process import run
from pipeline.mri.calibration.cartesian_density import CartesianDensity
from pipeline.mri.formats import arrays as reader
from pipeline.storage.publish import open_published

RNG = np.random.default_rng(11)


def opened(path, axes, **details):
    source = {
        "trajectory": {"kind": "cartesian"},
        "arrays": {"kspace": {"axes": axes}},
        **details,
    }
    settings = IngestSettings(
        kind="mri", format="arrays", source=str(path), details=SourceSettings(**source)
    )
    with reader.open_source(settings, "scan", Budget("scan", 600)) as found:
        return found.shape, {name: whole(array) for name, array in found.arrays.items()}


def saved(tmp_path, values):
    np.save(tmp_path / "scan.npy", values)
    return tmp_path / "scan.npy"


def test_lines_that_were_measured_are_the_readouts(tmp_path):
    grid = complex_normal(RNG, (3, 2, 7, 10))
    grid[:, :, [1, 4]] = 0
    shape, found = opened(saved(tmp_path, grid), ["frame", "coil", "y", "x"])
    assert shape == (7, 10)
    kept = [0, 2, 3, 5, 6]
    np.testing.assert_array_equal(found["kspace"], grid[:, :, kept])
    assert found["trajectory"].shape == (1, 5, 10, 2)
    cycles = found["trajectory"][0] * np.array([7, 10]) / (2 * np.pi)
    np.testing.assert_allclose(
        cycles[..., 0], np.broadcast_to(np.array(kept)[:, None] - 3, (5, 10))
    )
    np.testing.assert_allclose(
        cycles[..., 1], np.broadcast_to(np.arange(10) - 5, (5, 10)), atol=1e-12
    )


def test_frames_may_have_lines_of_their_own(tmp_path):
    grid = complex_normal(RNG, (2, 2, 3, 7, 5))
    grid[0, :, 0, :5], grid[1, :, 2, 2:] = 0, 0
    shape, found = opened(saved(tmp_path, grid), ["frame", "coil", "z", "y", "x"])
    assert shape == (3, 7, 5)
    lines = grid.reshape(2, 2, 21, 5)
    np.testing.assert_array_equal(found["kspace"][0], lines[0][:, 5:])
    np.testing.assert_array_equal(found["kspace"][1], lines[1][:, :16])
    assert found["trajectory"].shape == (2, 16, 5, 3)


def test_points_that_were_measured_are_readouts_of_one_sample(tmp_path):
    grid = complex_normal(RNG, (2, 4, 5, 6))
    mask = RNG.uniform(size=(4, 5, 6)) < 0.4
    grid *= mask
    _, found = opened(saved(tmp_path, grid), ["coil", "z", "y", "x"])
    np.testing.assert_array_equal(found["kspace"][0, :, :, 0], grid[:, mask])
    cycles = found["trajectory"][0, :, 0] * np.array([4, 5, 6]) / (2 * np.pi)
    np.testing.assert_allclose(cycles, np.argwhere(mask) - np.array([2, 2, 3]), atol=1e-12)


def test_what_is_no_grid_is_told(tmp_path):
    grid = complex_normal(RNG, (2, 2, 7, 10))
    grid[0, :, 3] = 0
    path = saved(tmp_path, grid)
    with pytest.raises(DataError, match=r"6 to 7 lines or points of a frame are not zero"):
        opened(path, ["frame", "coil", "y", "x"])
    grid[0] = 0
    with pytest.raises(DataError, match="zero throughout in frame 0"):
        opened(saved(tmp_path, grid), ["frame", "coil", "y", "x"])
    with pytest.raises(
        ConfigError, match=r"`sources.scan.shape` is \(8, 8\), but the grid .* \(7, 10\)"
    ):
        opened(path, ["frame", "coil", "y", "x"], shape=(8, 8))
    with pytest.raises(ConfigError, match="for grids and sequences"):
        opened(path, ["frame", "coil", "y", "x"], trajectory={"kind": "spiral"})


def test_samples_at_one_place_share_a_cell():
    cycles = np.array([[[0, 0], [1, -2]], [[-1, 1], [1, -2]]])
    trajectory = 2 * np.pi * cycles / np.array([3, 5])
    weights = CartesianDensity(trajectory, (3, 5)).weights(slice(0, 2))
    np.testing.assert_allclose(weights, np.array([[1, 0.5], [1, 0.5]]) / 15)


@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 7)], ids=str)
def test_the_image_is_that_of_the_dense_problem(tmp_path, shape):
    """Every stage, of arrays that lie on the grid: whether as a grid or with a trajectory."""
    coils, voxels, shift = 3, int(np.prod(shape)), 0.03
    maps = complex_normal(RNG, (coils, *shape))
    mask = RNG.uniform(size=shape[:-1]) < 0.7
    places = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij"), -1)
    k = 2 * np.pi * places[mask] / np.array(shape)
    matrix = np.exp(-1j * k.reshape(-1, len(shape)) @ places.reshape(-1, len(shape)).T)
    data = complex_normal(RNG, (coils, *k.shape[:-1]))
    grid = np.zeros((coils, *shape), np.complex64)
    grid[:, mask] = data
    system = shift * len(matrix) * np.eye(voxels, dtype=complex)
    right = np.zeros(voxels, complex)
    for one, samples in zip(maps.reshape(coils, -1), data.reshape(coils, -1), strict=True):
        encoding = matrix * one
        system += encoding.conj().T @ encoding
        right += encoding.conj().T @ samples
    expected = np.linalg.solve(system, right).reshape(shape)

    axes = ["z", "y", "x"][-len(shape) :]
    np.savez(tmp_path / "scan.npz", kspace=grid, data=data, k=k, maps=maps)
    sensitivities = {"name": "maps", "axes": ["coil", *axes]}
    sources = {
        "grid": {
            "trajectory": {"kind": "cartesian"},
            "arrays": {
                "kspace": {"name": "kspace", "axes": ["coil", *axes]},
                "sensitivities": sensitivities,
            },
        },
        "points": {
            "arrays": {
                "kspace": {"name": "data", "axes": ["coil", "readout", "sample"]},
                "trajectory": {"name": "k", "axes": ["readout", "sample", "axis"]},
                "sensitivities": sensitivities,
            },
        },
    }
    config = load_config(
        {
            "data_root": str(tmp_path),
            "compute": {"device": "cpu", "threads": 1, "precision": "double"},
            "output": {"ome_zarr": False, "nifti": False},
            "sources": sources,
            "reconstructions": {
                "cg": {"algorithm": "cg-sense", "weights": "none", "iterations": 200,
                       "regularization": shift},
            },
        }
    )  # fmt: skip
    for name in sources:
        row = Dataset(dataset=name, kind="mri", format="arrays", source="scan.npz",
                      reconstructions=("cg",))  # fmt: skip
        files = run(config, row, "cg", tmp_path / "results", until="merge")
        found = np.asarray(open_published(files.image)["image"][0]).reshape(shape)
        assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
        receipt = json.loads(files.receipt("reconstruct-0000").read_text())
        assert receipt["backend"] == "fft"
