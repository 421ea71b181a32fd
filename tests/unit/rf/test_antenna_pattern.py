"""Antennas that do not see all directions alike, and fields that fall, against dense matrices."""

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from calibrating import calibrated_in
from exact import relative_error
from rf_acquisitions import pulses, reconstructed_rf, store, write_pairs
from rf_scenes import planar

from pipeline.config.scenes import AntennaSettings
from pipeline.errors import DataError, PlanError
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antenna_pattern import AntennaPattern
from pipeline.rf.geometry.antennas import wavenumbers
from pipeline.rf.geometry.pair_model import pair_model
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.back_projection import BackProjection
from pipeline.rf.model.born import Born, simulate
from pipeline.rf.model.exact_pair import ExactPair

SCENE = Scene((7, 6, 5), (0.02, 0.03, 0.025), (0.1, 0.0, 0.3))
FREQUENCIES = np.linspace(1.5e9, 4.5e9, 13)
RANDOM = np.random.default_rng(2)
SITES = RANDOM.normal(size=(2, 30, 3)) * [0.3, 0.3, 0.05]
PATHS = AntennaPaths(*SITES, np.zeros(30))
TABLE = ((0.0, 0.0), (20.0, -1.0), (50.0, -7.0), (80.0, -30.0))
PATTERNS = {
    "cosine": {"power": 1.5, "aim": (0.1, 0.0, 0.2)},
    "table": {"pattern": TABLE, "direction": (0.2, 0.0, 3.0)},
    "about the origin": {"power": 3.0},
}


def amplitudes(name, antennas, points):
    """By the angle itself, from the definition; ``(antenna, point)``."""
    told = PATTERNS[name]
    look = np.array(told.get("aim", SCENE.centre)) - antennas
    look = np.broadcast_to(told["direction"], look.shape) if "direction" in told else look
    away = points - antennas[:, None]
    cosine = np.einsum("pi,pxi->px", look, away)
    cosine /= np.linalg.norm(look, axis=1)[:, None] * np.linalg.norm(away, axis=2)
    if "power" in told:
        return np.maximum(cosine, 0) ** told["power"]
    angle = np.degrees(np.arccos(cosine))
    gain = np.interp(angle, *np.transpose(TABLE))
    return np.where(angle > 80, 0, 10 ** (gain / 20))


def matrix(name, path_loss):
    """What pulses measure of each voxel, ``(pulse, freq, voxel)``."""
    points = SCENE.positions()
    legs = [np.linalg.norm(points - site[:, None], axis=2) for site in SITES]
    origin = [np.linalg.norm(SCENE.centre - site, axis=1)[:, None] for site in SITES]
    left = np.prod([amplitudes(name, site, points) for site in SITES], axis=0)
    if path_loss:
        left = left * np.prod(origin, axis=0) / np.prod(legs, axis=0)
    excess = sum(legs) - sum(origin)
    k = 2 * np.pi * FREQUENCIES / 299_792_458.0
    return np.exp(-1j * k[:, None] * excess[:, None]) * left[:, None]


def settings(name, **more):
    return AntennaSettings.model_validate({**PATTERNS[name], **more}).model_dump(mode="json")


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_pulses_are_the_exact_sum(name, dtype):
    exact = matrix(name, path_loss=True).reshape(-1, SCENE.voxels)
    operator = BackProjection(
        SCENE,
        PATHS,
        wavenumbers(FREQUENCIES),
        path_loss=True,
        pattern=AntennaPattern.of(settings(name)),
        dtype=dtype,
    )
    image, data = (
        random_complex(*shape, dtype=dtype) for shape in (SCENE.shape, operator.codomain)
    )
    assert relative_error(operator(image).numpy().ravel(), exact @ image.numpy().ravel()) < 2e-3
    found = operator.adjoint(data).numpy().ravel()
    assert relative_error(found, exact.conj().T @ data.numpy().ravel()) < 2e-3
    assert_adjoint(operator, batch=(2,))
    # Without it, it is another measurement.
    plain = BackProjection(SCENE, PATHS, wavenumbers(FREQUENCIES), path_loss=True, dtype=dtype)
    assert relative_error(plain(image).numpy().ravel(), exact @ image.numpy().ravel()) > 0.05


def test_narrow_beams_are_sampled_finely():
    for beam in (1.0, 10.0):  # degrees to half the amplitude
        angles = np.linspace(0, 2 * beam, 400)
        told = tuple((angle, -6.02 * (angle / beam) ** 2) for angle in angles)
        samples = AntennaPattern(table=told).samples()
        seen = angles[angles < 1.9 * beam]
        found = np.interp(np.sin(np.radians(seen) / 2), np.linspace(0, 1, len(samples)), samples)
        error = np.abs(found - 0.5 ** ((seen / beam) ** 2)).max()
        assert error < 5e-4 / beam


