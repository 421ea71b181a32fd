"""Gradient delays and impulse responses, against trajectories that were moved in closed form."""

import numpy as np
import pytest
from acquisitions import write_attributes
from calibrating import calibrated_in

from pipeline.errors import DataError
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.delays import gradient_delays
from pipeline.mri.calibration.girf import Response, gradient_axes
from pipeline.mri.calibration.radial_density import radial_weights
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan
from pipeline.mri.generators.radial import golden_radial, kooshball, stack_of_stars
from pipeline.mri.raw import RawData
from pipeline.storage.publish import published_store, read_json


def signal(shape, k, coils=4, noise=0.0):
    array, random = coils_around(shape, coils), np.random.default_rng(2)
    points = k.reshape(-1, len(shape))
    values = fourier_transform(
        shepp_logan(len(shape)), shape, points, array.shifts, array.coefficients
    )
    deviation = noise * np.sqrt(np.mean(np.abs(values) ** 2) / 2)
    values = values + deviation * (random.normal(size=(*values.shape, 2)) @ [1, 1j])
    return values.reshape(coils, *k.shape[:-1])


def shifted(k, shift):
    """Move spokes by ``shift`` samples for each direction."""
    along = k[:, -2, -2:] - k[:, 1, -2:]
    step = np.linalg.norm(along, axis=-1, keepdims=True) / (k.shape[1] - 3)
    moved = k.copy()
    moved[..., -2:] += (step * (along / np.linalg.norm(along, axis=-1, keepdims=True)) @ shift)[
        :, None
    ]
    return moved


SHIFTS = [
    np.array([[0.3, 0.2], [0.2, -0.1]]),
    np.array([[-0.8, 0.1], [0.1, 0.6]]),
    np.array([[1.2, -0.3], [-0.3, 0.9]]),
]


@pytest.mark.parametrize("shift", SHIFTS, ids=["small", "of both signs", "large"])
@pytest.mark.parametrize(("spokes", "samples"), [(13, 96), (55, 131)])
def test_crossings_tell_delays(shift, spokes, samples):
    shape = (48, 44)
    k = golden_radial(spokes, samples)
    y = signal(shape, shifted(k, shift), noise=0.02)
    found = gradient_delays(k.astype("float32"), y, shape)
    np.testing.assert_allclose(found.shift, shift, atol=0.02)
    assert found.missed < 0.1


@pytest.mark.parametrize(("spokes", "samples"), [(2, 40), (13, 3)])
def test_too_few_samples_tell_no_delays(spokes, samples):
    k = golden_radial(spokes, samples)
    with pytest.raises(DataError, match=f"{spokes} spokes of {samples} samples do not tell"):
        gradient_delays(k, np.ones((1, spokes, samples)), (20, 20))


def write_raw(folder, shape, k, y, **attributes):
    with published_store(folder / "raw.json") as group:
        write_attributes(group, shape, (2e-3, 3e-3, 5e-3)[: len(shape)])
        group.attrs.update(attributes)
        for name, values in (("trajectory", k[None]), ("kspace", y[None])):
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)


def calibrated(folder, **settings):
    settings = {"coil_maps": "none", "consistency": False, **settings}
    return calibrated_in(folder, **settings)


@pytest.mark.parametrize("pattern", ["radial", "stack-of-stars"])
def test_delays_move_the_trajectory_that_later_steps_see(tmp_path, pattern):
    shift = SHIFTS[0]
    if pattern == "radial":
        shape, k = (40, 44), golden_radial(34, 90)
    else:
        shape, k = (4, 40, 44), stack_of_stars(21, 90, 4)
    true = shifted(k, shift)
    write_raw(tmp_path, shape, k, signal(shape, true), pattern=pattern)
    found = calibrated(tmp_path, delays="ring")
    receipt = read_json(tmp_path / "calibrate.json")
    assert receipt["gradient_delays"] == pytest.approx({"yy": 0.3, "xx": -0.1, "yx": 0.2}, abs=0.01)
    step = np.linalg.norm(k[0, 2, -2:] - k[0, 1, -2:])
    np.testing.assert_allclose(found.trajectory(0), true, atol=0.01 * step)
    # Lines that are beside the centre are still weighed as the spokes that they were meant to be.
    assert found.density == pattern
    if pattern == "radial":
        data = CorrectedData(RawData.open(tmp_path / "raw.json"), found)
        expected = radial_weights(data.trajectory(0))
        np.testing.assert_allclose(found.weights(0), expected, rtol=1e-3, atol=1e-6)


