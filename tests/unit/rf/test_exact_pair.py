"""Pairs along exact paths, against dense matrices of the Born sum, so near that models fail."""

import numpy as np
import pytest
import torch
from acquisitions import complex_normal
from adjointness import assert_adjoint, random_complex
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import planar
from stage_runs import files_in

from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import Born
from pipeline.rf.model.exact_pair import ExactPair
from pipeline.storage.publish import read_json

FREQUENCIES = np.linspace(8e9, 12e9, 9)
SCENE = Scene((16, 16), (0.025, 0.025), (0.0, 0.0, 0.3))
VOLUME = Scene((6, 5, 4), (0.02, 0.03, 0.04), (0.05, -0.02, 0.3))
PAIRS = [
    planar((5, 4), (4, 5), 0.13, np.array([[0.1, side, 0.0], [-0.1, -side, 0.02]]))
    for side in (0.1, -0.15)
]


@pytest.mark.parametrize("scene", [SCENE, VOLUME])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_pair_measures_the_born_sum(scene, dtype):
    exact = Born(scene, [PAIRS[0]], FREQUENCIES)
    weights = pair_model(scene, PAIRS[0], FREQUENCIES, "W").weights
    operator = ExactPair(
        scene, PAIRS[0], wavenumbers(FREQUENCIES), tolerance=1e-3, dtype=dtype, device="cpu"
    )
    image = random_complex(*scene.shape)
    expected = exact(image)[0].numpy() / weights[:, None, None]
    found = operator(image.to(dtype)).numpy().reshape(expected.shape)
    assert np.linalg.norm(found - expected) < 1.5e-3 * np.linalg.norm(expected)
    assert_adjoint(operator, batch=(2,))


def test_where_no_model_serves_the_exact_sum_is_solved(tmp_path):
    """As good as dense least squares with the exact matrix, whose condition number is 3.8."""
    columns = Born(SCENE, PAIRS, FREQUENCIES)(
        torch.eye(SCENE.voxels, dtype=torch.complex128).view(-1, *SCENE.shape)
    )
    system = columns.flatten(1).numpy().T
    random = np.random.default_rng(2)
    truth = complex_normal(random, SCENE.shape).astype(np.complex128)
    data = system @ truth.ravel()
    noise = complex_normal(random, data.shape)
    data += 0.1 * np.linalg.norm(data) / np.linalg.norm(noise) * noise
    write_pairs(
        tmp_path, SCENE, PAIRS, FREQUENCIES,
        measured=list(data.reshape(2, 1, len(FREQUENCIES), *PAIRS[0].measurement_shape)),
    )  # fmt: skip
    solved = {"algorithm": "tikhonov", "iterations": 40, "tolerance": 1e-4}
    image, receipt = reconstructed_rf(tmp_path, **solved)
    assert (receipt["model"], receipt["normal"]) == ("exact", "exact paths, resident, of 2 pairs")
    notes = " ".join(read_json(files_in(tmp_path).receipt("plan"))["notes"])
    assert "model exact, -8" in notes
    dense = np.linalg.lstsq(system, data, rcond=None)[0]

    def error(found):
        return np.linalg.norm(found.ravel() - truth.ravel()) ** 2 / np.linalg.norm(truth) ** 2

    assert error(dense) < 0.01
    assert error(image[0, 0]) == pytest.approx(error(dense), abs=1e-3)
    misfit = np.linalg.norm(system @ dense - data) / np.linalg.norm(data)
    assert receipt["misfit"][0] == pytest.approx(misfit, rel=0.05)
    # The best of the models is wrong by far more than that.
    errors = read_json(tmp_path / "calibrate.json")["model_errors"]
    assert min(errors.values()) > 0.1
    shared, of_shards = reconstructed_rf(tmp_path, **solved, shards=3)
    assert of_shards["shards"] == 3
    np.testing.assert_allclose(shared, image, atol=1e-4 * np.abs(image).max())


def test_a_scatterer_in_the_origin_has_the_value_1(tmp_path):
    """Its field falls from element to element, of which some are twice as far as others."""
    scene = Scene((4, 5), (0.02, 0.02), (0.02, 0.01, 0.05))
    point = np.zeros(scene.shape, complex)
    point[2, 2] = 1
    exact = Born(scene, PAIRS, FREQUENCIES)(torch.from_numpy(point)).numpy()
    write_pairs(tmp_path, scene, PAIRS, FREQUENCIES, measured=list(exact[:, None]))
    image, _ = reconstructed_rf(tmp_path, algorithm="matched-filter", model="exact")
    assert image[0, 0, 2, 2] == pytest.approx(1, abs=2e-3)