def test_a_phase_history_is_solved_with_what_its_antennas_see(tmp_path):
    """As dense least squares, though the pattern spans more than 20 dB."""
    truth = random_complex(*SCENE.shape, seed=5).numpy()
    system = matrix("cosine", path_loss=True).reshape(-1, SCENE.voxels)
    data = (system @ truth.ravel()).reshape(30, -1)
    noise = 0.02 * np.linalg.norm(data) / np.sqrt(data.size)
    data = data + noise * random_complex(*data.shape, seed=6).numpy()
    origin = PATHS.path_differences(SCENE.centre)
    absolute = data * np.exp(-1j * np.outer(origin, wavenumbers(FREQUENCIES)))
    acquisition = pulses(SCENE, FREQUENCIES, PATHS, absolute, noise_std=np.array([noise]))
    store(tmp_path / "raw.json", acquisition, "radar", antenna=settings("cosine", path_loss=True))
    calibrated_in(tmp_path, dataset="radar")
    one, _ = reconstructed_rf(tmp_path, algorithm="matched-filter")
    seen = np.abs(matrix("cosine", path_loss=False)[:, 0]) ** 2
    origin_seen = seen.reshape(30, *SCENE.shape)[:, 3, 3, 2].sum() * len(FREQUENCIES)
    expected = (system.conj().T @ data.ravel()).reshape(SCENE.shape) / origin_seen
    assert relative_error(one[0], expected) < 2e-3
    weight = 1e-3
    image, receipt = reconstructed_rf(
        tmp_path, algorithm="tikhonov", regularization=weight, iterations=300, tolerance=1e-6
    )
    assert receipt["model"] == "exact"
    normal = system.conj().T @ system + weight * origin_seen * np.eye(SCENE.voxels)
    dense = np.linalg.solve(normal, system.conj().T @ data.ravel())
    assert relative_error(image[0].ravel(), dense) < 1e-2
    # Noise counts in the data, whatever the antennas see.
    assert receipt["expected_misfit"][0] == pytest.approx(0.02, rel=0.02)
    with pytest.raises(PlanError, match="`antenna` gives path loss or a pattern, which only"):
        reconstructed_rf(tmp_path, algorithm="matched-filter", model="W+D(fc)")


def test_a_pair_is_the_born_sum_by_its_patterns(tmp_path):
    pair = planar((5, 4), (4, 3), 0.13, np.array([[0.1, 0.1, 0.0], [-0.1, -0.1, 0.02]]))
    weights = pair_model(SCENE, pair, FREQUENCIES, "W").weights
    operator = ExactPair(
        SCENE,
        pair,
        wavenumbers(FREQUENCIES),
        tolerance=1e-3,
        dtype=torch.complex64,
        device="cpu",
        pattern=AntennaPattern.of(settings("table")),
    )
    voxel = np.ravel_multi_index((5, 1, 3), SCENE.shape)
    point = torch.zeros(SCENE.shape, dtype=torch.complex128)
    point.view(-1)[voxel] = 2j
    place = SCENE.positions(np.array([voxel]))
    sent, heard = (amplitudes("table", side, place)[:, 0] for side in (pair.tx, pair.rx))
    (t1, t2), (r1, r2) = pair.grids
    both = np.einsum("ab,cd->acbd", sent.reshape(t1, t2), heard.reshape(r1, r2))
    expected = Born(SCENE, [pair], FREQUENCIES)(point)[0].numpy() / weights[:, None, None]
    expected = expected * both.reshape(t1 * r1, t2 * r2)
    found = operator(point.to(torch.complex64)).numpy().reshape(expected.shape)
    assert relative_error(found, expected) < 2e-3
    write_pairs(tmp_path, SCENE, [pair], FREQUENCIES, antenna=settings("table"))
    _, receipt = reconstructed_rf(tmp_path, algorithm="matched-filter")
    assert receipt["model"] == "exact"


def test_a_target_tells_gains_of_elements_beside_their_pattern(tmp_path):
    pair = planar((2, 3), (4, 1), 0.13, np.array([[0.1, 0.1, 0.0], [-0.1, -0.1, 0.02]]))
    place = SCENE.positions(np.array([30]))
    gains = [
        random_complex(count, seed=count).numpy() + 3 for count in (len(pair.tx), len(pair.rx))
    ]
    sides = zip((pair.tx, pair.rx), gains, strict=True)
    tx, rx = (gain * amplitudes("table", side, place)[:, 0] for side, gain in sides)
    measured = simulate(place, [1.0], pair, FREQUENCIES)
    (t1, t2), (r1, r2) = pair.grids
    both = np.einsum("ab,cd->acbd", tx.reshape(t1, t2), rx.reshape(r1, r2))
    data = [(measured * both.reshape(t1 * r1, t2 * r2))[None]]
    write_pairs(tmp_path, SCENE, [pair], FREQUENCIES, measured=data, antenna=settings("table"))
    target = {"position": place[0], "element_gains": True, "largest_delay": 1e-12}
    found = calibrated_in(tmp_path, dataset="pairs", instruments={"reference_target": target})
    for name, gain in zip(("gain_tx", "gain_rx"), gains, strict=True):
        ratio = found.array(f"pair/0/{name}") / gain
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    target["position"] = (0.0, 0.0, -5.0)
    with pytest.raises(DataError, match="elements do not see the reference target"):
        calibrated_in(tmp_path, dataset="pairs", instruments={"reference_target": target})


@pytest.mark.parametrize(
    ("antenna", "message"),
    [
        ({"pattern": TABLE, "direction": (0, 0, -1)}, "no antenna sees the scene's origin"),
        ({"power": 1, "aim": tuple(SITES[1, 4])}, "an antenna stands where it looks"),
    ],
)
def test_antennas_that_see_nothing_are_refused(tmp_path, antenna, message):
    acquisition = pulses(SCENE, FREQUENCIES, PATHS, np.ones((30, 13)))
    with pytest.raises(DataError, match=message):
        store(tmp_path / "raw.json", acquisition, "radar", antenna=antenna)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give `path_loss: true`, `power` or `pattern`"),
        ({"power": 1, "pattern": TABLE}, "one of `power` and `pattern`"),
        ({"path_loss": True, "aim": (0, 0, 1)}, "`aim` and `direction` are of"),
        ({"pattern": ((0, 0), (30, -1), (20, -3))}, "increase from 0 to 180"),
        ({"power": 1, "direction": (0, 0, 0)}, "`direction` is zero"),
    ],
)
def test_settings_that_contradict_each_other(given, message):
    with pytest.raises(ValueError, match=message):
        AntennaSettings.model_validate(given)
