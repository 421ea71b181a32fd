"""Phase histories as Fourier samples, against the sum over exact paths."""

import numpy as np
import pytest
import torch
from exact import exact_forward, relative_error
from rf_scenes import planar

from pipeline.errors import DataError
from pipeline.rf.formats.simulation import spotlight
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair, wavenumbers
from pipeline.rf.geometry.phase_history import paths_of_pair, sub_apertures, whole_aperture
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import simulate
from pipeline.rf.model.voxel_phases import aperture_phase

FREQUENCIES = np.linspace(9e9, 11e9, 7)


def phase_of(part):
    return aperture_phase(part, dtype=torch.complex128).numpy()


def arc(range_, *, pulses=12, degrees=4.0, bistatic=20.0):
    """Return pulses on an arc, received from elsewhere, referred to a point off the centre."""
    angles = np.deg2rad(np.linspace(-degrees / 2, degrees / 2, pulses))
    turned = angles + np.deg2rad(bistatic)
    tx, rx = (
        range_ * np.column_stack([np.cos(a), np.sin(a), np.full_like(a, 0.4)])
        for a in (angles, turned)
    )
    point = np.array([0.3, -0.2, 0.1])
    reference = sum(np.linalg.norm(point - antenna, axis=1) for antenna in (tx, rx))
    return AntennaPaths(tx, rx, reference)


def image_of(scene, points=6, seed=0):
    generator = np.random.default_rng(seed)
    image = np.zeros(scene.voxels, complex)
    image[generator.choice(scene.voxels, points, replace=False)] = generator.standard_normal(
        (points, 2)
    ) @ [1, 1j]
    return image.reshape(scene.shape)


def exact(scene, paths, image):
    """Return the sum over voxels of ``exp(-j k path)``, ``[pulse, freq]``."""
    voxels = np.flatnonzero(image)
    differences = paths.path_differences(scene.positions(voxels))
    k = wavenumbers(FREQUENCIES)
    return np.exp(-1j * k[:, None] * differences[:, None, :]) @ image.ravel()[voxels]


def modelled(parts, image, shape, *, voxel_phase=True):
    """Return what the non-uniform Fourier sums of all parts give, ``[pulse, freq]``."""
    result = np.full(shape, np.nan, complex)
    for part in parts:
        trajectory = part.trajectory()
        samples = trajectory.reshape(-1, trajectory.shape[-1]).T
        seen = image * phase_of(part) if voxel_phase else image
        sums = exact_forward(seen, samples).reshape(trajectory.shape[:2])
        result[part.pulses, part.band] = part.weights() * sums
    return result


