import math
import tracemalloc

import numpy as np
import pytest
import torch
from acquisitions import complex_normal
from allocations import Allocations
from coil_measurements import Measurement, low_resolution, measure, true_maps

from pipeline.config.calibration import CalibrateSettings
from pipeline.config.transforms import NufftSettings
from pipeline.engine.chain import Calibrating
from pipeline.errors import DataError
from pipeline.geometry.axes import as_volume
from pipeline.mri import readouts as mri_readouts
from pipeline.mri.calibration import centre, sensitivities, walsh
from pipeline.mri.calibration.centre import CentreGrid, centre_images
from pipeline.mri.calibration.coilmaps import (
    cubic_convolution,
    interpolated,
    resampled_maps,
    unit_norm,
)
from pipeline.mri.calibration.walsh import walsh_maps
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.generators.radial import golden_radial, kooshball
from pipeline.storage.acquired import Acquired

CASES = {
    "2D": ((90, 101), [golden_radial(55, 202)], 8),
    "2D frames": ((64, 75), [golden_radial(21, 150, frame=frame) for frame in range(3)], 5),
    "3D": ((36, 41, 50), [kooshball(1500, 64)], 6),
    "few slices": ((10, 41, 50), [kooshball(900, 64)], 4),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    shape, trajectories, coils = CASES[request.param]
    measured = measure(shape, trajectories, coils=coils)
    return measured, *true_maps(shape, coils)


def test_walsh_finds_the_sensitivities(case):
    measured, true, inside = case
    maps = walsh_maps(low_resolution(measured))
    full = unit_norm(interpolated(maps, CentreGrid(measured.shape, 24).coordinates))
    assert tuple(full.shape) == (measured.coils, *as_volume(measured.shape))
    found = full.numpy().reshape(true.shape)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0)[inside], 1, rtol=1e-5)
    common = np.sum(found.conj() * true, axis=0)
    assert np.abs(common)[inside].min() > 0.98
    # Relative phases between the coils, where both are sensitive.
    strong = inside & (np.abs(true).min(axis=0) > 0.15)
    relative = found * found[0].conj() * (true * true[0].conj()).conj()
    error = np.abs(np.angle(relative[:, strong]))
    assert np.median(error) < 0.03
    assert np.quantile(error, 0.99) < 0.25  # at the bright rim all neighbours lie on one side
    # What is left is one phase, and it is smooth.
    phase = common / np.abs(common)
    for axis in range(phase.ndim):
        ahead, behind = (np.delete(phase, index, axis) for index in (0, -1))
        both = np.delete(inside, 0, axis) & np.delete(inside, -1, axis)
        step = np.abs(np.angle(ahead * behind.conj()))[both].max()
        assert step * phase.shape[axis] < 2  # [rad] over the field of view


def test_reading_in_parts_changes_nothing(case, monkeypatch):
    measured, *_ = case
    expected = low_resolution(measured)
    # Three slabs of readouts, and coils two by two.
    rows = -(-measured.readouts // 3)
    monkeypatch.setattr(centre, "_READ_BYTES", 16 * rows * measured.samples)
    found = low_resolution(measured)
    # Each part's transform has an error of its own, within the tolerance.
    assert torch.linalg.norm(found - expected) < 1e-3 * torch.linalg.norm(expected)


def test_slabs_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 11, 7, 6, dtype=torch.complex128, generator=generator)
    expected = walsh_maps(images)
    monkeypatch.setattr(walsh, "_COVARIANCE_BYTES", 0)
    torch.testing.assert_close(walsh_maps(images), expected)


def test_neighbourhood_of_one_is_the_images_direction(monkeypatch):
    monkeypatch.setattr(walsh, "_NEIGHBOURHOOD", 1)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 5, 6, dtype=torch.complex128, generator=generator)
    maps = walsh_maps(images)
    along = torch.sum(maps.conj() * images, dim=0).abs()
    torch.testing.assert_close(along, torch.linalg.vector_norm(images, dim=0))


def test_no_signal_gives_no_map():
    maps = walsh_maps(torch.zeros(3, 1, 8, 8, dtype=torch.complex64))
    assert torch.equal(maps, torch.zeros_like(maps))
    assert torch.equal(unit_norm(maps), maps)


def test_centre_was_not_measured():
    trajectory = golden_radial(7, 64)[:, :16]  # one end of each spoke
    measured = Measurement((32, 32), [trajectory], [np.ones((2, 7, 16), "complex64")])
    with pytest.raises(DataError, match=r"random: frame 0 has no samples within 8 / 2"):
        low_resolution(measured, width=8)


