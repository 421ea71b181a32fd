from dataclasses import replace

import numpy as np
import pytest
from rf_acquisitions import pairs_acquisition, store

from pipeline.errors import DataError
from pipeline.rf.arrays import PAIRS
from pipeline.rf.formats.acquisition import RfAcquisition, resident
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.raw import RfRawData
from pipeline.storage.publish import published_store, store_beside

FREQUENCIES = np.array([9.0, 9.3, 9.4, 10.0]) * 1e9
SCENE = Scene((5, 6), (0.1, 0.2), (1.0, 2.0, 3.0))
FRAMES = 2


def antennas(tx, rx, seed=0):
    rng = np.random.default_rng(seed)
    return Pair(rng.standard_normal((tx, 3)), rng.standard_normal((rx, 3)))


def complex_normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def paths(pulses, seed=0):
    rng = np.random.default_rng(seed)
    return AntennaPaths(
        rng.standard_normal((pulses, 3)),
        rng.standard_normal((pulses, 3)),
        rng.standard_normal(pulses),
    )


def of_pairs(measured, antennas=None, own=None, scene=SCENE, **more):
    """Return pairs as a source presents them, with arrays of each pair's ``own``."""
    placed = antennas or [None] * len(measured)
    return pairs_acquisition(
        scene, FREQUENCIES, measured, placed, own or [], more.pop("arrays", {}), **more
    )


def factors(scene, *measurements):
    """Return a Kronecker factor for each axis of a scene, of so many measurements."""
    sizes = zip(measurements, scene.shape, strict=True)
    return {f"A{axis}": complex_normal(4, *size) for axis, size in enumerate(sizes, start=1)}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "raw.json"


@pytest.mark.parametrize("sizes", [[(2, 3), (2, 3)], [(2, 3), (4, 1), (2, 5)]])
def test_pairs_come_back_one_by_one(marker, sizes):
    pairs = [antennas(*size, seed=index) for index, size in enumerate(sizes)]
    values = [complex_normal(FRAMES, 4, *size, seed=index) for index, size in enumerate(sizes)]
    raw = store(marker, of_pairs(values, pairs, coherent=False, provenance={"a": 1}))
    assert (raw.layout, raw.frames, raw.pairs, raw.pulses) == ("pairs", FRAMES, len(sizes), 0)
    assert not raw.coherent
    assert raw.scene == SCENE
    np.testing.assert_array_equal(raw.frequencies, FREQUENCIES)
    for pair, size in enumerate(sizes):
        assert raw.measurement_shape(pair) == size
        np.testing.assert_array_equal(raw.measurements(1, pair), values[pair][1])
        np.testing.assert_array_equal(raw.measurements(0, pair, slice(1, 3)), values[pair][0, 1:3])
        np.testing.assert_array_equal(raw.antennas(pair).tx, pairs[pair].tx)
        np.testing.assert_array_equal(raw.antennas(pair).rx, pairs[pair].rx)
        assert raw.antennas(pair).grids == pairs[pair].grids
        assert raw.factors(pair) is None
        assert raw.weights(pair) is None


@pytest.mark.parametrize(
    ("path", "shape", "chunks"),
    [
        ("y", (2, 2, 4, 30, 40), (1, 1, 4, 30, 40)),
        ("pair/1/y", (2, 4, 30, 41), (1, 4, 30, 41)),
        ("y", (2, 1, 4, 700, 800), (1, 1, 1, 700, 800)),
    ],
    ids=["shared", "ragged", "above 8 MiB"],
)
def test_a_chunk_holds_one_frame_of_one_pair(path, shape, chunks):
    assert PAIRS[path].chunks(shape) == chunks


