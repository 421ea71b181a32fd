"""Back-projection against dense matrices of exact path lengths, near and far."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import relative_error
from profiling import peak_bytes

from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antenna_pattern import AntennaPattern
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.back_projection import TILE_VOXELS, BackProjection
from pipeline.rf.model.back_projection_costs import BackProjectionCosts
from pipeline.rf.model.factorisation import chebyshev_nodes, interpolation
from pipeline.rf.model.line_sampling import LineSampling
from pipeline.rf.model.range_lines import RangeLines
from pipeline.rf.model.scene_tiles import scene_tiles, tile_sides

PULSES = 70
NEAR = Scene((7, 6, 5), (0.02, 0.03, 0.025), (0.1, 0.0, 0.3))
EVEN = np.linspace(1.5e9, 4.5e9, 15)
UNEVEN = np.sort(np.random.default_rng(1).uniform(1.5e9, 4.5e9, 15))
BAND = np.linspace(9.3e9, 9.9e9, 21)
CASES = {
    "far, one antenna": (Scene((13, 9), (0.2, 0.3), (1, 2, 0.5)), 1e4, False, BAND),
    "near, two": (NEAR, 0.3, True, EVEN),
    "uneven frequencies": (NEAR, 0.3, True, UNEVEN),
    "lines that repeat in the scene": (Scene((40, 31), (2.0, 2.0)), 1e3, False, BAND),
    "as single precision holds them": (
        Scene((13, 9), (2.0, 3.0)),
        1e4,
        False,
        BAND.astype(np.float32).astype(np.float64),
    ),
    "one frequency": (Scene((7, 6), (0.2, 0.2)), 1e2, True, np.array([3e9])),
    "own bands": (NEAR, 0.3, True, EVEN),
    "own bands, far": (Scene((13, 9), (0.2, 0.3), (1, 2, 0.5)), 1e4, False, BAND),
}


def measured_by(case, path_loss):
    """The paths of a case, its wavenumbers, and its matrix ``(pulse, freq, voxel)``."""
    scene, range_, two, frequencies = CASES[case]
    random = np.random.default_rng(0)
    sites = random.normal(size=(2, PULSES, 3)) * range_
    transmitter, receiver = sites if two else sites[:1].repeat(2, axis=0)
    own = ()
    if case.startswith("own bands"):
        own = random.uniform(0.8, 1.3, PULSES), random.uniform(-3e8, 3e8, PULSES)
    return measured_from(scene, transmitter, receiver, frequencies, path_loss, own)


def measured_from(scene, transmitter, receiver, frequencies, path_loss, own=()):
    k = 2 * np.pi * frequencies / 299_792_458.0
    excess, loss = 0.0, 1.0
    for antenna in (transmitter, receiver):
        distance = np.linalg.norm(scene.positions() - antenna[:, None], axis=-1)
        origin = np.linalg.norm(scene.centre - antenna, axis=1)[:, None]
        excess, loss = excess + distance - origin, loss * origin / distance
    scale, shift = own or (np.ones(len(excess)), np.zeros(len(excess)))
    of_pulse = scale[:, None] * k + 2 * np.pi * shift[:, None] / 299_792_458.0
    phases = of_pulse[..., None] * excess[:, None]
    matrix = np.exp(-1j * phases) * (loss[:, None] if path_loss else 1)
    return scene, AntennaPaths(transmitter, receiver, np.zeros(len(matrix)), *own), k, matrix


# Voxels far finer than the resolution; the last tiles along each axis are smaller.
FINE = {
    "plane, far": (Scene((131, 37), (0.05, 0.06), (1, 2, 0)), 1e4, 0.0, BAND[::3]),
    "volume, near, two": (Scene((21, 18, 19), (0.008, 0.01, 0.009)), 2.0, 0.4, EVEN[::3]),
    "own bands": (Scene((131, 37), (0.05, 0.06), (1, 2, 0)), 1e4, 0.2, BAND[::3]),
}


@pytest.mark.parametrize("case", FINE)
@pytest.mark.parametrize("path_loss", [False, True])
def test_factorised_it_is_the_exact_sum(case, path_loss):
    scene, range_, apart, frequencies = FINE[case]
    angles = np.radians(np.linspace(-2, 2, 50))
    sites = [
        range_ * np.column_stack([np.cos(a), np.sin(a), np.full_like(a, 0.5)])
        for a in (angles, angles + apart)
    ]
    own = (np.linspace(0.999, 1.001, 50), np.linspace(-3e6, 2e6, 50)) if "own" in case else ()
    scene, paths, k, matrix = measured_from(scene, *sites, frequencies, path_loss, own)
    matrix = matrix.reshape(-1, scene.voxels)
    for tolerance in (1e-2, 1e-3):
        one, two = (
            BackProjection(
                scene, paths, k, tolerance=tolerance, path_loss=path_loss, threads=threads
            )
            for threads in (1, 2)
        )
        chosen = one.factorisation
        assert chosen is not None
        assert np.prod(chosen.nodes) < 0.5 * np.prod(chosen.sides)
        rows = torch.eye(len(matrix), dtype=torch.complex64).view(-1, *one.codomain)
        found = one.adjoint(rows)
        error = relative_error(found.flatten(1).numpy(), matrix.conj())
        assert error < 1.2 * tolerance
        assert torch.equal(two.adjoint(rows[:3]), found[:3])
        assert_adjoint(one, batch=(2,))
        image = random_complex(*scene.shape, dtype=torch.complex64)
        assert torch.equal(one(image), two(image))
        plain = BackProjection(scene, paths, k, path_loss=path_loss, factorised=False)
        assert plain.factorisation is None


@pytest.mark.parametrize("jump", [96, 200, 4470])
def test_pulses_on_both_sides_of_a_jump_are_no_sub_aperture(jump):
    """Of a path of many sub-apertures not all are looked at, but the one that jumps is."""
    scene, range_, _, frequencies = FINE["plane, far"]
    angles = np.radians(np.linspace(-2, 2, 4480))
    angles[jump:] += 0.6
    sites = range_ * np.column_stack([np.cos(angles), np.sin(angles), np.full_like(angles, 0.5)])
    about = slice(jump - 20, min(jump + 20, len(sites)))
    *_, k, matrix = measured_from(scene, sites[about], sites[about], frequencies, False)
    operator = BackProjection(scene, AntennaPaths(sites, sites, np.zeros(len(sites))), k)
    image = random_complex(*scene.shape, dtype=torch.complex64)
    expected = matrix.reshape(*matrix.shape[:2], -1) @ image.numpy().ravel()
    assert relative_error(operator(image)[about].numpy(), expected) < 2e-3


def test_passes_are_cut_each_for_itself():
    """Passes of unequal lengths gain what one of them does, and are as exact."""
    scene, range_, _, frequencies = FINE["plane, far"]
    passes = []
    for pulses, height in ((50, 0.5), (37, 0.52), (61, 0.55)):
        angles = np.radians(np.arange(pulses) * 0.08)
        direction = np.column_stack([np.cos(angles), np.sin(angles), np.full(pulses, height)])
        passes.append(range_ * direction)
    sites = np.concatenate(passes)
    scene, paths, k, matrix = measured_from(scene, sites, sites, frequencies, False)
    together = BackProjection(scene, paths, k, threads=2)
    alone = BackProjection(scene, paths[:50], k)
    assert together.factorisation.gain > 0.8 * alone.factorisation.gain > 1
    assert {50, 87} < set(together.factorisation.bounds)
    image = random_complex(*scene.shape, dtype=torch.complex64)
    data = random_complex(*together.codomain, dtype=torch.complex64)
    matrix = matrix.reshape(-1, scene.voxels)
    found = together(image).numpy().ravel()
    assert relative_error(found, matrix @ image.numpy().ravel()) < 1.2e-3
    back = together.adjoint(data).numpy().ravel()
    assert relative_error(back, matrix.conj().T @ data.numpy().ravel()) < 1.2e-3
    assert_adjoint(together)


def test_polynomials_are_interpolated_exactly():
    places = np.append(np.linspace(-1, 1, 11), chebyshev_nodes(6)[2])
    matrix = interpolation(6, places)
    for power in range(6):
        np.testing.assert_allclose(matrix @ chebyshev_nodes(6) ** power, places**power, atol=1e-13)
    assert np.abs(matrix @ chebyshev_nodes(6) ** 6 - places**6).max() > 0.01


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("path_loss", [False, True])
def test_both_directions_are_the_exact_sum(case, dtype, path_loss):
    scene, paths, k, matrix = measured_by(case, path_loss)
    matrix = matrix.reshape(-1, scene.voxels)
    for tolerance in (1e-2, 1e-3):
        operator = BackProjection(
            scene, paths, k, tolerance=tolerance, path_loss=path_loss, dtype=dtype
        )
        assert operator.sampling.error <= 1.001 * tolerance
        image = random_complex(2, *scene.shape, dtype=dtype)
        data = random_complex(*operator.codomain, dtype=dtype, seed=3)
        for found, exact in (
            (operator(image), image.reshape(2, -1).numpy() @ matrix.T),
            (operator.adjoint(data), data.reshape(-1).numpy() @ matrix.conj()),
        ):
            difference = np.linalg.norm(found.numpy().ravel() - exact.ravel())
            error = difference / np.linalg.norm(exact)
            assert error < 1.3 * tolerance
        assert_adjoint(operator, batch=(2,))


def test_threads_change_nothing():
    scene, paths, k, _ = measured_by("far, one antenna", False)
    one, two = (BackProjection(scene, paths, k, threads=threads) for threads in (1, 2))
    image = random_complex(*scene.shape, dtype=torch.complex64)
    data = random_complex(*one.codomain, dtype=torch.complex64)
    assert torch.equal(one(image), two(image))
    assert torch.equal(one.adjoint(data), two.adjoint(data))


@pytest.mark.parametrize(
    "scene",
    [Scene((100, 37), (0.1, 0.4), (1, 2, 3)), NEAR, Scene((1, 40, 50), (1.0, 0.1, 0.1))],
)
def test_tiles_hold_each_voxel_once(scene):
    found = []
    for tile in scene_tiles(scene, tile_sides(scene, TILE_VOXELS)):
        assert len(tile.voxels) <= TILE_VOXELS
        flat = tile.first + tile.voxels
        np.testing.assert_allclose(
            tile.middle + tile.offsets[:3].T, scene.positions(flat), atol=1e-5
        )
        found.append(flat)
    assert sorted(np.concatenate(found)) == list(range(scene.voxels))


@pytest.mark.parametrize("k", [EVEN[:14], UNEVEN, EVEN[:1]])
def test_lines_and_measurements_are_transposes(k):
    for reach in (0.05, 30.0):  # less than a period, and more
        sampling = LineSampling.of(2 * np.pi * k / 3e8, reach, 1e-2)
        assert_adjoint(RangeLines(sampling, 3, dtype=torch.complex128, device="cpu"), batch=(2,))


@pytest.mark.gpu
def test_on_a_device():
    scene, paths, k, _ = measured_by("near, two", True)
    on_cpu, on_gpu = (
        BackProjection(scene, paths, k, path_loss=True, dtype=torch.complex128, device=device)
        for device in ("cpu", "cuda")
    )
    image = random_complex(*scene.shape)
    there = on_gpu(image.to("cuda"))
    torch.testing.assert_close(there.cpu(), on_cpu(image))
    torch.testing.assert_close(on_gpu.adjoint(there).cpu(), on_cpu.adjoint(there.cpu()))


@pytest.mark.parametrize("pattern", [None, AntennaPattern(power=2.0)], ids=["alike", "pattern"])
def test_memory_where_torch_computes_is_what_is_predicted(pattern):
    scene, paths, k, _ = measured_by("far, one antenna", path_loss=True)
    scene = Scene((300, 170), scene.spacing, scene.origin)
    operator = BackProjection(
        scene, paths, k, path_loss=True, pattern=pattern, dtype=torch.complex128, threads=1
    )
    costs = BackProjectionCosts.of(scene, PULSES, k, tolerance=1e-3, pattern=pattern is not None)
    machine = SimpleNamespace(itemsize=16, on_device=False)
    work = SimpleNamespace(machine=machine, voxel_bytes=16 * scene.voxels)
    predicted = sum(costs.projected(work, PULSES).values())
    image = random_complex(*scene.shape)
    for apply, values in ((operator, image), (operator.adjoint, operator(image))):
        peak, _ = peak_bytes(apply, values)
        assert predicted / 1.2 < peak < predicted
