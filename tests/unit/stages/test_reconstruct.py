"""Whole reconstructions of random data against dense solutions in double precision."""

import numpy as np
import pytest
import torch
from acquisitions import DEVICE, reconstruction_settings, write_acquisition
from stage_runs import files_in, reconstructed

from pipeline.errors import DataError, DeviceError
from pipeline.geometry.axes import voxel_positions
from pipeline.mri.raw import RawData
from pipeline.operators import nufft_choice
from pipeline.stages.reconstruct import reconstruct
from pipeline.storage.calibration import Calibration

SHAPES = {"2d": (10, 7), "3d": (6, 4, 5)}


def matrix(shape, trajectory):
    """The exact Fourier matrix ``(sample, voxel)`` in double precision."""
    axes = np.meshgrid(*[voxel_positions(size) for size in shape], indexing="ij")
    positions = np.stack([axis.ravel() for axis in axes])
    return np.exp(-1j * trajectory.reshape(-1, len(shape)).astype(np.float64) @ positions)


def normal_equations(folder, frames, weighted=True):
    """Dense ``G``, ``b`` and the sum of weights for one image joined from ``frames``."""
    raw = RawData.open(folder / "raw.json")
    calibration = Calibration.open(folder / "calibration.json")
    maps = calibration.sensitivities()
    coils = np.ones((raw.coils, 1)) if maps is None else maps.reshape(raw.coils, -1)
    gram, b, total = 0, 0, 0
    for frame in frames:
        fourier = matrix(raw.shape, raw.trajectory(frame))
        weights = calibration.weights(frame).ravel().astype(np.float64) / len(frames)
        if not weighted:
            weights = np.full_like(weights, 1 / len(frames))
        data = raw.kspace(frame).reshape(raw.coils, -1)
        total += weights.sum()
        for coil in range(raw.coils):
            system = fourier * coils[coil]
            gram = gram + system.conj().T @ (weights[:, None] * system)
            b = b + system.conj().T @ (weights * data[coil])
    return gram, b, total


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("own", [True, False], ids=["own trajectories", "shared trajectory"])
@pytest.mark.parametrize("normal", ["toeplitz", "explicit"])
def test_cg_sense_solves_the_dense_equations(tmp_path, shape, own, normal):
    write_acquisition(
        tmp_path, shape=shape, coils=3, readouts=11, samples=13, frames=2, own_trajectory=own
    )
    found, receipt = reconstructed(
        tmp_path,
        algorithm="cg-sense",
        normal=normal,
        iterations=60,
        residual=1e-9,
        regularization=0.5,
        precision="double",
        tolerance=1e-9,
    )
    assert found.shape == (2, *(1,) * (3 - len(shape)), *shape)
    for frame in range(2):
        gram, b, total = normal_equations(tmp_path, [frame])
        expected = np.linalg.solve(gram + 0.5 * total * np.eye(len(b)), b)
        assert relative(found[frame].ravel(), expected) < 1e-5
    assert receipt["canary"]["forward_error"] < 1e-8
    assert receipt["residuals"][0][-1] <= 1e-9
    assert receipt["normal"] == normal


def test_single_precision_and_tolerance_are_kept(tmp_path):
    write_acquisition(tmp_path, shape=(10, 7), coils=3, readouts=11, samples=13)
    found, _ = reconstructed(
        tmp_path, algorithm="cg-sense", iterations=40, residual=1e-5, regularization=1.0
    )
    gram, b, total = normal_equations(tmp_path, [0])
    expected = np.linalg.solve(gram + total * np.eye(len(b)), b)
    assert found.dtype == np.complex64
    assert relative(found.ravel(), expected) < 2e-3


def test_joined_frames_are_one_problem_and_the_last_may_be_short(tmp_path):
    write_acquisition(tmp_path, shape=(7, 6), coils=2, readouts=9, samples=8, frames=5)
    found, _ = reconstructed(
        tmp_path,
        algorithm="cg-sense",
        frames_per_image=2,
        weights="none",
        iterations=60,
        residual=1e-9,
        regularization=0.3,
        precision="double",
        tolerance=1e-9,
    )
    assert found.shape[0] == 3
    for image, frames in enumerate([[0, 1], [2, 3], [4]]):
        gram, b, total = normal_equations(tmp_path, frames, weighted=False)
        expected = np.linalg.solve(gram + 0.3 * total * np.eye(len(b)), b)
        assert relative(found[image].ravel(), expected) < 1e-5


@pytest.mark.parametrize("maps", [True, False], ids=["with maps", "root sum of squares"])
def test_gridding_is_the_weighted_adjoint(tmp_path, maps):
    write_acquisition(tmp_path, shape=(6, 4, 5), coils=3, readouts=7, samples=9, maps=maps)
    found, _ = reconstructed(tmp_path, algorithm="gridding", precision="double", tolerance=1e-9)
    raw = RawData.open(tmp_path / "raw.json")
    calibration = Calibration.open(tmp_path / "calibration.json")
    fourier = matrix(raw.shape, raw.trajectory(0))
    coils = fourier.conj().T @ (
        calibration.weights(0).ravel()[:, None] * raw.kspace(0).reshape(3, -1).T
    )
    if maps:  # which are not normalised
        stored = calibration.sensitivities().reshape(3, -1)
        expected = (coils * stored.conj().T).sum(1) / (np.abs(stored) ** 2).sum(0)
    else:
        expected = np.sqrt((np.abs(coils) ** 2).sum(1))
    assert relative(found.ravel(), expected) < 1e-6


