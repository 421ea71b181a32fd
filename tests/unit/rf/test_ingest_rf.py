"""RF sources of any layout, and what the instruments of pairs add, from exact Born sums."""

import re

import h5py
import numpy as np
import pytest
import zarr
from scipy.io import savemat

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import simulate
from pipeline.rf.raw import RfRawData
from pipeline.stages.ingest import ingest
from pipeline.storage.publish import read_json

SCENE = Scene((7, 6), (0.2, 0.3), (0.1, 0.2, 0.0))
FREQUENCIES = np.linspace(9.6e9, 10.4e9, 9)
TARGET = np.array([0.5, -0.1, 0.0])
POINTS = np.array([TARGET, [0.1, 0.5, 0.0], [-0.3, 0.2, 0.0]])
AMPLITUDES = np.array([1.0, 0.02j, -0.01 + 0.01j])


def pair(index, tx_grid=(4, 1), rx_grid=(1, 5)):
    """Return two arrays some way off, under angles of their own."""
    generator = np.random.default_rng(index)
    arrays = []
    for grid in (tx_grid, rx_grid):
        offsets = np.moveaxis(np.indices(grid), 0, -1).reshape(-1, 2) * 0.05
        centre = [*generator.uniform(-4, 4, 2), -20]
        arrays.append(np.column_stack([offsets, np.zeros(len(offsets))]) + centre)
    return Pair(arrays[0], arrays[1], tx_grid, rx_grid)


PAIRS = [pair(0), pair(1), pair(2)]
CLEAN = np.stack([simulate(POINTS, AMPLITUDES, one, FREQUENCIES) for one in PAIRS])


def bring_in(folder, source, form="arrays", **details):
    settings = {"kind": "rf", "format": form, "source": str(folder / source), "details": details}
    ingest(
        settings=IngestSettings.model_validate(settings),
        dataset="scan",
        raw=folder / "raw.json",
        receipt=folder / "ingest.json",
    )
    return RfRawData.open(folder / "raw.json")


GRID = {"shape": SCENE.shape, "spacing": SCENE.spacing, "origin": SCENE.origin}
MAPPING = {
    "y": {"name": "data", "axes": ["freq", "rx", "tx", "pair"], "conjugate": True},
    "frequencies": {"name": "ghz", "axes": ["freq"], "scale": 1e9},
    "tx": {"name": "tx", "axes": ["pair", "element", "coordinate"]},
    "rx": {"components": ["rx_x", "rx_y", "rx_z"], "axes": ["pair", "element"]},
    "noise_std": {"name": "sigma", "axes": ["pair"]},
    "reference": {"name": "image", "axes": ["x", "y"]},
}


def stored_arrays():
    receivers = np.stack([one.rx for one in PAIRS])
    return {
        "data": np.conj(CLEAN).transpose(1, 3, 2, 0),  # of the other time dependence
        "ghz": FREQUENCIES / 1e9,
        "tx": np.stack([one.tx for one in PAIRS]),
        **{f"rx_{name}": receivers[..., axis] for axis, name in enumerate("xyz")},
        "sigma": np.array([0.1, 0.2, 0.3]),
        "image": np.arange(42).reshape(7, 6) * (1 + 2j),
    }


def without_vectors(mapping):
    """MATLAB 5 has no vectors: they are rows."""
    rows = {name: ["1", *mapping[name]["axes"]] for name in ("frequencies", "noise_std")}
    return mapping | {name: mapping[name] | {"axes": axes} for name, axes in rows.items()}