@pytest.mark.parametrize("shape", [(64, 64), (41, 50), (10, 37)])
def test_grid_covers_the_field_of_view(shape):
    grid = CentreGrid(shape, 24)
    for size, cells, found in zip(shape, grid.cells, grid.coordinates[1:], strict=True):
        centre_of_grid = (cells + 2) // 2
        assert found[size // 2] == centre_of_grid
        assert found.min() >= 0
        assert found.max() <= cells + 1
        np.testing.assert_allclose(np.diff(found), cells / size)


def test_cubic_convolution_is_exact_for_parabolas():
    coordinates = np.array([1.0, 1.25, 3.5, 6.9, 7.0])
    matrix = cubic_convolution(coordinates, 10)
    index = np.arange(10.0)
    for power in (0, 1, 2):
        np.testing.assert_allclose(matrix @ index**power, coordinates**power)


def test_cubic_convolution_goes_on_beyond_the_edges():
    values = np.array([3.0, 5.0, 4.0, 7.0])
    np.testing.assert_allclose(cubic_convolution(np.array([-2.0, 5.5]), 4) @ values, [3, 7])


@pytest.mark.parametrize(
    ("before", "after"), [((40, 51), (21, 64)), ((24, 30, 25), (31, 16, 25))], ids=["2D", "3D"]
)
def test_resampled_maps_are_those_of_the_other_matrix(before, after):
    maps = torch.from_numpy(coils_around(before, 4).maps())
    expected = coils_around(after, 4).maps()
    found = resampled_maps(maps, after).numpy()
    interior = (slice(None), *(slice(2, -2) for _ in after))
    np.testing.assert_allclose(found[interior], expected[interior], atol=5e-3)
    assert resampled_maps(maps, before) is maps


def test_maps_do_not_depend_on_the_phases_that_a_library_gives_eigenvectors(monkeypatch):
    images = low_resolution(measure((32, 37), [golden_radial(34, 64)], coils=4))
    expected = walsh_maps(images)
    eigh = torch.linalg.eigh

    def of_another_library(matrix):
        values, vectors = eigh(matrix)
        phases = torch.rand(vectors.shape[:-2] + vectors.shape[-1:], dtype=torch.float64) * 6
        return values, vectors * torch.exp(1j * phases).to(vectors.dtype)[..., None, :]

    monkeypatch.setattr(torch.linalg, "eigh", of_another_library)
    torch.testing.assert_close(walsh_maps(images), expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
def test_gpu_agrees():
    measured = measure((32, 37), [golden_radial(34, 64)], coils=4)
    on_cpu = walsh_maps(low_resolution(measured))
    on_gpu = walsh_maps(low_resolution(measured, device="cuda")).cpu()
    common = torch.sum(on_cpu.conj() * on_gpu, dim=0)
    energy = low_resolution(measured).abs().square().sum(dim=0)
    bright = energy > 0.01 * energy.max()
    torch.testing.assert_close(common[bright], torch.ones_like(common[bright]), rtol=0, atol=0.02)


@pytest.mark.parametrize(("grid", "coils"), [((12, 14, 11), 6), ((1, 24, 20), 11)])
def test_walsh_holds_the_covariances_that_were_planned(monkeypatch, grid, coils):
    monkeypatch.setattr(walsh, "_COVARIANCE_BYTES", 9 * 8 * coils**2 * math.prod(grid[1:]))
    images = complex_normal(np.random.default_rng(2), (coils, *grid)).astype("complex64")
    with Allocations() as allocated:
        walsh_maps(torch.from_numpy(images))
    planned = walsh.covariance_bytes(grid if grid[0] > 1 else grid[1:], coils) + 2 * images.nbytes
    assert allocated.peak <= planned <= 1.15 * allocated.peak


def test_gridding_the_centre_holds_one_slab_at_a_time(monkeypatch):
    shape, coils, readouts, samples = (20, 18, 22), 2, 1500, 80
    monkeypatch.setattr(centre, "_READ_BYTES", 12 * samples * readouts // 3)
    for module in (mri_readouts, sensitivities):
        monkeypatch.setattr(module, "SAMPLES_AT_A_TIME", 50 * samples)
    random = np.random.default_rng(4)
    signal = complex_normal(random, (coils, readouts, samples)).astype("complex64")
    raw = Measurement(shape, [kooshball(readouts, samples)], [signal])

    def grid_centre():
        centre_images(
            raw,
            lambda frame: lambda some: np.ones((some.stop - some.start, samples), np.float32),
            CentreGrid(shape, 8),
            nufft=NufftSettings(),
            device="cpu",
            threads=2,
            who="random",
        )

    grid_centre()  # imports and caches
    tracemalloc.start()
    grid_centre()
    _, measured = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sizes = {"kspace": (1, *signal.shape), "trajectory": (1, readouts, samples, 3)}
    settings = CalibrateSettings.model_validate(
        {"calibration": {"calibration_width": 8}, "nufft": {}}
    )
    # For a device, as its host then holds what NumPy does and no tensors.
    job = Calibrating(
        "random", Acquired("mri", shape, 1, sizes, "radial", ()), settings, 2, "cuda",
        {"density": "radial", "coil_maps": "walsh"},
    )  # fmt: skip
    planned = max(need.host_bytes for need in sensitivities.needs(job))
    assert measured <= planned <= 1.15 * measured