def test_a_smaller_matrix_leaves_out_what_it_cannot_resolve(tmp_path):
    """The same field of view on half the matrix: only |k| <= pi / 2 of the old one counts."""
    write_acquisition(tmp_path, shape=(12, 8), coils=1, readouts=9, samples=11, maps=False)
    found, _ = reconstructed(
        tmp_path, algorithm="gridding", shape=(6, 4), precision="double", tolerance=1e-9
    )
    raw = RawData.open(tmp_path / "raw.json")
    weights = Calibration.open(tmp_path / "calibration.json").weights(0).ravel()
    trajectory = 2 * raw.trajectory(0).reshape(-1, 2)
    inside = (np.abs(trajectory) <= np.pi).all(1)
    assert 0 < inside.sum() < len(inside)
    fourier = matrix((6, 4), trajectory[inside])
    # Four times fewer voxels over the same k-space: each sample stands for four times the volume.
    expected = 4 * fourier.conj().T @ (weights * raw.kspace(0).ravel())[inside]
    assert relative(found.ravel(), expected) < 1e-6


@pytest.mark.skipif(DEVICE != "cpu", reason="no device repeats to the last bit")
def test_deterministic_repeats_bitwise_in_any_blocks(tmp_path):
    write_acquisition(tmp_path, shape=(16, 20), coils=3, readouts=20, samples=24, frames=6)
    settings = {"algorithm": "cg-sense", "iterations": 5, "deterministic": True}
    first, _ = reconstructed(tmp_path, **settings)
    again, _ = reconstructed(tmp_path, **settings)
    assert np.array_equal(first, again)


def test_without_maps_several_coils_are_refused_when_planned(tmp_path):
    write_acquisition(tmp_path, shape=(8, 8), coils=2, readouts=5, samples=5, maps=False)
    with pytest.raises(DataError, match=r"cg-sense of 2 coils needs coil maps.*espirit"):
        reconstructed(tmp_path, algorithm="cg-sense")


def test_an_absent_device_is_refused(tmp_path):
    write_acquisition(tmp_path, shape=(8, 8), coils=1, readouts=5, samples=5, maps=False)
    reconstructed(tmp_path, algorithm="gridding")
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=f"torch sees {count} CUDA devices"):
        reconstruct(
            settings=reconstruction_settings(algorithm="gridding")[1],
            dataset="random",
            reconstruction="test",
            raw=tmp_path / "raw.json",
            calibration=tmp_path / "calibration.json",
            plan=files_in(tmp_path).plan,
            block="0000",
            shares=tmp_path,
            image=tmp_path / "x.zarr.zip",
            receipt=tmp_path / "x.json",
            device=f"cuda:{count}",
            threads=1,
        )
    assert not (tmp_path / "x.zarr.zip").exists()


def test_a_block_that_the_plan_lacks_is_refused(tmp_path):
    write_acquisition(tmp_path, shape=(8, 8), coils=1, readouts=5, samples=5, maps=False)
    reconstructed(tmp_path, algorithm="gridding")
    with pytest.raises(DataError, match="no block `0007`"):
        reconstruct(
            settings=reconstruction_settings(algorithm="gridding")[1],
            dataset="random",
            reconstruction="test",
            raw=tmp_path / "raw.json",
            calibration=tmp_path / "calibration.json",
            plan=files_in(tmp_path).plan,
            block="0007",
            shares=tmp_path,
            image=tmp_path / "x.zarr.zip",
            receipt=tmp_path / "x.json",
            device="cpu",
            threads=1,
        )


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gpu_reconstructs_what_the_cpu_does(tmp_path, shape):
    write_acquisition(tmp_path, shape=shape, coils=3, readouts=11, samples=13, frames=2)
    settings = {"algorithm": "cg-sense", "iterations": 8, "regularization": 0.5}
    on_cpu, _ = reconstructed(tmp_path, **settings)
    on_gpu, receipt = reconstructed(tmp_path, device="cuda", **settings)
    assert relative(on_gpu, on_cpu) < 5e-3
    assert receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]


@pytest.mark.gpu
def test_gpu_needs_torch_alone(monkeypatch, tmp_path):
    pytest.importorskip("triton")
    monkeypatch.setattr(nufft_choice, "_why_cufinufft_fails", lambda: "is not there")
    write_acquisition(tmp_path, shape=(10, 7), coils=2, readouts=9, samples=11, frames=1)
    settings = {"algorithm": "cg-sense", "iterations": 8, "regularization": 0.5}
    on_cpu, _ = reconstructed(tmp_path, **settings)
    on_gpu, receipt = reconstructed(tmp_path, device="cuda", **settings)
    assert receipt["backend"] == "triton"
    assert relative(on_gpu, on_cpu) < 5e-3
    assert receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]
