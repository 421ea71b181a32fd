"""Range migration against dense matrices: of its own definition, and of exact path lengths."""

from functools import partial

import numpy as np
import pytest
import torch
from acquisitions import complex_normal
from adjointness import assert_adjoint, random_complex
from calibrating import calibrated_in
from exact import exact_forward, relative_error
from rf_acquisitions import pulses, reconstructed_rf, store
from stage_runs import files_in

from pipeline.errors import PlanError
from pipeline.operators.nufft import NUFFT
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.planar_scan import PlanarScan, RangeMigration, migration_error
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.omega_k import OmegaK
from pipeline.storage.publish import read_json

K = 2 * np.pi * np.linspace(26e9, 34e9, 5) / SPEED_OF_LIGHT
SHAPE, SPACING, ORIGIN = (12, 10, 6), (0.006, 0.005, 0.01), (0.01, 0.0, 0.31)


def scanned(normal=2, apart=0.0, missing=3, side=1.0, pitch=0.012):
    """A scene and positions on a grid across an axis, in any order, some of them left out."""
    x, y = (np.arange(13) - 6) * pitch, (np.arange(11) - 5) * pitch * 0.9
    sites = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    sites = np.random.default_rng(1).permutation(sites)[: len(sites) - missing]
    turned = [0, 1]
    turned.insert(normal, 2)
    scene = Scene(*([values[axis] for axis in turned] for values in (SHAPE, SPACING, ORIGIN)))
    sites, half = sites[:, turned], np.array([apart / 2, 0, 0])[turned]
    sites[:, normal] = scene.origin[normal] * (1 - side)
    return scene, AntennaPaths(sites - half, sites + half, np.linspace(0, 1, len(sites)))


def operator_of(scene, paths, dtype=torch.complex128, tolerance=1e-9):
    migration = RangeMigration.of(scene, paths)
    transform = partial(NUFFT, scene.shape, tolerance=tolerance, dtype=dtype)
    return migration, OmegaK(migration, paths, K, transform=transform, dtype=dtype)


def exact_matrix(scene, paths):
    """``exp(-j k d)`` relative to the origin, ``(pulse * freq, voxel)``."""
    legs = [
        np.linalg.norm(scene.positions() - antenna[:, None], axis=-1)
        - np.linalg.norm(scene.centre - antenna, axis=1)[:, None]
        for antenna in (paths.transmitter, paths.receiver)
    ]
    return np.exp(-1j * K[:, None] * sum(legs)[:, None]).reshape(-1, scene.voxels)


@pytest.mark.parametrize(
    ("geometry", "allowed"),
    [
        ({}, 1.5e-3),
        ({"normal": 0, "side": -1.0}, 1.5e-3),  # seen from behind
        ({"normal": 1}, 1.5e-3),
        ({"apart": 0.016}, 0.02),  # taken for one antenna, and what that lacks in the middle
    ],
)
def test_both_directions_are_the_exact_sum(geometry, allowed):
    scene, paths = scanned(**geometry)
    migration, operator = operator_of(scene, paths)
    image, data = random_complex(2, *scene.shape), random_complex(*operator.codomain, seed=3)
    matrix = exact_matrix(scene, paths)
    found = operator(image).reshape(2, -1).numpy()
    error = relative_error(found, image.reshape(2, -1).numpy() @ matrix.T)
    assert error < allowed
    stated = migration_error(migration, paths, K)
    assert stated == pytest.approx(error, rel=0.25)
    found = operator.adjoint(data).numpy().ravel()
    assert relative_error(found, data.numpy().ravel() @ matrix.conj()) < allowed
    assert_adjoint(operator, batch=(2,))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_it_is_its_definition(dtype):
    """Plane waves of both sums, one by one, in double precision."""
    scene, paths = scanned(normal=1, apart=0.02)
    migration, operator = operator_of(scene, paths, dtype, tolerance=1e-5)
    grid = migration.grid(K)
    image = random_complex(*scene.shape)
    depths = np.abs(scene.positions()[:, 1]).reshape(scene.shape)
    expected = np.empty(operator.codomain, complex)
    middle = (paths.transmitter + paths.receiver) / 2
    over_origin = sum(
        np.linalg.norm(scene.centre - antenna, axis=1)
        for antenna in (paths.transmitter, paths.receiver)
    )
    for index, k in enumerate(K):
        samples = migration.samples(k, grid)
        vectors = samples.wave_vectors
        sums = exact_forward(image.numpy() * depths, vectors * np.array(scene.spacing)[:, None])
        # From place (0, 0) to each position, in the plane.
        way = (middle - migration.scan.corner)[:, [0, 2]] @ vectors[[0, 2]]
        waves = np.exp(1j * way) @ (sums * samples.weights)
        expected[:, index] = waves * np.exp(1j * k * over_origin)
    found = operator(image.to(dtype)).numpy()
    assert relative_error(found, expected) < 1e-4
    some = slice(5, 50)
    assert relative_error(operator[some](image.to(dtype)).numpy(), expected[some]) < 1e-4
    assert_adjoint(operator[some])


