"""What is told of a measurement that is wrong in one place, and nothing of a good one."""

import itertools
import re

import numpy as np
import pytest
from scipy.special import j1

from pipeline.errors import DataError
from pipeline.formats.faults import Measured
from pipeline.formats.measurement import Measurement
from pipeline.storage.receipts import Receipt

SHAPE = (3, 4, 20, 30)
KSPACE = {
    "axes": ("frame", "coil", "readout", "sample"),
    "line": "sample",
    "lines": "readouts",
    "alike": ("readout",),
    "channel": "coil",
    "apart": ("frame", "coil"),
    "compared": (("coil",), ("frame",)),
    "needed": (("frame",),),
    "common": ("frame", "readout"),
}
PAIRS = {
    "axes": ("frame", "pair", "freq", "m1", "m2"),
    "line": "freq",
    "lines": "paths",
    "alike": ("m1", "m2"),
    "channel": "pair",
    "apart": ("frame", "pair"),
    "compared": (("pair",), ("pair", "m1"), ("pair", "m2")),
    "needed": (("frame", "pair", "freq"),),
    "labels": {"freq": lambda at: f"{at + 1} GHz"},
}


def tiles(shape, edges):
    """Cut an array into tiles of at most those sizes."""
    cuts = [
        [slice(start, min(start + edge, size)) for start in range(0, size, edge)]
        for size, edge in zip(shape, edges, strict=True)
    ]
    return itertools.product(*cuts)


def looked_at(values, folder, edges=None, **roles):
    """Return what was found and said of an array."""
    check = Measured(Measurement(who="scan: y", shape=values.shape, **(roles or KSPACE)))
    record = Receipt(folder / "receipt.json", "ingest")
    values = values.astype(np.complex64)
    for tile in tiles(values.shape, edges or values.shape):
        assert check.passed(values[tile], tile) is not None
    found = check.finish(record)
    return found, record.content.get("warnings", [])


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)).view(complex)[..., 0]


def changed(where, factor=0.0, values=None):
    values = noise() if values is None else values
    values[where] *= factor
    return values


def equal(later, earlier):
    values = noise()
    values[later] = values[earlier]
    return values


def clipped(values):
    values = values / values[:, 2].real.max()
    level = 0.6
    values[:, 2] = np.clip(values[:, 2].real, -level, level) + 1j * values[:, 2].imag
    values[:, 2].imag[:] = np.clip(values[:, 2].imag, -level, level)
    return values


ALL = slice(None)
FAULTS = {
    "zero readouts": (
        changed((1, ALL, [4, 5, 6, 9])),
        r"4 of 60 readouts are zero in every coil \(frame 1, readout 4-6, 9\)",
    ),
    "zero samples": (
        changed((ALL, ALL, ALL, slice(27, None))),
        "sample 27-29 of 30 is zero in all readouts",
    ),
    "zeros that fill in": (
        noise() * (np.random.default_rng(1).random(SHAPE[2:]) < 0.3),
        r"(69|70|71)% of the samples are exactly 0",
    ),
    "a zero coil": (changed((ALL, 2)), "zero throughout at coil 2 of 4"),
    "readouts of a coil": (
        changed((slice(1, None), 2, slice(3, 8))),
        "readouts are zero that are not in every coil: coil 2, 10 of 60 in frame 1-2",
    ),
    "a coil x 1000": (changed((ALL, 1), 1000), r"coil 1 of 4 measures [\d.]+ times more than any"),
    "a weak coil": (changed((ALL, 3), 1e-3), r"coil 3 of 4 measures [\d.]+ times less than any"),
    "two coils x 1000": (changed((ALL, [0, 3]), 1e3), "coil 0, 3 of 4 measures .* more"),
    "a frame x 1000": (changed(2, 1000), "frame 2 of 3 measures .* more"),
    "a spike": (
        changed((1, 2, 3, 4), 1e3 / abs(noise()[1, 2, 3, 4])),
        "spikes more than 20 times .*frame 1, coil 2, readout 3, sample 4: 1e.03",
    ),
    "a spike at the end": (
        changed((1, 2, 3, 29), 1e3 / abs(noise()[1, 2, 3, 29])),
        "spikes more than 20 times .*frame 1, coil 2, readout 3, sample 29: 1e.03",
    ),
    "a frame repeated": (equal(2, 0), "frame 2 of 3 repeats .*2 those of 0"),
    "a coil repeated": (equal((ALL, 3), (ALL, 1)), "coil 3 of 4 repeats .*3 those of 1"),
    "clipping": (clipped(noise()), "coil 2 of 4 looks clipped: .* reach 0.6, and none more"),
}  # fmt: skip


@pytest.mark.parametrize("edges", [(1, 4, 20, 30), (3, 1, 7, 30), (2, 3, 6, 11)], ids=str)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_told(tmp_path, fault, edges):
    """However the array is cut; of lines that are cut, those of one coil are not told."""
    values, message = FAULTS[fault]
    if fault in ("readouts of a coil", "zeros that fill in") and edges[3] < values.shape[3]:
        pytest.skip("not told of lines that are cut")
    _, warnings = looked_at(values, tmp_path, edges)
    assert len(warnings) == 1
    assert re.search(f"^scan: y.*{message}", warnings[0])


