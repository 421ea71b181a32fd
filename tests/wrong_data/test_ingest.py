"""Datasets that are wrong in themselves: `ingest` says what and where, and nothing of good ones.

What is measured is the exact Fourier transform of ellipses, or the Born sum of points, with noise.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.formats.content import planned_tiles, store_content
from pipeline.formats.lazy import InMemory, whole
from pipeline.kinds import part_of
from pipeline.mri.formats import simulation as mri_simulation
from pipeline.rf.formats import simulation as rf_simulation
from pipeline.storage.receipts import Receipt

ALL = slice(None)
BUDGET = Budget("scan", 600)
NEEDED = ("trajectory", "kspace", "sensitivities")
SCAN = {
    "trajectory": "golden-radial", "readouts": 21, "samples": 60, "coils": 5, "frames": 3,
    "snr_db": 25.0,
}  # fmt: skip


def settings(kind, source, **details):
    return IngestSettings.model_validate(
        {"kind": kind, "format": "simulation", "source": source, "details": details}
    )


def scan(shape=(28, 30), phantom="ellipses", **simulation):
    """Return a simulated acquisition, in memory, as its source presents it."""
    told = settings("mri", phantom, shape=shape, simulation={**SCAN, **simulation})
    with mri_simulation.open_source(told, "scan", BUDGET) as acquisition:
        arrays = {name: whole(acquisition.arrays[name]) for name in NEEDED}
    return replace(acquisition, arrays=arrays)


def ingested(acquisition, folder, kind="mri"):
    """Return what is found in an acquisition, and what is warned of."""
    arrays = {
        name: InMemory(each) if isinstance(each, np.ndarray) else each
        for name, each in acquisition.arrays.items()
    }
    acquisition = replace(acquisition, arrays=arrays)
    content = part_of(kind, "ingest").content_of(
        acquisition, settings(kind, "made up"), "scan", BUDGET
    )
    record = Receipt(folder / "ingest.json", "ingest")
    extents = planned_tiles(content, folder / "raw.json", "scan", lambda parts: True)
    store_content(content, extents, folder / "raw.json", "scan", record)
    return record.content["found"], record.content.get("warnings", [])


def times(name, where, factor):
    """Return a change of some values of an array."""

    def change(arrays):
        values = arrays[name].copy()
        values[where] *= factor
        return {**arrays, name: values}

    return change


def copied(name, axis, to, source):
    def change(arrays):
        values = np.moveaxis(arrays[name].copy(), axis, 0)
        values[to] = values[source]
        return {**arrays, name: np.moveaxis(values, 0, axis)}

    return change


def with_values(name, compute):
    return lambda arrays: {**arrays, name: compute(arrays[name])}


def spike(values):
    values = values.copy()
    values[1, 3, 8, 40] = 30 * abs(values).max()
    return values


def clipped(values):
    level = 0.3 * abs(values[:, 2]).max()
    parts = np.clip(values.view(values.real.dtype).reshape(*values.shape, 2), -level, level)
    changed = values.copy()
    changed[:, 2] = parts[:, 2] @ [1, 1j]
    return changed


def offset(values):
    """Add a constant to a coil that is twice as large as the outermost samples are."""
    values = values.copy()
    values[:, 1] += 2j * np.median(abs(values[:, 1, :, [0, -1]]))
    return values


def masked(values):
    return values * (np.random.default_rng(0).random(values.shape[2:]) < 0.4)


WRONG = {
    "half of the readouts are zero": (
        times("kspace", (ALL, ALL, slice(0, None, 2)), 0),
        r"33 of 63 readouts are zero in every coil \(frame 0, readout 0, 2, 4, 6, 7 more; frame 1",
    ),
    "one readout is zero": (
        times("kspace", (1, ALL, 7), 0), r"1 of 63 readouts .* \(frame 1, readout 7\)",
    ),
    "readouts end early": (
        times("kspace", (ALL, ALL, ALL, slice(50, None)), 0), "sample 50-59 of 60 is zero",
    ),
    "samples are zero by a mask": (with_values("kspace", masked), "6.% of the samples are exactly"),
    "a dead coil": (times("kspace", (ALL, 2), 0), "zero throughout at coil 2 of 5"),
    "a coil that dies": (
        times("kspace", (slice(1, None), 4), 0), "coil 4, 42 of 63 in frame 1-2",
    ),
    "a coil x 1000": (times("kspace", (ALL, 1), 1000), "coil 1 of 5 measures .* more"),
    "a coil / 1000": (times("kspace", (ALL, 1), 1e-3), "coil 1 of 5 measures .* less"),
    "a frame x 1000": (times("kspace", 2, 1000), "frame 2 of 3 measures .* more"),
    "a spike": (with_values("kspace", spike), "frame 1, coil 3, readout 8, sample 40: "),
    "a frame twice": (copied("kspace", 0, 2, 1), "frame 2 of 3 repeats .* 2 those of 1"),
    "a frame for all": (copied("kspace", 0, [1, 2], [0, 0]), "frame 1-2 of 3 repeats"),
    "a coil twice": (copied("kspace", 1, 4, 0), "coil 4 of 5 repeats .* 4 those of 0"),
    "clipped": (with_values("kspace", clipped), "coil 2 of 5 looks clipped"),
    "an offset": (with_values("kspace", offset), "coil 1 of 5 has a constant of about"),
    "a coil without a map": (
        times("sensitivities", 3, 0), "sensitivities are zero throughout at coil 3 of 5",
    ),
    "maps of another scale": (
        with_values("sensitivities", lambda maps: 8 * maps), "squares is .* median 1[01]",
    ),
    "maps too small": (with_values("sensitivities", lambda maps: maps / 8), "squares is 0.1"),
    "maps that were not divided": (
        with_values("sensitivities", lambda maps: maps * np.linspace(1, 9, 30)),
        "squares is 2.*median 6",
    ),
    "a trajectory in one direction": (
        times("trajectory", (..., 0), 0), "does not move along image axis 0, .* 28 voxels apart",
    ),
    "readouts at one point": (
        times("trajectory", (1, slice(3, 6)), 0),
        r"stays at one point in 3 of 63 readouts \(frame 1, readout 3-5\)",
    ),
}  # fmt: skip


RF_WRONG = {
    "a pair x 1000": ("rf6", times("y", (0, 2), 1000), "y: pair 2 of 6 measures .* more"),
    "a receiver x 1000": (
        "rf6", times("y", (0, 2, ALL, ALL, 5), 700), "y: pair 2: m2 5 of 8 measures .* more",
    ),
    "a dead transmitter": (
        "rf6", times("y", (0, 4, ALL, 3), 0), "y: paths are zero .*: pair 4, 8 of 64 in frame 0;",
    ),
    "a spike of a pair": (
        "rf6", times("y", (0, 1, 6, 2, 3), 1e4),
        r"y: spikes .*frame 0, pair 1, freq 6 \(9.875 GHz\), m1 2, m2 3: ",
    ),
    "a pair twice": ("rf6", copied("y", 1, 5, 0), "y: pair 5 of 6 repeats .* 5 those of 0"),
    "a pulse x 1000": (
        "gorham-moore", times("y", (0, 9), 1000), "y: pulse 9 of 128 measures .* more"
    ),
    "a frequency x 1000": (
        "gorham-moore", times("y", (ALL, ALL, 7), 1000), "y: freq 7 of 512 measures .* more",
    ),
    "a spike of a pulse": (
        "gorham-moore", times("y", (0, 31, 400), 1e3), "y: spikes .*frame 0, pulse 31, freq 400 ",
    ),
    "pulses that stuck": (
        "gorham-moore", copied("y", 1, [8, 9], [7, 7]),
        "y: pulse 8-9 of 128 repeats .* 8 those of 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RF_WRONG)
def test_what_is_wrong_with_rf_is_said(name, tmp_path):
    source, change, message = RF_WRONG[name]
    with rf_simulation.open_source(
        settings("rf", source), "scan", Budget("scan", 600)
    ) as acquisition:
        arrays = {path: whole(array) for path, array in acquisition.arrays.items()}
    if source == "rf6":  # as one array, whose axes changes are of
        arrays["y"] = np.stack([arrays.pop(f"pair/{pair}/y") for pair in range(6)], axis=1)
    _, (warning,) = ingested(replace(acquisition, arrays=change(arrays)), tmp_path, "rf")
    assert re.search(f"^scan: {message}", warning)


def test_pairs_that_differ_in_size_are_compared(tmp_path):
    with rf_simulation.open_source(settings("rf", "rf6"), "scan", BUDGET) as acquisition:
        arrays = {path: whole(array) for path, array in acquisition.arrays.items()}
    arrays["pair/0/y"] = arrays["pair/0/y"][..., :5]
    pairs = [replace(one, rx=one.rx[:5], rx_grid=None) if n == 0 else one
             for n, one in enumerate(acquisition.pairs)]  # fmt: skip
    assert ingested(replace(acquisition, arrays=arrays, pairs=pairs), tmp_path, "rf")[1] == []
    arrays["pair/3/y"] = arrays["pair/3/y"] * 1e3
    _, (warning,) = ingested(replace(acquisition, arrays=arrays, pairs=pairs), tmp_path, "rf")
    assert re.search("^scan: y: pair 3 of 6 measures .* more", warning)


@pytest.mark.parametrize("name", ["weights", "pair/2/A1"])
def test_rf_arrays_of_zeros_are_refused(name, tmp_path):
    with rf_simulation.open_source(settings("rf", "rf6"), "scan", BUDGET) as acquisition:
        factors = {f"pair/2/A{axis}": np.zeros((16, 8, 64)) + (axis - 1) for axis in (1, 2)}
        arrays = {**acquisition.arrays, **factors, "weights": np.zeros((6, 16)) + (name[0] == "p")}
    with pytest.raises(DataError, match=f"^scan: {name} are zero throughout; leave"):
        ingested(replace(acquisition, arrays=arrays), tmp_path, "rf")


@pytest.fixture(scope="module")
def good():
    return scan()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name, good, tmp_path):
    change, message = WRONG[name]
    _, (warning,) = ingested(replace(good, arrays=change(good.arrays)), tmp_path)
    assert re.search(f"^scan: .*{message}", warning)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (times("kspace", 1, 0), "kspace is zero throughout at frame 1; leave out"),
        (times("kspace", ALL, 1e-38), "kspace reaches .*e-3.; expected 1e-18"),
        (times("sensitivities", ALL, 0), "sensitivities are zero throughout"),
        (times("trajectory", 2, 0), "trajectory stays at one point in frame 2; correct"),
        (
            lambda arrays: {**arrays, "weights": np.ones((3, 21, 60)) * [[[1]], [[0]], [[1]]]},
            "weights are zero throughout at frame 1; leave",
        ),
    ],
)
def test_what_gives_no_image_is_refused(change, message, good, tmp_path):
    with pytest.raises(DataError, match=f"^scan: {message}"):
        ingested(replace(good, arrays=change(good.arrays)), tmp_path)


def drawn(seed):
    """Return the settings of a good dataset: of any trajectory, with few readouts, much noise."""
    random = np.random.default_rng(seed)
    trajectory = random.choice(["golden-radial", "spiral", "kooshball", "stack-of-stars"])
    flat = trajectory in ("golden-radial", "spiral")
    return {
        "trajectory": str(trajectory),
        "shape": tuple(map(int, random.integers(12, 40, 2) if flat else random.integers(8, 16, 3))),
        "phantom": str(random.choice(["shepp-logan", "ellipses"])),
        "readouts": int(random.integers(3, 30) if trajectory != "stack-of-stars" else 3),
        "samples": int(random.integers(12, 80)),
        "coils": int(random.choice([1, 2, 3, 5, 12])),
        "frames": int(random.integers(1, 3)),
        "snr_db": random.choice([None, 5.0, 10.0, 20.0, 45.0]),
        "seed": seed,
    }


@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_said_of_good_data(seed, tmp_path):
    found, warnings = ingested(scan(**drawn(seed)), tmp_path)
    assert warnings == []
    assert found["kspace"]["spikes"] == found["kspace"]["zero_readouts"] == 0