def test_what_is_no_planar_scan():
    scene, paths = scanned()
    assert PlanarScan.of(paths) is not None
    assert RangeMigration.of(Scene((12, 10), (0.006, 0.005)), paths) is None  # a plane
    assert RangeMigration.of(Scene(scene.shape, scene.spacing), paths) is None  # within the scene
    sites = paths.transmitter
    for axis, wrong in ((0, 0.004), (2, 0.01)):
        moved = sites.copy()
        moved[7, axis] += wrong  # beside its place, and before the plane
        assert PlanarScan.of(AntennaPaths(moved, moved, paths.reference_path)) is None
        assert PlanarScan.of(AntennaPaths(sites, moved, paths.reference_path)) is None
    line = sites[sites[:, 1] == sites[0, 1]]
    assert PlanarScan.of(AntennaPaths(line, line, np.zeros(len(line)))) is None


def acquired(folder, scene, paths):
    data = complex_normal(np.random.default_rng(5), (len(paths), len(K)))
    store(folder / "raw.json", pulses(scene, K * SPEED_OF_LIGHT / (2 * np.pi), paths, data))
    calibrated_in(folder, dataset="radar", window="hamming")
    origin = paths.path_differences(scene.centre)
    return (data * np.exp(1j * K * origin[:, None])).ravel().astype(np.complex128)


def test_equations_are_solved_by_it(tmp_path):
    scene, paths = scanned(missing=0)
    data = acquired(tmp_path, scene, paths)
    system = exact_matrix(scene, paths)
    taper = np.outer(np.hamming(len(paths)), np.hamming(len(K)))
    weights = (taper / taper.mean()).ravel()
    chosen = {"algorithm": "tikhonov", "regularization": 0.3, "iterations": 60, "residual": 1e-5}
    image, receipt = reconstructed_rf(tmp_path, model="omega-k", **chosen)
    assert receipt["normal"] == "explicit, by range migration"
    gram = system.conj().T @ (weights[:, None] * system)
    gram += 0.3 * weights.sum() * np.eye(scene.voxels)
    expected = np.linalg.solve(gram, system.conj().T @ (weights * data))
    assert relative_error(image[0].ravel(), expected) < 6e-3
    notes = " ".join(read_json(files_in(tmp_path).receipt("plan"))["notes"])
    assert "model omega-k, -60" in notes


def test_it_is_refused_where_it_errs(tmp_path):
    scene, paths = scanned(apart=0.2)
    acquired(tmp_path, scene, paths)
    with pytest.raises(PlanError, match=r"omega-k leaves -\d.* `model_error` allows -20\.0 dB"):
        reconstructed_rf(tmp_path, algorithm="matched-filter", model="omega-k")
    moved = paths.transmitter + np.random.default_rng(0).normal(size=paths.transmitter.shape)
    acquired(tmp_path, scene, AntennaPaths(moved, moved, paths.reference_path))
    with pytest.raises(PlanError, match="antennas that lie on a grid in a plane"):
        reconstructed_rf(tmp_path, algorithm="matched-filter", model="omega-k")
