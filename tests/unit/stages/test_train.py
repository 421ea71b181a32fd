"""An unrolled network trained on RF scenes, and applied as a reconstruction of others."""

import numpy as np
import pytest
from acquisitions import complex_normal
from rf_acquisitions import reconstructed_rf, write_pairs
from rf_scenes import mills_cross

from pipeline.config.training import TrainSettings
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.stages.train import train
from pipeline.storage.publish import read_json

SCENE = Scene((12, 10), (0.1, 0.1))
FREQUENCIES = np.linspace(9.6e9, 10.4e9, 4)
PAIRS = [mills_cross((8, 7), 20.0, 120.0, (0.02, 0.03 * index)) for index in range(2)]


def write_scenes(folder, frames, seed):
    """Write frames of three points each; return the images ``(frame, *shape)``."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((frames, SCENE.voxels), np.complex64)
    for image in truth:
        image[generator.choice(SCENE.voxels, 3, replace=False)] = complex_normal(generator, (3,))
    measured = []
    for pair in PAIRS:
        # At each frequency, unlike the model that inverts: a voxel phase at the centre frequency.
        columns = pair_model(SCENE, pair, FREQUENCIES, "W+D").columns(np.arange(SCENE.voxels))
        values = np.tensordot(truth, columns, axes=(1, -1))
        noise = complex_normal(generator, values.shape) * 0.3 * np.abs(values).mean()
        measured.append(values + noise)
    images = truth.reshape(frames, *SCENE.shape)
    write_pairs(
        folder,
        SCENE,
        PAIRS,
        FREQUENCIES,
        frames=frames,
        measured=measured,
        reference=SCENE.to_volumes(images),
    )
    return images


@pytest.mark.slow
def test_a_network_trained_on_rf_scenes_reconstructs_others(tmp_path):
    known, unseen = tmp_path / "known", tmp_path / "unseen"
    known.mkdir()
    unseen.mkdir()
    write_scenes(known, 16, seed=1)
    truth = write_scenes(unseen, 4, seed=2)
    network, receipt = tmp_path / "network.npz", tmp_path / "train.json"
    settings = {"layers": 6, "channels": 2, "epochs": 8, "held_out": 4, "learning_rate": 1e-2}
    train(
        settings=TrainSettings.model_validate(settings),
        raws=[known / "raw.json"],
        calibrations=[known / "calibration.json"],
        network=network,
        receipt=receipt,
        device="cpu",
        threads=1,
    )
    found = read_json(receipt)
    assert found["held_out_error"] < 0.4 * found["held_out_error_before"]
    images, made = reconstructed_rf(unseen, algorithm="unrolled", weights_file=str(network))
    error = np.linalg.norm(images.reshape(truth.shape) - truth) / np.linalg.norm(truth)
    assert made["stopped"] == ["layers"] * 4
    least_squares, _ = reconstructed_rf(
        unseen, algorithm="tikhonov", iterations=40, regularization=0.03
    )
    other = np.linalg.norm(least_squares.reshape(truth.shape) - truth) / np.linalg.norm(truth)
    assert error < 0.4 * other