@pytest.mark.parametrize("suffix", ["npz", "h5", "mat"])
def test_files_by_mapping(tmp_path, suffix):
    arrays, mapping = stored_arrays(), MAPPING
    if suffix == "npz":
        np.savez(tmp_path / "scan.npz", **arrays)
    elif suffix == "mat":
        savemat(tmp_path / "scan.mat", arrays)
        mapping = without_vectors(mapping)
    else:
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            for name, values in arrays.items():
                file[name] = values
    raw = bring_in(tmp_path, f"scan.{suffix}", scene=GRID, arrays=mapping)
    np.testing.assert_allclose(raw.frequencies, FREQUENCIES)
    assert (raw.pairs, raw.scene) == (3, SCENE)
    for index, one in enumerate(PAIRS):
        np.testing.assert_allclose(raw.measurements(0, index), CLEAN[index], rtol=1e-6)
        np.testing.assert_array_equal(raw.antennas(index).tx, one.tx)
        np.testing.assert_array_equal(raw.antennas(index).rx, one.rx)
    np.testing.assert_allclose(raw.noise_std(), [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(raw.reference()[0, 0], arrays["image"].T)  # [z, y, x]


def test_planar_arrays_are_ordered_by_their_grids(tmp_path):
    grids = {"tx_grid": (2, 3), "rx_grid": (4, 2)}
    planar = pair(5, **grids)
    exact = simulate(POINTS, AMPLITUDES, planar, FREQUENCIES)
    one_by_one = np.stack(
        [
            simulate(POINTS, AMPLITUDES, Pair(tx[None], planar.rx, (1, 1), (1, 8)), FREQUENCIES)
            for tx in planar.tx
        ],
        axis=1,
    ).reshape(9, 6, 8)
    np.savez(tmp_path / "scan.npz", y=one_by_one, f=FREQUENCIES, tx=planar.tx, rx=planar.rx)
    mapping = {
        "y": {"name": "y", "axes": ["freq", "tx", "rx"]},
        "frequencies": {"name": "f", "axes": ["freq"]},
        **{name: {"name": name, "axes": ["element", "coordinate"]} for name in ("tx", "rx")},
    }
    raw = bring_in(tmp_path, "scan.npz", scene=GRID, arrays=mapping, **grids)
    np.testing.assert_allclose(raw.measurements(0, 0), exact, rtol=1e-6)


def test_pulses_by_mapping(tmp_path):
    antennas = np.random.default_rng(4).uniform(5, 6, (8, 3))
    legs = np.linalg.norm(antennas[:, None] - POINTS, axis=-1)
    k = 2 * np.pi * FREQUENCIES / 299_792_458.0
    data = np.exp(-2j * k[:, None, None] * legs) @ AMPLITUDES  # [freq, pulse]
    np.savez(tmp_path / "scan.npz", y=data, f=FREQUENCIES, where=antennas)
    mapping = {
        "y": {"name": "y", "axes": ["freq", "pulse"]},
        "frequencies": {"name": "f", "axes": ["freq"]},
        "transmitter": {"name": "where", "axes": ["pulse", "coordinate"]},
    }
    np.savez(
        tmp_path / "scan.npz", y=data, f=FREQUENCIES, where=antennas, noise=[0.3], many=[0.3] * 8
    )
    mapping["noise_std"] = {"name": "many", "axes": ["pair"]}
    with pytest.raises(DataError, match=r"noise_std, .* has 8 along `pair`, but a phase history"):
        bring_in(tmp_path, "scan.npz", scene=GRID, arrays=mapping)
    mapping["noise_std"]["name"] = "noise"
    raw = bring_in(tmp_path, "scan.npz", scene=GRID, arrays=mapping)
    np.testing.assert_allclose(raw.noise_std(), [0.3], rtol=1e-6)
    np.testing.assert_allclose(raw.pulse_measurements(0), data.T, rtol=1e-6)
    differences = raw.paths(0).path_differences(POINTS)
    model = np.exp(-1j * k[:, None] * differences[:, None]) @ AMPLITUDES
    np.testing.assert_allclose(raw.pulse_measurements(0), model, rtol=1e-4)


@pytest.mark.parametrize("moving", ["transmitter", "receiver", "reference_path", "frequency_scale"])
def test_what_moves_from_frame_to_frame_is_of_each_frame(tmp_path, moving):
    """Whatever else all frames share."""
    random = np.random.default_rng(6)
    values = {
        "transmitter": random.uniform(5, 6, (3, 8, 3)), "receiver": random.uniform(5, 6, (3, 8, 3)),
        "reference_path": random.uniform(9, 10, (3, 8)),
        "frequency_scale": random.uniform(0.9, 1.1, (3, 8)),
    }  # fmt: skip
    values |= {name: each[:1] for name, each in values.items() if name != moving}
    np.savez(tmp_path / "a.npz", y=random.normal(size=(3, 8, 9)) + 1j, f=FREQUENCIES, **values)
    axes = ["frame", "pulse", "coordinate"]
    mapping = {name: {"name": name, "axes": axes[: each.ndim]} for name, each in values.items()}
    mapping["y"] = {"name": "y", "axes": ["frame", "pulse", "freq"]}
    mapping["frequencies"] = {"name": "f", "axes": ["freq"]}
    raw = bring_in(tmp_path, "a.npz", scene=GRID, arrays=mapping)
    assert raw.own_paths
    for frame in range(3):
        paths = raw.paths(frame, slice(2, 7))
        for name, each in values.items():
            expected = np.broadcast_to(each, (3, *each.shape[1:]))[frame, 2:7]
            np.testing.assert_array_equal(getattr(paths, name), expected)
    values["frequency_scale"][0, 3] = -1
    np.savez(tmp_path / "a.npz", y=random.normal(size=(3, 8, 9)) + 1j, f=FREQUENCIES, **values)
    with pytest.raises(DataError, match=r"of frequency_scale reach -1; expected none below 0"):
        bring_in(tmp_path, "a.npz", scene=GRID, arrays=mapping)


def write_zarr(path, measured, *, sign="+", ragged=False, factors=False, calibration=None):
    """Write the layout that other programs use."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    scene = group.create_group("scene")
    scene.attrs.update({"shape": [7, 6], "spacing_m": [0.2, 0.3], "origin_m": [0.1, 0.2, 0.0]})
    scene.attrs["time_sign"] = sign

    def conjugated(values):
        return np.conj(values) if sign == "-" else values

    group["frequencies"] = FREQUENCIES
    if not ragged:
        group["y"] = conjugated(np.stack(measured)[None]).astype(np.complex64)
    for index, values in enumerate(measured):
        one = group.create_group(f"pair/{index}")
        if ragged:
            one["y"] = conjugated(values[None]).astype(np.complex64)
        if factors:
            for axis in (1, 2):
                kappa, rows = waves(values.shape, axis, index)
                one[f"kappa{axis}"] = kappa
                one[f"rowphase{axis}"] = conjugated(np.exp(1j * rows))
        else:
            antennas = pair(index, rx_grid=(1, values.shape[2]))
            one["tx_pos"], one["rx_pos"] = antennas.tx, antennas.rx
    for name, values in (calibration or {}).items():
        group[f"calib/{name}"] = conjugated(values) if values.dtype.kind == "c" else values


def waves(shape, axis, seed):
    generator = np.random.default_rng([seed, axis])
    size = (shape[0], shape[axis])
    return generator.uniform(-9, 9, size), generator.uniform(-3, 3, size)


@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("ragged", [False, True])
def test_zarr_of_other_programs(tmp_path, sign, ragged):
    widths = (5, 2, 3) if ragged else (5, 5, 5)
    measured = [
        simulate(POINTS, AMPLITUDES, pair(index, rx_grid=(1, width)), FREQUENCIES)
        for index, width in enumerate(widths)
    ]
    write_zarr(tmp_path / "other.zarr", measured, sign=sign, ragged=ragged)
    raw = bring_in(tmp_path, "other.zarr", "native")
    assert raw.scene == SCENE
    for index, values in enumerate(measured):
        np.testing.assert_allclose(raw.measurements(0, index), values, rtol=1e-5)
        assert raw.antennas(index).measurement_shape == values.shape[1:]
    # And what was ingested is a source itself.
    (tmp_path / "again").mkdir()
    settings = {"kind": "rf", "format": "native", "source": str(tmp_path / "raw.json")}
    ingest(
        settings=IngestSettings.model_validate({**settings, "details": {}}),
        dataset="scan",
        raw=tmp_path / "again" / "raw.json",
        receipt=tmp_path / "again" / "ingest.json",
    )
    again = RfRawData.open(tmp_path / "again" / "raw.json")
    for index in range(3):
        np.testing.assert_array_equal(again.measurements(0, index), raw.measurements(0, index))


@pytest.mark.parametrize("sign", ["+", "-"])
def test_factors_in_place_of_positions(tmp_path, sign):
    write_zarr(tmp_path / "other.zarr", list(CLEAN), sign=sign, factors=True)
    raw = bring_in(tmp_path, "other.zarr", "native")
    assert raw.antennas(1) is None
    stored = zip(raw.wave_vectors(1), raw.row_phases(1), strict=True)
    for axis, (found, found_rows) in enumerate(stored, start=1):
        kappa, rows = waves(CLEAN[1].shape, axis, 1)
        np.testing.assert_array_equal(found, kappa)
        np.testing.assert_allclose(found_rows, rows, atol=1e-12)


def test_factors_of_one_axis_and_plane_waves_of_the_other(tmp_path):
    write_zarr(tmp_path / "other.zarr", list(CLEAN), factors=True)
    group = zarr.open_group(tmp_path / "other.zarr")
    first = np.random.default_rng(0).standard_normal((9, 4, 7, 2)) @ [1, 1j]
    for index in range(3):
        del group[f"pair/{index}/kappa1"]
        group[f"pair/{index}/A1"] = first
    raw = bring_in(tmp_path, "other.zarr", "native")
    assert raw.wave_vectors(1) is None
    found = raw.factors(1)
    rows = waves(CLEAN[1].shape, 1, 1)[1]
    np.testing.assert_allclose(found[0], first * np.exp(1j * rows)[..., None], atol=1e-5)
    kappa, rows = waves(CLEAN[1].shape, 2, 1)
    expected = np.exp(1j * rows[..., None] - 1j * kappa[..., None] * SCENE.offsets(1))
    np.testing.assert_allclose(found[1], expected, atol=1e-5)
    del group["pair/2/A1"]
    with pytest.raises(DataError, match=r"pair 2: factors of the axes A2, but the scene has 2"):
        bring_in(tmp_path, "other.zarr", "native")


def test_what_the_source_says_of_its_instruments_is_stored_beside_what_they_measured(tmp_path):
    generator = np.random.default_rng(4)
    phase, delay = np.array([[0.4, -2.1, 1.7]]), np.array([1.3e-9, -0.6e-9, 3.1e-9])
    tx, rx = (generator.standard_normal((3, size, 2)) @ [1, 1j] for size in (4, 5))
    calibration = {"phase": phase, "delay": delay, "gain_tx": tx, "gain_rx": rx}
    write_zarr(tmp_path / "other.zarr", list(CLEAN), calibration=calibration)
    raw = bring_in(tmp_path, "other.zarr", "native")
    np.testing.assert_array_equal(raw.phase(), phase)
    np.testing.assert_array_equal(raw.delay(), delay)
    for index in range(3):
        np.testing.assert_array_equal(raw.measurements(0, index), CLEAN[index].astype("c8"))
        np.testing.assert_array_equal(raw.gains(index)["gain_tx"], tx[index])
        np.testing.assert_array_equal(raw.gains(index)["gain_rx"], rx[index])


def npz(folder, data):
    """Ingest pairs from a file of their own."""
    np.savez(
        folder / "scan.npz",
        y=data,
        f=FREQUENCIES,
        tx=[one.tx for one in PAIRS],
        rx=[one.rx for one in PAIRS],
    )
    mapping = {
        "y": {"name": "y", "axes": ["pair", "freq", "m1", "m2"]},
        "frequencies": {"name": "f", "axes": ["freq"]},
        **{n: {"name": n, "axes": ["pair", "element", "coordinate"]} for n in ("tx", "rx")},
    }
    return bring_in(folder, "scan.npz", scene=GRID, arrays=mapping)


def changed(where, value):
    data = CLEAN.copy()
    data[where] = value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            changed((1, 3, 2, 2), np.nan),
            r"NaN at frame 0, pair 1, freq 3 \(9.9 GHz\), m1 2, m2 2, and 1",
        ),
        (changed((2, 8), 0), r"y is zero throughout at frame 0, pair 2, freq 8 \(10.4 GHz\)"),
        (CLEAN[..., :4], r"pair 0: found measurements of shape \(4, 4\), but 4 trans.* 5 rec"),
        (CLEAN[:2], r"tx, of shape \(3, 4, 3\) .*has 3 along `pair`, but y.* has 2"),
        (CLEAN[:, :8], r"frequencies, of shape \(9,\) .*has 9 along `freq`"),
    ],
)
def test_bad_measurements_are_named(tmp_path, data, message):
    with pytest.raises(DataError, match="scan: .*" + message):
        npz(tmp_path, data)
    assert not (tmp_path / "raw.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequencies": {"name": "ghz", "axes": ["freq"]}}, "looks like GHz"),
        ({"kspace": {"name": "data", "axes": ["coil"]}}, "names kspace, which does not go"),
        ({"tx": None}, "one of tx and rx; give both"),
        ({"tx": None, "rx": None}, "there are no positions; call them m1 and m2"),
        ({"frequencies": None}, "at least y and frequencies"),
        ({"tx": MAPPING["tx"] | {"units": "cycles_per_m"}}, "arrays.tx has units, which is for"),
    ],
)
def test_bad_mappings(tmp_path, change, message):
    np.savez(tmp_path / "scan.npz", **stored_arrays())
    mapping = {name: array for name, array in (MAPPING | change).items() if array}
    with pytest.raises((ConfigError, DataError), match=re.escape("scan") + ".*" + message):
        bring_in(tmp_path, "scan.npz", scene=GRID, arrays=mapping)


def test_grids_of_arrays_that_are_not_there_are_refused(tmp_path):
    np.savez(tmp_path / "scan.npz", **stored_arrays())
    mapping = {name: array for name, array in MAPPING.items() if name not in ("tx", "rx")}
    with pytest.raises(ConfigError, match=r"scan\.rx_grid says how .* `arrays` has no `rx`"):
        bring_in(tmp_path, "scan.npz", scene=GRID, arrays=mapping, rx_grid=(2, 2))


def test_bad_zarr(tmp_path):
    group = zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=3)
    with pytest.raises(DataError, match=r"scan: .*lacks a usable attribute"):
        bring_in(tmp_path, "other.zarr", "native")
    group.attrs.update({"shape": [7, 6], "spacing": [0.2, 0.3]})
    group["frequencies"] = FREQUENCIES
    with pytest.raises(DataError, match="has no `y`; it has frequencies"):
        bring_in(tmp_path, "other.zarr", "native")
    group["y"] = CLEAN[None]
    group.create_group("pair/0")
    with pytest.raises(DataError, match="has 3 pairs, but there are positions or factors of 1"):
        bring_in(tmp_path, "other.zarr", "native")
    for index in range(3):
        group.require_group(f"pair/{index}")
    with pytest.raises(DataError, match=r"scan: pair 0 has neither positions .* nor factors"):
        bring_in(tmp_path, "other.zarr", "native")
    group.attrs["time_sign"] = 0
    with pytest.raises(DataError, match="time_sign is 0"):
        bring_in(tmp_path, "other.zarr", "native")


def test_channels_that_name_antennas_in_text_files(tmp_path):
    """Two measurements, with and without a target, in a medium; antennas are counted from one."""
    random = np.random.default_rng(6)
    antennas, background = random.uniform(3, 4, (5, 3)), np.array([[0.3, 0.3, 0.1]])
    channels = np.array([[1, 2], [5, 3], [2, 4], [4, 4]])
    speed = 299_792_458.0 / np.sqrt(8)
    k = 2 * np.pi * FREQUENCIES[:, None, None] / speed

    def seen(points, amplitudes):
        legs = np.linalg.norm(antennas[:, None] - points, axis=-1)
        ways = legs[channels[:, 0] - 1] + legs[channels[:, 1] - 1]
        return np.exp(-1j * k * ways) @ amplitudes  # [freq, channel]

    target = seen(POINTS, AMPLITUDES)
    empty = seen(background, np.array([2.0]))
    for name, values in (("with", target + empty), ("without", empty)):
        lines = (",".join(f"{v.real:.9g}{v.imag:+.9g}i" for v in row) for row in values)
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    (tmp_path / "channels.txt").write_text("tx rx\n# by number\n" + "\n".join(
        f"{tx} {rx}" for tx, rx in channels
    ))  # fmt: skip
    np.savetxt(tmp_path / "antennas.csv", antennas, delimiter=",", fmt="%.12g")
    np.savetxt(tmp_path / "frequencies.csv", FREQUENCIES / 1e9)

    def position(channel, **rows):
        rows = {"file": "channels.txt", "column": channel, "first": 1, **rows}
        return {"file": "antennas.csv", "axes": ["pulse", "coordinate"], "rows": rows}

    mapping = {
        "y": {"file": "with.csv", "subtract": "without.csv", "axes": ["freq", "pulse"]},
        "frequencies": {"file": "frequencies.csv", "axes": ["freq", "1"], "scale": 1e9},
        "transmitter": position(0),
        "receiver": position(1),
    }
    scene = {**GRID, "medium": {"permittivity": 8}}
    raw = bring_in(tmp_path, "", scene=scene, arrays=mapping)
    assert raw.scene.speed == pytest.approx(speed)
    np.testing.assert_allclose(raw.pulse_measurements(0), target.T, rtol=1e-4)
    np.testing.assert_allclose(raw.paths(0).receiver, antennas[channels[:, 1] - 1])
    for wrong, message in (
        ({"first": 2}, r"transmitter: row 0 of `rows` names 1.*numbered from 2"),
        ({"column": 2}, "column 2, but the table has 2"),
    ):
        with pytest.raises(DataError, match=message):
            bring_in(
                tmp_path, "", scene=scene, arrays=mapping | {"transmitter": position(0, **wrong)}
            )


@pytest.mark.parametrize(
    ("text", "message"),
    [("1,2\n3\n", "line 2 has 1 numbers"), ("1\nx\n", "line 2 holds what is no number"),
     ("a,b\n", "no numbers")],
)  # fmt: skip
def test_text_that_is_no_table(tmp_path, text, message):
    (tmp_path / "scan.csv").write_text(text)
    mapping = {name: {"axes": ["freq", "pulse"]} for name in ("y", "frequencies", "transmitter")}
    with pytest.raises(DataError, match=message):
        bring_in(tmp_path, "scan.csv", scene=GRID, arrays=mapping)


@pytest.mark.parametrize("scale", [1, 1e3, 1e7])
def test_positions_in_millimetres_are_told(tmp_path, scale):
    np.savez(
        tmp_path / "a.npz", y=np.swapaxes(CLEAN, 0, 1), f=FREQUENCIES,
        tx=scale * np.stack([one.tx for one in PAIRS]),
        rx=scale * np.stack([one.rx for one in PAIRS]),
    )  # fmt: skip
    elements = ["pair", "element", "coordinate"]
    arrays = {
        "y": {"file": "a.npz", "name": "y", "axes": ["freq", "pair", "m1", "m2"]},
        "frequencies": {"file": "a.npz", "name": "f", "axes": ["freq"]},
        **{name: {"file": "a.npz", "name": name, "axes": elements} for name in ("tx", "rx")},
    }
    bring_in(tmp_path, ".", scene=GRID, arrays=arrays)
    warnings = read_json(tmp_path / "ingest.json").get("warnings", [])
    said = [text for text in warnings if "wavelengths apart" in text]
    assert len(said) == (scale == 1e3)  # the last stand so far away that waves are plane
    assert all("pair 0 are 1668 wavelengths" in text and "scale: 0.001" in text for text in said)
