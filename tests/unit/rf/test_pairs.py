"""Pairs of antenna arrays through the stages: published figures, and the exact Born sum."""

import dataclasses

import numpy as np
import pytest
import torch
from acquisitions import config_of
from rf_acquisitions import reconstructed_rf
from stage_runs import files_in

from pipeline.config.datasets import Dataset
from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, PlanError
from pipeline.in_process import run
from pipeline.rf.formats import simulation
from pipeline.rf.formats.simulation import rf6
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import Born
from pipeline.storage.publish import read_json


def bring_in(folder, source="rf6"):
    dataset = Dataset(
        dataset=folder.name, kind="rf", format="simulation", source=source, reconstructions=["test"]
    )
    config = config_of(algorithm="matched-filter")
    run(config, dataset, "test", folder.parent, until="calibrate")


def image_of(folder, **settings):
    images, receipt = reconstructed_rf(folder, **settings)
    return images[0, 0], receipt


def error_db(image, truth):
    return 20 * np.log10(np.linalg.norm(image - truth) / np.linalg.norm(truth))


@pytest.fixture(scope="module")
def six_pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rf6")
    bring_in(folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "lowest", "highest"),
    [
        ({"algorithm": "matched-filter"}, 2.4, 3.0),
        ({"algorithm": "tikhonov"}, -5.1, -3.9),
        (
            {"algorithm": "fista", "iterations": 400, "sparsity": 0.05, "debias": True},
            -44.0,
            -41.0,
        ),
        ({"algorithm": "omp", "points": 40}, -43.9, -41.0),
        ({"algorithm": "omp", "points": 60, "residual": "noise"}, -43.9, -41.0),
        ({"algorithm": "fista"}, -32.3, -31.5),
        ({"algorithm": "admm"}, -32.3, -31.5),
        ({"algorithm": "admm", "debias": 0.1}, -44.0, -41.0),
    ],
    ids=[
        *("matched filter", "Tikhonov", "sparse, debiased", "40 points", "points above the noise"),
        *("sparse by default", "ADMM by default", "ADMM, debiased"),
    ],
)
def test_six_pairs_reach_the_published_errors(six_pairs, settings, lowest, highest):
    """Six pairs, 16 tones, 8 x 8 elements, 40 points, 20 dB: see `simulation.rf6`."""
    image, receipt = image_of(six_pairs, **settings)
    assert receipt["model"] == "W"
    assert lowest < error_db(image, rf6().truth()) < highest


def test_sparse_finds_the_points_and_nothing_else(six_pairs):
    image, receipt = image_of(six_pairs, algorithm="fista", iterations=400, sparsity=0.05)
    assert np.count_nonzero((np.abs(image) > 0.3) != (rf6().truth() != 0)) == 0
    assert receipt["normal"] == "toeplitz, 1 kernel for 6 pairs"


@pytest.fixture
def near_scene(tmp_path, monkeypatch):
    """Two pairs 100 m before a scene of 1 m: plane waves fail, a voxel phase serves."""
    points = rf6(scatterers=5, snr_db=None)
    scene = Scene((9, 12), (0.1, 0.08))
    pairs = []
    for pair in points.pairs[:2]:
        tx, rx = (antenna * (100 / np.linalg.norm(antenna[0])) for antenna in (pair.tx, pair.rx))
        pairs.append(dataclasses.replace(pair, tx=tx, rx=rx, gain=(4 * np.pi * 100) ** 2))
    near = dataclasses.replace(
        points,
        scene=scene,
        pairs=tuple(pairs),
        positions=scene.positions(np.array([3, 40, 77, 90, 101])),
    )
    monkeypatch.setitem(simulation.SCENES, "near", lambda seed: near)
    bring_in(tmp_path, "near")
    return tmp_path, near


def test_a_voxel_phase_serves_where_plane_waves_fail(near_scene):
    folder, near = near_scene
    errors = read_json(files_in(folder).receipt("calibrate"))["model_errors"]
    assert errors["W+D(fc)"] < 0.1
    assert errors["W"] > 0.3
    image, receipt = image_of(
        folder, algorithm="tikhonov", iterations=300, regularization=0.1, residual=1e-6
    )
    assert receipt["model"] == "W+D(fc)"
    born = Born(near.scene, near.pairs, near.frequencies)
    voxels = torch.eye(near.scene.voxels, dtype=born.dtype).reshape(-1, *near.scene.shape)
    system = np.stack([born(voxel).numpy().ravel() for voxel in voxels], axis=1)
    data = np.concatenate([near.measurement(pair).ravel() for pair in range(2)])
    gram = system.conj().T @ system
    gram += 0.1 * gram[0, 0].real * np.eye(len(gram))
    expected = np.linalg.solve(gram, system.conj().T @ data)
    assert np.linalg.norm(image.ravel() - expected) / np.linalg.norm(expected) < 0.1


def test_a_model_that_is_wrong_is_refused_by_how_much(near_scene):
    folder, _ = near_scene
    with pytest.raises(
        PlanError, match=r"the model W leaves -9.1 dB .*The model W\+D\(fc\) would leave"
    ):
        image_of(folder, algorithm="matched-filter", model="W")
    image, _ = image_of(folder, algorithm="matched-filter", model="W", force_model=True)
    assert np.isfinite(image).all()


def test_a_seed_is_refused_where_nothing_is_random():
    content = {"kind": "rf", "format": "simulation", "source": "gorham-moore"}
    settings = IngestSettings.model_validate({**content, "details": {"seed": 3}})
    with (
        pytest.raises(ConfigError, match=r"`sources\.scan\.seed` is 3, .* take rf6"),
        simulation.open_source(settings, "scan", Budget("scan", 600)),
    ):
        pass


def test_an_unknown_scene_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown scene `rf7`.*rf6"):
        bring_in(tmp_path, "rf7")
