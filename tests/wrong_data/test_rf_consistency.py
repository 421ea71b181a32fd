"""Radar data that do not go with their positions are told, and named; of good ones nothing is said.

What is measured is the exact Born sum of points, with noise.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from calibrating import calibrated_in
from rf_acquisitions import pairs_acquisition, pulses, store
from rf_scenes import mills_cross

from pipeline.rf.calibration.consistency import drawn, judged
from pipeline.rf.formats import simulation
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.storage.publish import read_json

JOB = SimpleNamespace(dataset="scan", device="cpu", threads=1)
NOTHING = SimpleNamespace(arrays=set(), array=lambda path: None)
BAND = np.linspace(8e9, 12e9, 24)


def points(scene, pairs, **settings):
    draw = np.random.default_rng(1)
    voxels = draw.choice(scene.voxels, 12, replace=False)
    amplitudes = np.exp(2j * np.pi * draw.random(12))
    where = scene.positions(voxels)
    return simulation.PointScene(scene, tuple(pairs), BAND, where, amplitudes, 20.0, **settings)


ARRAYS = [
    mills_cross((12, 12), 1.5, 6.0, (0.02, 0.05)),
    mills_cross((12, 12), 1.4, 6.5, (-0.2, 0.1)),
]
VOLUME = points(Scene((24, 20, 16), (0.05, 0.05, 0.06), (0.1, 0.0, 0.0)), ARRAYS)
NEAR = points(
    Scene((48, 40), (0.02, 0.02), (0.1, 0.05, 0.0)),
    [mills_cross((12, 12), 1.0, 2.0, (0.02, 0.05)), mills_cross((12, 10), 0.9, 2.5, (-0.2, 0.1))],
)  # fmt: skip


def flight():
    """Return a low flight past a scene, whose phases are counted from a path over its corner."""
    along = np.linspace(-4, 4, 160)
    antenna = np.stack([along, np.full(160, -9.0) + 0.01 * along**2, np.full(160, 5.0)], axis=1)
    scene = Scene((60, 52), (0.05, 0.05), (0.2, 0.1, 0.0))
    pair = Pair(antenna, antenna, paired=True)
    found = points(scene, [pair])
    way = 2 * np.linalg.norm(antenna - [1.0, 1.0, 0], axis=1)
    k = 2 * np.pi * BAND / scene.speed
    y = found.measurement(0)[..., 0].T * np.exp(1j * k * way[:, None])
    return scene, AntennaPaths(antenna, antenna, way), y


def scaled(by):
    return lambda pair: replace(pair, tx=pair.tx * by, rx=pair.rx * by)


def mirrored(name, axis):
    signs = np.ones(3)
    signs[axis] = -1
    return lambda pair: replace(pair, **{name: getattr(pair, name) * signs})


def as_it_is(value):
    return value


OF_PAIRS = {
    "conjugated": (as_it_is, np.conj),
    "frequencies backwards": (as_it_is, lambda y: y[::-1]),
    "tx and rx exchanged": (lambda pair: replace(pair, tx=pair.rx, rx=pair.tx), as_it_is),
    "positions in millimetres": (scaled(1e3), as_it_is),
    "positions in centimetres": (scaled(1e2), as_it_is),
    "sign of x of transmitters": (mirrored("tx", 0), as_it_is),
    "sign of y of receivers": (mirrored("rx", 1), as_it_is),
    "sign of z of transmitters": (mirrored("tx", 2), as_it_is),
}
OF_PULSES = {
    "conjugated": (as_it_is, np.conj),
    "frequencies backwards": (as_it_is, lambda y: y[:, ::-1]),
    "pulses backwards": (as_it_is, lambda y: y[::-1]),
    "positions in millimetres": (lambda paths: AntennaPaths(
        *(1e3 * getattr(paths, n) for n in ("transmitter", "receiver", "reference_path"))
    ), as_it_is),
    "phases: reference of one way": (
        lambda paths: replace(paths, reference_path=paths.reference_path / 2), as_it_is,
    ),
    "phases: reference of the other sign": (
        lambda paths: replace(paths, reference_path=-paths.reference_path), as_it_is,
    ),
}  # fmt: skip


def told_of_pairs(folder, scene, change, measured_otherwise):
    measured = [measured_otherwise(scene.measurement(n))[None] for n in range(len(scene.pairs))]
    pairs = [change(pair) for pair in scene.pairs]
    raw = store(folder / "raw.json", pairs_acquisition(scene.scene, BAND, measured, pairs))
    return judged(drawn(raw, NOTHING), JOB)


def told_of_pulses(folder, change, measured_otherwise):
    scene, paths, y = flight()
    acquisition = pulses(scene, BAND, change(paths), np.ascontiguousarray(measured_otherwise(y)))
    return judged(drawn(store(folder / "raw.json", acquisition), NOTHING), JOB)


@pytest.mark.parametrize("name", OF_PAIRS)
def test_what_is_wrong_with_pairs_is_named(tmp_path, name):
    found, warning = told_of_pairs(tmp_path, VOLUME, *OF_PAIRS[name])
    assert name in found["mistakes"]
    assert warning.startswith("scan: measurements and positions do not go together: phases add up")
    assert "\n" not in warning


@pytest.mark.parametrize("name", OF_PULSES)
def test_what_is_wrong_with_pulses_is_named(tmp_path, name):
    found, warning = told_of_pulses(tmp_path, *OF_PULSES[name])
    assert name in found["mistakes"]
    assert "it looks as if" in warning


@pytest.mark.parametrize("scene", [VOLUME, NEAR, simulation.rf6(3)], ids=["volume", "near", "rf6"])
def test_nothing_is_said_of_good_pairs(tmp_path, scene):
    raw = store(tmp_path / "raw.json", scene.acquisition("scan"))
    found, warning = judged(drawn(raw, NOTHING), JOB)
    assert warning is None
    assert found["coherence"] > 10


def test_nothing_is_said_of_good_pulses_or_of_noise(tmp_path):
    found, warning = told_of_pulses(tmp_path, as_it_is, as_it_is)
    assert (warning, found["coherence"] > 10) == (None, True)
    (tmp_path / "noise").mkdir()
    draw = np.random.default_rng(5)
    found, warning = told_of_pulses(
        tmp_path / "noise", as_it_is, lambda y: draw.standard_normal((*y.shape, 2)) @ [1, 1j]
    )
    assert warning is None


def test_calibrate_warns(tmp_path):
    measured = [VOLUME.measurement(n)[None].conj() for n in (0, 1)]
    store(tmp_path / "raw.json", pairs_acquisition(VOLUME.scene, BAND, measured, ARRAYS))
    calibrated_in(tmp_path)
    receipt = read_json(tmp_path / "calibrate.json")
    (warning,) = receipt["warnings"]
    assert "set sources.scan.arrays.y.conjugate to true" in warning
    assert receipt["consistency"]["mistakes"] == ["conjugated"]
    calibrated_in(tmp_path, consistency=False)
    assert "warnings" not in read_json(tmp_path / "calibrate.json")
