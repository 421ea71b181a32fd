from functools import partial

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.raw import PAIR_AXES, RfRawData
from pipeline.rf.writer import RfRawWriter
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


def writer(group, scene=SCENE, frames=FRAMES, **more):
    return RfRawWriter(
        group, dataset="scan", scene=scene, frequencies=FREQUENCIES, frames=frames, **more
    )


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "raw.json"


@pytest.mark.parametrize("sizes", [[(2, 3), (2, 3)], [(2, 3), (4, 1), (2, 5)]])
def test_pairs_come_back_one_by_one(marker, sizes):
    pairs = [antennas(*size, seed=index) for index, size in enumerate(sizes)]
    values = [complex_normal(FRAMES, 4, *size, seed=index) for index, size in enumerate(sizes)]
    with published_store(marker) as group:
        store = writer(group, coherent=False, source="test", provenance={"a": 1})
        store.create_pairs(sizes, pairs)
        for frame in range(FRAMES):
            for pair, measured in enumerate(values):
                store.write_measurements(frame, pair, measured[frame, 2:], first_frequency=2)
                store.write_measurements(frame, pair, measured[frame, :2])
    raw = RfRawData.open(marker)
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
    ("sizes", "where", "chunks"),
    [
        ([(30, 40), (30, 40)], "y", (1, 1, 4, 30, 40)),
        ([(30, 40), (30, 41)], "pair/1/y", (1, 4, 30, 41)),
        ([(700, 800)], "y", (1, 1, 1, 700, 800)),
    ],
    ids=["shared", "ragged", "above 8 MiB"],
)
def test_a_chunk_holds_one_frame_of_one_pair(marker, sizes, where, chunks):
    with published_store(marker) as group:
        writer(group).create_pairs(sizes)
        assert group[where].chunks == chunks


def test_optional_arrays(marker):
    sizes = [(2, 3), (4, 1)]
    values = {
        "weights": complex_normal(2, 4).astype(np.complex128),
        "noise_std": np.array([1, 2], np.float32),
        "targets": np.arange(6.0).reshape(2, 3),
        "reference": complex_normal(1, 1, 5, 6),
    }
    factors = [complex_normal(4, 4, 5), complex_normal(4, 1, 6)]
    with published_store(marker) as group:
        store = writer(group)
        store.create_pairs(sizes, [antennas(*size) for size in sizes])
        for name, array in values.items():
            store.write_array(name, array)
        for axis in (1, 2):
            store.write_pair_array(1, f"A{axis}", factors[axis - 1])
    raw = RfRawData.open(marker)
    assert set(values) <= raw.arrays
    np.testing.assert_array_equal(raw.weights(1, slice(1, 3)), values["weights"][1, 1:3])
    assert raw.weights(1).dtype == np.complex128
    np.testing.assert_array_equal(raw.noise_std(), values["noise_std"])
    np.testing.assert_array_equal(raw.targets(), values["targets"])
    np.testing.assert_array_equal(raw.reference(), values["reference"].repeat(2, axis=0))
    for read, written in zip(raw.factors(1, slice(1, 4)), factors, strict=True):
        np.testing.assert_array_equal(read, written[1:4])
        assert read.dtype == np.complex64
    assert raw.factors(0) is None


def test_three_axes_and_factors_alone(marker):
    scene = Scene((3, 4, 5), (0.1, 0.2, 0.3))
    with published_store(marker) as group:
        store = writer(group, scene=scene, frames=1)
        store.create_pairs([(2, 3)])
        store.write_measurements(0, 0, complex_normal(4, 2, 3))
        for axis, shape in enumerate([(4, 2, 3), (4, 3, 4), (4, 1, 5)]):
            store.write_pair_array(0, f"A{axis + 1}", complex_normal(*shape))
    raw = RfRawData.open(marker)
    assert raw.antennas(0) is None
    assert [factor.shape for factor in raw.factors(0)] == [(4, 2, 3), (4, 3, 4), (4, 1, 5)]


@pytest.mark.parametrize(
    ("scene", "index", "position"),
    [(SCENE, [0, 2, 3, 1], [3, 1, 2, 1]), (SCENE, [0, 3, 5, 1], [3, 1.1, 2.4, 1]),
     (Scene((3, 4, 5), (0.1, 0.2, 0.3), (1, 2, 3)), [2, 2, 2, 1], [1.1, 2, 3, 1])],
)  # fmt: skip
def test_affine_places_voxels(marker, scene, index, position):
    with published_store(marker) as group:
        writer(group, scene=scene).create_pairs([(2, 3)])
    np.testing.assert_allclose(RfRawData.open(marker).affine @ index, position)


