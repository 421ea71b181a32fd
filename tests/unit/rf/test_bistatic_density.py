"""Density of bistatic rotations, against objects whose Fourier transform is known."""

import numpy as np
import pytest

from pipeline.rf.calibration.bistatic_density import bistatic_weights, is_bistatic_rotation
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.scene import Scene

SCENE = Scene((30, 24), (0.01, 0.012))
FREQUENCIES = np.array([2.0, 3.0, 5.0, 6.0]) * 1e9
RADIUS = 2.0


def on_circle(degrees, radius=RADIUS):
    angle = np.deg2rad(degrees)
    return radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)


def rotation(views=20, missing=60, step=3):
    """Transmitters all round, each heard all round but for a sector about itself."""
    transmitters = np.arange(views) * 360 / views
    away = np.arange(missing, 360 - missing + 1, step)
    tx, rx = (a.ravel() for a in np.broadcast_arrays(transmitters[:, None], 0 * away[None]))
    rx = (transmitters[:, None] + away).ravel()
    return AntennaPaths(on_circle(tx), on_circle(rx), np.full(len(tx), 2 * RADIUS))


@pytest.mark.slow
@pytest.mark.parametrize("missing", [3, 60])
@pytest.mark.parametrize("frequencies", [FREQUENCIES, FREQUENCIES[2:3]], ids=["band", "single"])
def test_the_weighted_sum_gives_back_a_gaussian(missing, frequencies):
    paths = rotation(missing=missing)
    width = 0.022  # its transform has faded where the measurement ends
    x, y = (0.004 * np.arange(-12, 13) for _ in range(2))
    points = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)
    # Plane waves: the density is that of wave vectors, whatever the curvature.
    towards = -(paths.transmitter + paths.receiver) / RADIUS
    kappa = (2 * np.pi / SPEED_OF_LIGHT) * frequencies[:, None] * towards[:, None, :]
    kappa = kappa.reshape(-1, 3)
    spectrum = np.exp(-(width**2) * np.sum(kappa**2, axis=1) / 2)
    truth = np.exp(-np.sum(points**2, axis=1) / (2 * width**2))

    def similarity(weights):
        image = np.exp(1j * points @ kappa.T) @ (weights * spectrum)
        return np.abs(np.vdot(image, truth)) / np.linalg.norm(image) / np.linalg.norm(truth)

    weights = bistatic_weights(SCENE, paths, frequencies).ravel()
    assert weights.mean() == pytest.approx(1, rel=1e-6)
    assert weights.min() > 0
    assert similarity(weights) > 0.9995
    assert similarity(np.ones(len(weights))) < 0.99


def test_of_one_frequency_it_is_the_jacobian_of_the_angles():
    paths = rotation()
    weights = bistatic_weights(SCENE, paths, FREQUENCIES[:1])[:, 0]
    jacobian = np.abs(np.cross(paths.transmitter, paths.receiver)[:, 2]) / RADIUS**2
    apart = jacobian > 0.1
    np.testing.assert_allclose(weights[apart] * jacobian.mean(), jacobian[apart], rtol=0.01)


def changed(**arrays):
    paths = rotation()
    return AntennaPaths(
        **{
            name: arrays.get(name, getattr(paths, name))
            for name in ("transmitter", "receiver", "reference_path")
        }
    )


def test_other_geometries_are_told_apart():
    whole = rotation()
    assert is_bistatic_rotation(SCENE, whole)
    assert is_bistatic_rotation(SCENE, rotation(views=8, missing=30, step=1))
    arc = whole[: len(whole) // 2]
    monostatic = on_circle(np.arange(0, 360, 5.0))
    raised = whole.receiver + np.array([0, 0, 0.3])
    for paths in (
        arc,
        AntennaPaths(monostatic, monostatic, np.full(72, 2 * RADIUS)),
        changed(receiver=raised),
        changed(receiver=whole.receiver * np.linspace(1, 1.5, len(whole))[:, None]),
        changed(transmitter=on_circle(np.random.default_rng(0).uniform(0, 360, len(whole)))),
    ):
        assert not is_bistatic_rotation(SCENE, paths)
    assert not is_bistatic_rotation(Scene((6, 5, 4), (0.01,) * 3), whole)