def test_numbers_are_recorded(tmp_path):
    values = noise()
    values[1, :, 4:9] = 0
    values[:, 1] *= 300
    found, _ = looked_at(values, tmp_path)
    magnitude = np.sort(np.abs(values), axis=-1)  # the largest of each readout does not count
    levels = magnitude[..., :-1].sum(axis=(0, 2, 3)) / values[:, 0].size
    assert (found["zero_readouts"], found["zero_coils"], found["spikes"]) == (5, [], 0)
    relative = [levels.min() / np.median(levels), levels.max() / np.median(levels)]
    np.testing.assert_allclose(found["levels_of_coils"], relative, rtol=1e-6)
    np.testing.assert_allclose(found["level"], levels.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (0 * noise(), "zero throughout; nothing"),
        (changed(1), "zero throughout at frame 1; leave out"),
        (noise() * 1e-25, r"reaches \d.*e-25; expected 1e-18 to 1e.15"),
        (noise() * 1e19, r"reaches \d.*e.19; expected 1e-18 to 1e.15"),
        (noise() * 1e-42, r"reaches \d.*e-42; expected"),
        (noise() * 1e31, r"reaches \d.*e.31; expected"),
    ],
)
def test_nothing_is_refused(tmp_path, values, message):
    with pytest.raises(DataError, match=f"^scan: y.*{message}"):
        looked_at(values, tmp_path)


@pytest.mark.parametrize("edges", [(1, 3, 9, 8, 5), (1, 1, 4, 8, 5)], ids=str)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (((0, 1), 1e3), "pair 1 of 3 measures .* more"),
        (((0, 1, ALL, 6), 300), "y: pair 1: m1 6 of 8 measures .* more"),
        (((0, 1, ALL, ALL, 2), 1e-4), "y: pair 1: m2 2 of 5 measures .* less"),
        (((0, 2, ALL, 3, 3), 0), "paths are zero .* pair 2, 1 of 40 in frame 0"),
        (((0, 2, 4, 3, 3), 1e4), r"spikes.*pair 2, freq 4 \(5 GHz\), m1 3, m2 3"),
    ],
)
def test_pairs(tmp_path, change, message, edges):
    if edges[2] < 9 and "paths" in message:
        pytest.skip("not told of lines that are cut")
    values = changed(*change, noise((1, 3, 9, 8, 5), seed=3))
    _, warnings = looked_at(values, tmp_path, edges, **PAIRS)
    assert len(warnings) == 1
    assert re.search(f"^scan: {message}|^scan: y.*{message}", warnings[0])


def test_a_zero_frequency_of_a_pair_is_refused(tmp_path):
    values = changed((0, 1, 4), 0, noise((1, 3, 9, 8, 5)))
    with pytest.raises(DataError, match=r"zero throughout at frame 0, pair 1, freq 4 \(5 GHz\);"):
        looked_at(values, tmp_path, **PAIRS)


def disc(k, radius):
    """Return the transform of a disc of a radius [voxel] at the centre."""
    x = np.maximum(np.abs(k) * radius, 1e-9)
    return 2 * j1(x) / x


def centred(samples, size=48):
    """Return the k-space of spokes through a disc as wide as the field of view, without noise."""
    k = np.linspace(-np.pi, np.pi, samples, endpoint=False)
    weights = np.array([1, 0.5j, -0.2, 0.1])[:, None, None]
    return (disc(k, size / 2) * weights * np.ones((20, 1)))[None].repeat(3, axis=0) * (
        1 + np.arange(3)[:, None, None, None]
    )


@pytest.mark.parametrize("samples", [48, 60, 96, 192])
def test_a_wide_object_has_no_spikes(tmp_path, samples):
    """Sampled as coarsely as its width allows, k-space is one large sample among small ones."""
    found, warnings = looked_at(centred(samples), tmp_path)
    assert found["spikes"] == 0
    assert warnings == []


def test_channels_of_a_compressed_array_belong_together(tmp_path):
    values = noise((2, 12, 20, 30)) * (0.35 ** np.arange(12))[:, None, None]
    assert looked_at(values, tmp_path)[1] == []


def test_one_large_value_without_noise_is_no_clipping(tmp_path):
    """Every spoke has the middle of k-space, and there the same value to the last bit."""
    values = noise()
    values[:, :, :, 15] = 9 + 2j
    assert looked_at(values, tmp_path)[0]["clipped_coils"] == []


def test_pulses_that_a_symmetric_scene_repeats(tmp_path):
    roles = {
        **PAIRS, "axes": ("frame", "pulse", "freq"), "lines": "pulses", "alike": ("pulse",),
        "channel": "frame", "apart": ("frame", "pulse"), "compared": (("pulse",),),
        "needed": (("frame", "pulse"),), "may_repeat": ("pulse",),
    }  # fmt: skip
    values = noise((1, 40, 16))
    assert looked_at(values, tmp_path, **roles)[1] == []
    found, warnings = looked_at(np.concatenate([values, values[:, ::-1]], 1), tmp_path, **roles)
    assert (found["repeated_pulses"], warnings) == (40, [])
    values[:, 7] = values[:, 6]
    found, (warning,) = looked_at(values, tmp_path, **roles)
    assert found["repeated_pulses"] == 1
    assert "pulse 7 of 40 repeats" in warning


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_said_of_noise(tmp_path, seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers([1, 1, 1, 1], [4, 9, 40, 70]))
    scale = 10.0 ** generator.uniform(-17, 14)
    assert looked_at(scale * noise(shape, seed), tmp_path)[1] == []