@pytest.mark.parametrize("own", [True, False], ids=["own paths", "shared paths"])
def test_phase_history(marker, own):
    placed = [paths(7, seed) for seed in range(2)]
    values = complex_normal(FRAMES, 7, 4)
    with published_store(marker) as group:
        store = writer(group)
        store.create_phase_history(placed if own else placed[0])
        for frame in range(FRAMES):
            store.write_pulses(frame, values[frame, 3:], first_pulse=3)
            store.write_pulses(frame, values[frame, :3])
    raw = RfRawData.open(marker)
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
    ("values", "first", "message"),
    [
        (with_value(complex_normal(4, 2, 3), (2, 1, 1), np.nan), 0,
         r"scan: pair 1, frame 0 at 9.4 GHz \(index 2\): 1 of 6 values are NaN"),
        (with_value(complex_normal(2, 2, 3), 1, 0), 2, r"pair 1.* at 10 GHz .*all 6 values are"),
        (complex_normal(4, 3, 2), 0, r"shape \(4, 3, 2\).*expected \(2, 3\) at 4 frequencies"),
        (complex_normal(4, 2, 3), 1, "from frequency 1 on"),
    ],
)  # fmt: skip
def test_bad_measurements_of_a_pair(marker, values, first, message):
    def write():
        with published_store(marker) as group:
            store = writer(group)
            store.create_pairs([(2, 3), (2, 3)])
            store.write_measurements(0, 1, values, first_frequency=first)

    with pytest.raises(DataError, match=message):
        write()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_value(complex_normal(5, 4), (1, 2), np.inf), r"pulses 2 to 6.* at 9.4 GHz"),
        (with_value(complex_normal(5, 4), (slice(None), 0), 0), "at 9 GHz.*all 5 values are zero"),
        (with_value(complex_normal(5, 4), 1, 0), "pulse 3 is zero at all frequencies"),
        (complex_normal(6, 4), "up to 7 pulses at 4 frequencies"),
        (complex_normal(5, 3), "up to 7 pulses at 4 frequencies"),
    ],
)
def test_bad_pulses(marker, values, message):
    with published_store(marker) as group:
        store = writer(group)
        store.create_phase_history(paths(7))
        with pytest.raises(DataError, match=message):
            store.write_pulses(0, values, first_pulse=2)


def test_shapes_that_contradict_positions(marker):
    def create(*arguments):
        with published_store(marker) as group:
            writer(group).create_pairs(*arguments)

    with pytest.raises(DataError, match=r"scan: pair 1: .*\(2, 4\).*2 transmitters and 3 receiv"):
        create([(2, 3), (2, 4)], [antennas(2, 3), antennas(2, 3)])
    with pytest.raises(DataError, match="measurements of 2 pairs, positions of 1"):
        create([(2, 3), (2, 3)], [antennas(2, 3)])
    with pytest.raises(DataError, match=r"pair 0 measures \(6,\)"):
        create([(6,)])
    with pytest.raises(DataError, match="positions of 3 frames"), published_store(marker) as group:
        writer(group).create_phase_history([paths(2)] * 3)
    with pytest.raises(DataError, match=r"\[2, 3\] pulses"), published_store(marker) as group:
        writer(group).create_phase_history([paths(2), paths(3)])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("weights", np.ones((2, 3)), r"scan: `weights` has the shape \(2, 3\); expected \(1, 4\)"),
        ("targets", np.ones((2, 2)), r"expected \(None, 3\) \(target, coordinate\)"),
        ("noise_std", np.array([np.nan]), r"`noise_std` is nan at \(0,\)"),
        ("A1", np.ones((4, 3, 5)), r"scan: pair 0: `A1` .*expected \(4, 2, 5\)"),
    ],
)
def test_optional_arrays_that_do_not_fit(marker, name, values, message):
    with published_store(marker) as group:
        store = writer(group)
        store.create_pairs([(2, 3)], [antennas(2, 3)])
        in_pair = name in PAIR_AXES
        write = partial(store.write_pair_array, 0) if in_pair else store.write_array
        with pytest.raises(DataError, match=message):
            write(name, values)


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
    with pytest.raises(DataError, match=message), published_store(marker) as group:
        RfRawWriter(group, dataset="scan", scene=SCENE, frequencies=frequencies)


def test_missing_chunks_and_damage_are_found(marker):
    with published_store(marker) as group:
        store = writer(group)
        store.create_pairs([(2, 3), (2, 3)])
        store.write_measurements(0, 1, complex_normal(4, 2, 3))
    with pytest.raises(DataError, match=r"`y` \(0, 0, .*missing chunks; make it again"):
        RfRawData.open(marker).measurements(0, 0)
    chunk = store_beside(marker) / "y" / "c" / "0" / "1" / "0" / "0" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DataError, match="not readable"):
        RfRawData.open(marker).measurements(0, 1)


def test_not_an_rf_acquisition(marker):
    with published_store(marker) as group:
        group.attrs["kind"] = "mri"
    with pytest.raises(DataError, match="kind = 'mri'; expected 'rf'"):
        RfRawData.open(marker)
    with published_store(marker) as group:
        group.attrs["kind"] = "rf"
    with pytest.raises(DataError, match="not a complete RF acquisition"):
        RfRawData.open(marker)