SCENES = {
    "2D": Scene((9, 12), (0.05, 0.08), (0.1, 0.4, 0.2)),
    "3D": Scene((7, 6, 5), (0.05, 0.08, 0.1), (0.1, 0.4, 0.2)),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_plane_waves_match_the_direct_sum(scene):
    paths, image = arc(1e7), image_of(scene)
    whole = whole_aperture(scene, paths, FREQUENCIES)
    trajectory = whole.trajectory()
    assert trajectory.shape == (12, 7, len(scene.shape))
    assert trajectory.dtype == np.float64
    assert trajectory.min() >= -np.pi
    assert trajectory.max() < np.pi
    raw = wavenumbers(FREQUENCIES)[-1] * 2 * scene.spacing[0]
    assert raw > np.pi  # so that wrapping matters
    truth = exact(scene, paths, image)
    assert relative_error(modelled([whole], image, truth.shape), truth) < 1e-5
    assert relative_error(modelled([whole], image, truth.shape, voxel_phase=False), truth) < 1e-4


def test_weights_with_path_loss_are_those_of_the_born_sum():
    scene, paths = SCENES["3D"], arc(30.0)
    unreferred = AntennaPaths(paths.transmitter, paths.receiver, np.zeros(len(paths)))
    whole = whole_aperture(scene, unreferred, FREQUENCIES)
    pair = Pair(paths.transmitter, paths.receiver, paired=True)
    born = simulate([scene.origin], [1.0], pair, FREQUENCIES)[..., 0].T
    np.testing.assert_allclose(whole.weights(path_loss=True), born, rtol=1e-9)


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_sub_apertures_hold_the_curvature(scene):
    paths, image = arc(5.0, degrees=20.0), image_of(scene, 20)
    truth = exact(scene, paths, image)
    whole = whole_aperture(scene, paths, FREQUENCIES)
    plain = relative_error(modelled([whole], image, truth.shape, voxel_phase=False), truth)
    single = relative_error(modelled([whole], image, truth.shape), truth)
    assert plain > 0.2
    assert single < 0.5 * plain
    parts = sub_apertures(scene, paths, FREQUENCIES, tolerance=0.02)
    assert len(parts) > 1
    assert relative_error(modelled(parts, image, truth.shape), truth) < 0.04
    # each measurement is in one part, or `modelled` would have left NaN


def test_curvature_error_is_the_error_of_the_data():
    """The expectation over uncorrelated scatterers, against one draw of many."""
    scene, paths = SCENES["2D"], arc(8.0)
    whole = whole_aperture(scene, paths, FREQUENCIES)
    generator = np.random.default_rng(3)
    image = generator.standard_normal((*scene.shape, 2)) @ [1, 1j]
    truth = exact(scene, paths, image)
    for voxel_phase in (False, True):
        found = whole.curvature_error(np.arange(scene.voxels), voxel_phase=voxel_phase)
        data = relative_error(modelled([whole], image, truth.shape, voxel_phase=voxel_phase), truth)
        assert found == pytest.approx(data, rel=0.35)


def test_targets_off_centre_land_where_they_are():
    """A target 30 m from the centre, seen from 500 m: plane waves put it somewhere else."""
    scene = Scene((121, 121), (0.5, 0.5))
    paths = arc(500.0, pulses=48, degrees=1.2, bistatic=0.0)
    frequencies = np.linspace(9.95e9, 10.05e9, 32)
    voxel = (20, 105)
    position = scene.positions(np.array([np.ravel_multi_index(voxel, scene.shape)]))
    k = wavenumbers(frequencies)
    data = np.exp(-1j * k * paths.path_differences(position))

    def brightest(parts, voxel_phase):
        image = np.zeros(scene.shape, complex)
        steps = np.arange(121) - 60
        for part in parts:
            first, second = part.trajectory().reshape(-1, 2).T
            samples = (data[part.pulses, part.band] * part.weights().conj()).ravel()
            planes = [np.exp(1j * np.outer(steps, omega)) for omega in (first, second)]
            seen = (planes[0] * samples) @ planes[1].T
            image += seen * (phase_of(part).conj() if voxel_phase else 1)
        peak = np.unravel_index(np.argmax(np.abs(image)), scene.shape)
        return np.abs(np.array(peak) - voxel).max(), np.abs(image).max() / data.size

    parts = sub_apertures(scene, paths, frequencies, tolerance=0.3)
    distance, brightness = brightest(parts, voxel_phase=True)
    assert distance == 0
    assert brightness > 0.9
    displaced, _ = brightest(parts[:1], voxel_phase=False)
    assert displaced >= 2


def test_spotlight_data_errors():
    """Published for the scene of Gorham and Moore: 0.175, and 0.0036 with a voxel phase."""
    points = spotlight()
    (pair,) = points.pairs
    measured = points.signal(0)[..., 0].T
    whole = whole_aperture(points.scene, paths_of_pair(pair), points.frequencies)
    voxels = np.rint(points.positions[:, :2] / points.scene.spacing).astype(int)
    curvature = phase_of(whole)
    weights = whole.weights(path_loss=True) * pair.gain
    for voxel_phase, expected in ((False, 0.175), (True, 0.0036)):
        found = np.zeros_like(measured)
        for voxel in voxels:
            phase = curvature[tuple(voxel + 250)] if voxel_phase else 1.0
            found += phase * np.exp(-1j * (whole.trajectory() @ voxel))
        assert relative_error(found * weights, measured) == pytest.approx(expected, rel=0.01)


def test_measurements_of_a_pair_as_pulses():
    pair = planar((2, 3), (4, 2), 0.1, np.array([[0, 0, -2.0], [0.5, 0, -2.0]]))
    paths = paths_of_pair(pair)
    field = simulate([[0.1, 0.2, 0.3]], [1.0], pair, FREQUENCIES)
    k = wavenumbers(FREQUENCIES)[:, None]
    phases = np.exp(-1j * k * paths.path_differences([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(phases, np.exp(1j * np.angle(field)).reshape(7, -1), atol=1e-9)


def test_refused():
    scene, paths = SCENES["2D"], arc(3.0)
    with pytest.raises(DataError, match="must be Cartesian"):
        whole_aperture(Scene((3, 4), (0.1, 0.1), range=5.0), paths, FREQUENCIES)
    with pytest.raises(DataError, match="no pulses"):
        whole_aperture(scene, paths[:0], FREQUENCIES)
    with pytest.raises(DataError, match=r"sub-apertures leave .* tolerance 0.001, and 4 are"):
        sub_apertures(scene, paths, FREQUENCIES, tolerance=1e-3, most=4)