def test_what_no_delay_explains_is_told_and_left(tmp_path):
    shape, k = (40, 44), golden_radial(34, 90)
    random = np.random.default_rng(0)
    y = random.normal(size=(3, *k.shape[:2], 2)) @ [1, 1j]
    write_raw(tmp_path, shape, k, y, pattern="radial")
    found = calibrated(tmp_path, delays="ring")
    assert "cannot be right" in read_json(tmp_path / "calibrate.json")["warnings"][0]
    assert found.trajectory(0) is None


def test_delays_are_for_spokes_in_a_plane(tmp_path):
    shape, k = (12, 14, 13), kooshball(20, 30)
    write_raw(tmp_path, shape, k, signal(shape, k), pattern="radial")
    with pytest.raises(DataError, match=r"scan: calibration.delays is ring.*3D.*set it to none"):
        calibrated(tmp_path, delays="ring")


RASTER, COUNT = 1e-5, 4000
FREQUENCIES = (np.arange(COUNT) - COUNT // 2) / (COUNT * RASTER)


def response(delays=(0.0, 0.0, 0.0), crosstalk=0.0, field=0.0):
    """Delays of x, y and z [s], of z a share that becomes x, and of x one of the main field [m]."""
    values = np.zeros((3, 4, COUNT), complex)
    for axis, delay in enumerate(delays):
        values[axis, 1 + axis] = np.exp(-2j * np.pi * FREQUENCIES * delay)
    values[2, 1] = crosstalk
    values[0, 0] = field
    return values


def spiral_at(times):
    """A smooth spiral that starts from the centre [rad/m], ``(time, (x, y, z))``."""
    grown = np.where(times > 0, times, 0.0) ** 2 * 1e8
    angle = 2e3 * times
    return np.stack([grown * np.cos(angle), grown * np.sin(angle), 0.3 * grown], axis=-1)


@pytest.mark.parametrize("dwell", [2e-6, 1e-5])
def test_a_response_that_only_delays_moves_samples_in_time(dwell):
    times = dwell * np.arange(round(4e-3 / dwell))
    k = np.stack([spiral_at(times), 0.4 * spiral_at(times)])
    delays = (3e-6, 7e-6, 12e-6)
    found = Response(response(delays), RASTER).moved(k, dwell)
    expected = np.stack([spiral_at(times - delay)[:, a] for a, delay in enumerate(delays)], -1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, np.stack([expected, 0.4 * expected]), atol=1e-4 * scale)


def test_spokes_are_shifted_along_themselves():
    times = 4e-6 * np.arange(200)
    speeds = np.array([[1e6, 2e6, 0.0], [-3e6, 1e6, 5e5]])
    k = speeds[:, None] * (times - times[100])[:, None]
    delays = np.array([5e-6, 2e-6, 8e-6])
    found = Response(response(delays), RASTER).moved(k, 4e-6)
    np.testing.assert_allclose(found, k - (speeds * delays)[:, None], atol=2e-4 * np.abs(k).max())


def test_what_gradients_do_to_others_and_to_the_main_field():
    times = 4e-6 * np.arange(800)
    k = spiral_at(times)[None]
    answer = Response(response(crosstalk=0.02, field=0.013), RASTER)
    scale = np.abs(k).max()
    expected = k + 0.02 * k[..., 2:] * np.array([1, 0, 0])
    np.testing.assert_allclose(answer.moved(k, 4e-6), expected, atol=1e-4 * scale)
    np.testing.assert_allclose(answer.phase(k, 4e-6), 0.013 * k[..., 0], atol=1e-5 * scale)


def test_a_trajectory_is_moved_along_the_gradients_of_its_own_orientation(tmp_path):
    """In an image whose axis y runs along the gradient z, and x along y."""
    shape, voxel, dwell = (30, 36), (2e-3, 3e-3), 4e-6
    spiral = spiral_at(dwell * np.arange(900))
    k = np.stack([spiral[:, 0] * voxel[0], spiral[:, 1] * voxel[1]], axis=-1)
    k *= 0.9 * np.pi / np.abs(k).max()
    affine = np.zeros((4, 4))
    affine[[2, 0, 1, 3], [0, 1, 2, 3]] = [5e-3, *voxel, 1]  # columns z, y, x; rows z, y, x
    y = signal(shape, k[None], coils=1)
    write_raw(tmp_path, shape, k[None], y, dwell_time=dwell, affine=affine.tolist())
    np.save(tmp_path / "girf.npy", response(delays=(0.0, 4e-6, 9e-6), field=0.01))
    girf = {"file": str(tmp_path / "girf.npy")}
    found = calibrated(tmp_path, girf=girf, density="none")
    times = dwell * np.arange(900)
    for axis, delay in enumerate((9e-6, 4e-6)):  # y along gradient z, x along gradient y
        expected = np.interp(times - delay, times, k[:, axis])
        np.testing.assert_allclose(found.trajectory(0)[0, 5:, axis], expected[5:], atol=2e-4)
    assert not found.phase(0).any()  # nothing is along gradient x
    np.testing.assert_allclose(gradient_axes(affine, 2), [[0, 0], [0, 1], [1, 0]])


def test_phases_are_taken_away_as_samples_are_read(tmp_path):
    shape, dwell = (30, 36), 4e-6
    k = golden_radial(9, 64)
    clean = signal(shape, k, coils=2)
    field = 0.004
    # The affine of the test has z, y, x in this order: the image axis x is the gradient x.
    added = field * k[..., 1] / 3e-3
    write_raw(tmp_path, shape, k, clean * np.exp(-1j * added), dwell_time=dwell)
    np.save(tmp_path / "girf.npy", response(field=field))
    found = calibrated(tmp_path, girf={"file": str(tmp_path / "girf.npy")}, density="none")
    data = CorrectedData(RawData.open(tmp_path / "raw.json"), found)
    np.testing.assert_allclose(data.kspace(0), clean, atol=2e-3 * np.abs(clean).max())


@pytest.mark.parametrize(
    ("values", "attributes", "message"),
    [
        (response(), {}, "needs the time between samples.*sources.scan.dwell_time"),
        (response(), {"dwell_time": 4.0}, "1e-07 to 0.001 s apart; found 64, 4.0 s apart"),
        (np.zeros((4, 3, 9)), {"dwell_time": 4e-6}, "has the shape"),
        (np.fft.ifftshift(response((9e-6,) * 3), -1), {"dwell_time": 4e-6}, "frequency 0 in the"),
        (None, {"dwell_time": 4e-6}, "not readable as a NumPy array"),
    ],
)
def test_responses_that_cannot_be_used(tmp_path, values, attributes, message):
    shape, k = (30, 36), golden_radial(9, 64)
    write_raw(tmp_path, shape, k, signal(shape, k, coils=1), **attributes)
    if values is None:
        (tmp_path / "girf.npy").write_text("no array")
    else:
        np.save(tmp_path / "girf.npy", values)
    with pytest.raises(DataError, match=message):
        calibrated(tmp_path, girf={"file": str(tmp_path / "girf.npy")})
