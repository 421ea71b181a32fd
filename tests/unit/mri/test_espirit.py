import math

import numpy as np
import pytest
import torch
from acquisitions import complex_normal, write_acquisition
from allocations import Allocations
from calibrating import calibrated_in
from coil_measurements import low_resolution, measure, true_maps

import kronufft
from pipeline.errors import DataError
from pipeline.mri.calibration import espirit
from pipeline.mri.calibration.centre import CentreGrid, box_shape, centre_of_kspace
from pipeline.mri.calibration.coilmaps import interpolated, unit_norm
from pipeline.mri.calibration.espirit import espirit_maps
from pipeline.mri.calibration.walsh import walsh_maps
from pipeline.mri.generators.radial import golden_radial, kooshball

CASES = {
    "2D": ((90, 101), [golden_radial(55, 202)], 8, 24),
    "2D frames": ((64, 75), [golden_radial(21, 150, frame=frame) for frame in range(3)], 5, 24),
    "3D": ((26, 31, 40), [kooshball(1200, 50)], 4, 14),
    "few slices": ((10, 41, 50), [kooshball(900, 64)], 4, 16),
}


def on_matrix(maps, grid):
    return unit_norm(interpolated(maps, grid.coordinates)).numpy()


def error(found, true, inside):
    """Relative to the true maps within the object, after one phase a voxel."""
    phase = np.exp(1j * np.angle(np.sum(found.conj() * true, axis=0)))
    return np.linalg.norm((found * phase - true)[:, inside]) / np.linalg.norm(true[:, inside])


@pytest.mark.parametrize("name", CASES)
def test_maps_are_nearer_the_truth_than_walshs(name):
    shape, trajectories, coils, width = CASES[name]
    measured = measure(shape, trajectories, coils=coils)
    true, inside = true_maps(shape, coils)
    grid = CentreGrid(shape, width, box=True)
    images = low_resolution(measured, width, box=True)
    patch = 6 if len(shape) == 2 else 4
    maps, eigenvalues = espirit_maps(
        centre_of_kspace(images, grid), images.shape[1:], width=patch, threshold=1e-3
    )
    found = on_matrix(maps, grid).reshape(true.shape)
    walsh = on_matrix(walsh_maps(low_resolution(measured, width)), grid).reshape(true.shape)
    assert error(found, true, inside) < 0.025
    assert error(found, true, inside) < 0.75 * error(walsh, true, inside)
    # One within the object, less beyond it.
    full = interpolated(eigenvalues[None], grid.coordinates)[0].numpy().reshape(shape)
    assert full[inside].min() > 0.97
    assert eigenvalues.max() < 1 + 1e-4
    assert np.median(full[~inside]) < np.median(full[inside])


@pytest.mark.parametrize("name", ["2D", "few slices"])
def test_the_same_from_python(name):
    shape, trajectories, coils, width = CASES[name]
    measured = measure(shape, trajectories, coils=coils)
    true, inside = true_maps(shape, coils)
    samples = torch.from_numpy(measured.signals[0].astype(np.complex64))
    k = torch.from_numpy(np.moveaxis(trajectories[0], -1, 0).copy())
    errors = {}
    for method in ("espirit", "walsh"):
        maps = kronufft.coil_maps(samples, k, shape, width=width, method=method)
        assert maps.shape == true.shape
        errors[method] = error(maps.numpy(), true, inside)
    assert errors["espirit"] < 0.025
    assert errors["espirit"] < 0.75 * errors["walsh"]


def test_the_centre_is_what_a_cartesian_scan_has():
    """Of the grid's field of view, which is a little larger than the matrix'."""
    shape, width = (40, 46), 16
    measured = measure(shape, [golden_radial(120, 100)], coils=3, noise=0)
    grid = CentreGrid(shape, width, box=True)
    found = centre_of_kspace(low_resolution(measured, width, box=True), grid).numpy()[:, 0]
    assert found.shape[1:] == box_shape(grid)[1:]
    steps = [
        2 * np.pi / size * cells / (cells + 2) * (np.arange(count) - count // 2)
        for size, cells, count in zip(shape, grid.cells, found.shape[1:], strict=True)
    ]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), -1)
    expected = measure(shape, [points], coils=3, noise=0).signals[0]
    scale = np.vdot(found, expected) / np.vdot(found, found)
    assert np.linalg.norm(scale * found - expected) < 0.04 * np.linalg.norm(expected)