def test_optional_arrays(marker):
    sizes = [(2, 3), (4, 1)]
    values = {
        "weights": complex_normal(2, 4).astype(np.complex128),
        "noise_std": np.array([1, 2], np.float32),
        "targets": np.arange(6.0).reshape(2, 3),
        "reference": complex_normal(1, 1, 6, 5),
    }
    given = factors(SCENE, 4, 1)
    measured = [complex_normal(FRAMES, 4, *size) for size in sizes]
    pairs = [antennas(*size) for size in sizes]
    raw = store(marker, of_pairs(measured, pairs, [{}, given], arrays=values))
    assert set(values) <= raw.arrays
    np.testing.assert_array_equal(raw.weights(1, slice(1, 3)), values["weights"][1, 1:3])
    assert raw.weights(1).dtype == np.complex128
    np.testing.assert_array_equal(raw.noise_std(), values["noise_std"])
    np.testing.assert_array_equal(raw.targets(), values["targets"])
    np.testing.assert_array_equal(raw.reference(), values["reference"].repeat(2, axis=0))
    for read, written in zip(raw.factors(1, slice(1, 4)), given.values(), strict=True):
        np.testing.assert_array_equal(read, written[1:4])
        assert read.dtype == np.complex64
    assert raw.factors(0) is None


def test_three_axes_and_factors_alone(marker):
    scene = Scene((3, 4, 5), (0.1, 0.2, 0.3))
    given = factors(scene, 2, 3, 1)  # two axes measure a scene of three through the band alone
    raw = store(marker, of_pairs([complex_normal(1, 4, 2, 3)], own=[given], scene=scene))
    assert raw.antennas(0) is None
    assert [factor.shape for factor in raw.factors(0)] == [(4, 2, 3), (4, 3, 4), (4, 1, 5)]


@pytest.mark.parametrize(
    ("scene", "index", "position"),
    [(SCENE, [0, 3, 2, 1], [3, 2, 1, 1]), (SCENE, [0, 5, 3, 1], [3, 2.4, 1.1, 1]),
     (Scene((3, 4, 5), (0.1, 0.2, 0.3), (1, 2, 3)), [2, 2, 2, 1], [3, 2, 1.1, 1])],
)  # fmt: skip
def test_affine_places_voxels(marker, scene, index, position):
    raw = store(marker, of_pairs([complex_normal(1, 4, 2, 3)], [antennas(2, 3)], scene=scene))
    np.testing.assert_allclose(raw.affine @ index, position)


def of_pulses(values, placed, **arrays):
    parts = {
        name: np.stack([getattr(each, name) for each in placed])
        for name in ("transmitter", "receiver", "reference_path")
    }
    parts |= {"frequencies": FREQUENCIES, "y": values}
    return RfAcquisition(SCENE, resident(parts | arrays))


@pytest.mark.parametrize("own", [True, False], ids=["own paths", "shared paths"])
def test_phase_history(marker, own):
    placed = [paths(7, seed) for seed in range(2)]
    values = complex_normal(FRAMES, 7, 4)
    raw = store(marker, of_pulses(values, placed if own else placed[:1]))
    assert (raw.layout, raw.frames, raw.pairs, raw.pulses) == ("phase-history", FRAMES, 0, 7)
    np.testing.assert_array_equal(
        raw.pulse_measurements(1, slice(2, 5), slice(1, 3)), values[1, 2:5, 1:3]
    )
    read = raw.paths(1, slice(2, 5))
    for name in ("transmitter", "receiver", "reference_path"):
        expected = getattr(placed[1 if own else 0], name)[2:5]
        np.testing.assert_array_equal(getattr(read, name), expected)


def with_value(values, index, value):
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_value(complex_normal(1, 4, 2, 3), (0, 2, 1, 1), np.nan),
         r"y has NaN at frame 0, pair 1, freq 2 \(9.4 GHz\), m1 1, m2 1, and 1 in"),
        (with_value(complex_normal(1, 4, 2, 3), (0, 3), 0),
         r"zero throughout at frame 0, pair 1, freq 3 \(10 GHz\); leave out"),
        (complex_normal(1, 5, 2, 3), r"pair.1.* of shape \(1, 5, 2, 3\)"),
        (complex_normal(1, 4, 6), r"pair/1/y has 3 axes, shape \(1, 4, 6\)"),
    ],
)  # fmt: skip
def test_bad_measurements_of_a_pair(marker, values, message):
    measured = [complex_normal(1, 4, 2, 3), values]
    given = [factors(SCENE, 2, 3)] * 2
    with pytest.raises(DataError, match=f"scan: .*{message}"):
        store(marker, of_pairs(measured, own=given))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_value(complex_normal(1, 7, 4), (0, 3, 2), np.inf),
         r"infinity .* at frame 0, pulse 3, freq 2 \(9.4 GHz\)"),
        (with_value(complex_normal(1, 7, 4), (0, slice(None), 0), 0), r"frame 0, freq 0 \(9 GHz\)"),
        (with_value(complex_normal(1, 7, 4), (0, 3), 0), "throughout at frame 0, pulse 3"),
        (complex_normal(1, 8, 4), "has 7 along `pulse`, but y, of shape .*, has 8"),
        (complex_normal(1, 7, 3), "frequencies.* has 4 along `freq`, but y, .* has 3"),
        (complex_normal(3, 7, 4), "has 2 along `frame`, but y, .* has 3"),
    ],
)  # fmt: skip
def test_bad_pulses(marker, values, message):
    frames = 2 if len(values) > 1 else 1
    with pytest.raises(DataError, match=message):
        store(marker, of_pulses(values, [paths(7, seed) for seed in range(frames)]))