def test_a_threshold_keeps_noise_out_of_the_signal():
    region = complex_normal(np.random.default_rng(0), (3, 1, 11, 12)).astype("complex64")
    all_of_it = espirit_maps(torch.from_numpy(region), (1, 9, 8), width=3, threshold=1e-7)[1]
    # All patches span the whole space: every direction of the coils is as good as any other.
    torch.testing.assert_close(all_of_it, torch.ones_like(all_of_it), rtol=0, atol=1e-3)
    strongest = espirit_maps(torch.from_numpy(region), (1, 9, 8), width=3, threshold=0.9)[1]
    assert strongest.mean() < 0.3


def test_slabs_change_nothing(monkeypatch):
    region = complex_normal(np.random.default_rng(1), (3, 7, 8, 9)).astype("complex128")
    arguments = (torch.from_numpy(region), (10, 7, 6))
    expected, values = espirit_maps(*arguments, width=3, threshold=0.6)
    monkeypatch.setattr(espirit, "_MAP_BYTES", 0)
    found, others = espirit_maps(*arguments, width=3, threshold=0.6)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(others, values)


def test_maps_do_not_depend_on_the_phases_that_a_library_gives_eigenvectors(monkeypatch):
    grid = CentreGrid((32, 37), 16, box=True)
    images = low_resolution(measure((32, 37), [golden_radial(34, 64)], coils=4), 16, box=True)
    arguments = (centre_of_kspace(images, grid), images.shape[1:])
    expected, _ = espirit_maps(*arguments, width=6, threshold=1e-3)
    eigh = torch.linalg.eigh

    def of_another_library(matrix):
        found = eigh(matrix)
        vectors = found.eigenvectors
        phases = torch.rand(vectors.shape[:-2] + vectors.shape[-1:], dtype=torch.float64) * 6
        turned = vectors * torch.exp(1j * phases).to(vectors.dtype)[..., None, :]
        return torch.return_types.linalg_eigh((found.eigenvalues, turned))

    monkeypatch.setattr(torch.linalg, "eigh", of_another_library)
    found, _ = espirit_maps(*arguments, width=6, threshold=1e-3)
    # Where one direction is the strongest.
    along = torch.sum(found.conj() * expected, dim=0)
    assert (along.real > 1 - 1e-3).float().mean() > 0.9


@pytest.mark.parametrize(
    ("region", "grid", "coils", "width"),
    [((1, 25, 25), (1, 50, 50), 12, 6), ((9, 9, 9), (40, 42, 44), 9, 4)],
)
def test_what_is_held_was_planned(monkeypatch, region, grid, coils, width):
    monkeypatch.setattr(espirit, "_MAP_BYTES", 9 * 8 * coils**2 * math.prod(grid[1:]))
    drawn = complex_normal(np.random.default_rng(2), (coils, *region)).astype("complex64")
    with Allocations() as allocated:
        espirit_maps(torch.from_numpy(drawn), grid, width=width, threshold=1e-3)
    results = (8 * coils + 4) * math.prod(grid)
    planned = max(
        sum(parts.values()) for parts in espirit.espirit_bytes(region, grid, coils, width)
    )
    assert allocated.peak <= planned + results
    # LAPACK's own work areas are not seen here.
    assert planned + results <= 2.2 * allocated.peak


@pytest.mark.gpu
def test_gpu_agrees():
    grid = CentreGrid((32, 37), 16, box=True)
    images = low_resolution(measure((32, 37), [golden_radial(34, 64)], coils=4), 16, box=True)
    region, size = centre_of_kspace(images, grid), images.shape[1:]
    on_cpu, values = espirit_maps(region, size, width=6, threshold=1e-3)
    on_gpu, _ = espirit_maps(region.cuda(), size, width=6, threshold=1e-3)
    along = torch.sum(on_cpu.conj() * on_gpu.cpu(), dim=0)[values > 0.99]
    torch.testing.assert_close(along, torch.ones_like(along), rtol=0, atol=0.01)


def test_no_more_sets_than_coils(tmp_path):
    """Of a share of the energy only compression tells how many there are."""
    shape = (12, 11)
    write_acquisition(tmp_path, shape=shape, coils=3, readouts=20, samples=24)
    for virtual, coils in ((2, 2), (0.5, 2), ("all", 3)):
        sets = {"sets": coils + 1, "crop": 0.8}
        with pytest.raises(DataError, match=f"sets is {coils + 1}, and there are {coils} coils"):
            calibrated_in(tmp_path, espirit=sets, virtual_coils=virtual)