def test_positions_that_contradict_measurements(marker):
    placed = [antennas(2, 3), antennas(2, 3)]
    with pytest.raises(DataError, match=r"scan: pair 1: .*\(2, 4\).*2 transmitters and 3 receiv"):
        store(marker, of_pairs([complex_normal(1, 4, 2, 3), complex_normal(1, 4, 2, 4)], placed))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("weights", np.ones((2, 4)), r"weights, of shape \(2, 4\).* has 2 along `pair`"),
        ("weights", np.ones((1, 3)), r"weights, .* has 3 along `freq`"),
        ("targets", np.ones((2, 2)), "has 2 along `coordinate`, but positions have 3"),
        ("noise_std", np.array([np.nan]), "noise_std has NaN at pair 0"),
        ("noise_std", np.array([1j]), "noise_std holds complex numbers"),
        ("reference", np.ones((1, 1, 7, 5)), r"has 7 along `y`, but the scene has the shape"),
        ("A1", np.ones((4, 3, 5)), r"pair/0/A1.* has 3 along `m1`"),
        ("A1", np.ones((4, 2, 6)), r"pair/0/A1.* has 6 along `n1`"),
        ("gain_tx", np.ones(3), r"pair 0: gain_tx of shape \(3,\) for 2 elements"),
    ],
)
def test_optional_arrays_that_do_not_fit(marker, name, values, message):
    own = [{name: values}] if f"pair/<p>/{name}" in PAIRS.fields else [{}]
    shared = {} if own[0] else {name: values}
    measured = [complex_normal(1, 4, 2, 3)]
    with pytest.raises(DataError, match=f"scan: .*{message}"):
        store(marker, of_pairs(measured, [antennas(2, 3)], own, arrays=shared))


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ([9.0, 9.3], "scan: .*looks like GHz"),
        ([2e9, 2e9], "scan: .*must increase"),
        ([2e9, np.nan], "scan: .*finite"),
        ([2e18], "scan: .*in Hz already"),
        ([], "scan: .*one axis"),
    ],
)
def test_frequencies_that_cannot_be(marker, frequencies, message):
    acquisition = of_pairs([complex_normal(1, 4, 2, 3)], [antennas(2, 3)])
    changed = resident({"frequencies": np.array(frequencies)})
    with pytest.raises(DataError, match=message):
        store(marker, replace(acquisition, arrays=acquisition.arrays | changed))


def test_missing_chunks_and_damage_are_found(marker):
    store(marker, of_pairs([complex_normal(1, 4, 2, 3)] * 2, [antennas(2, 3)] * 2))
    chunks = store_beside(marker) / "y" / "c" / "0"
    raw = RfRawData.open(marker)
    (chunks / "0" / "0" / "0" / "0").unlink()
    with pytest.raises(DataError, match=r"`y` \(0, 0, .*missing chunks; make it again"):
        raw.measurements(0, 0)
    chunk = chunks / "1" / "0" / "0" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match="not readable"):
        raw.measurements(0, 1)


def test_not_an_rf_acquisition(marker):
    with published_store(marker) as group:
        group.attrs["kind"] = "mri"
    with pytest.raises(DataError, match="kind = 'mri'; expected 'rf'"):
        RfRawData.open(marker)
    with published_store(marker) as group:
        group.attrs["kind"] = "rf"
    with pytest.raises(DataError, match="not a complete RF acquisition"):
        RfRawData.open(marker)
