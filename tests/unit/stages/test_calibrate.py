import numpy as np
import pytest
from acquisitions import DEVICE, write_attributes

from pipeline.config.calibration import CalibrateSettings, CalibrationSettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import DataError
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.radial_density import radial_weights, stack_of_stars_weights
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan, voxel_average
from pipeline.mri.generators.radial import golden_radial, kooshball, stack_of_stars
from pipeline.mri.generators.winding import spiral
from pipeline.stages.calibrate import calibrate
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import open_published, published_store, read_json


def write_raw(marker, shape, trajectories, *, coils=4, frames=None, **arrays) -> None:
    """Write the phantom, measured along one trajectory a frame or one for all ``frames``."""
    array = coils_around(shape, coils)
    with published_store(marker) as group:
        voxel_size = (1e-3,) * len(shape)
        write_attributes(group, shape, voxel_size)
        frames = frames or len(trajectories)
        sizes = trajectories[0].shape[:2]
        kspace = ARRAYS.create(group, "kspace", (frames, coils, *sizes))
        stored = ARRAYS.create(group, "trajectory", (len(trajectories), *trajectories[0].shape))
        for frame, trajectory in enumerate(trajectories):
            stored[frame] = trajectory.astype("float32")
        for frame in range(frames):
            points = trajectories[frame % len(trajectories)].reshape(-1, len(shape))
            signal = fourier_transform(
                shepp_logan(len(shape)), shape, points, array.shifts, array.coefficients
            )
            kspace[frame] = signal.reshape(coils, *sizes).astype("complex64")
        for name, values in arrays.items():
            ARRAYS.create(group, name, values.shape)[...] = values


@pytest.fixture
def run(tmp_path):
    def run_calibrate(*, device=DEVICE, **settings) -> Calibration:
        calibrate(
            settings=CalibrateSettings(
                calibration=CalibrationSettings(**settings), nufft=NufftSettings()
            ),
            dataset="brain",
            raw=tmp_path / "raw.json",
            calibration=tmp_path / "calibration.json",
            receipt=tmp_path / "receipts" / "calibrate.json",
            device=device,
            threads=2,
        )
        return Calibration.open(tmp_path / "calibration.json")

    return run_calibrate


def assert_like_true_maps(found, shape, coils) -> None:
    true = coils_around(shape, coils).maps()
    true /= np.linalg.norm(true, axis=0)
    inside = voxel_average(shepp_logan(len(shape)), shape, supersampling=2) > 0.05
    found = found.reshape(true.shape)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0)[inside], 1, rtol=1e-5)
    assert np.abs(np.sum(found.conj() * true, axis=0))[inside].min() > 0.98


def test_dynamic_series(tmp_path, run):
    shape = (45, 52)
    trajectories = [golden_radial(21, 104, frame=frame) for frame in range(3)]
    write_raw(tmp_path / "raw.json", shape, trajectories)
    found = run()
    assert (found.coil_maps, found.density) == ("espirit", "radial")
    assert_like_true_maps(found.sensitivities(), shape, 4)
    assert found.sensitivities(slice(1, 3)).shape == (2, 1, *shape)
    for frame, trajectory in enumerate(trajectories):
        expected = radial_weights(trajectory)
        weights = found.weights(frame)
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-4 * expected.max())
    receipt = read_json(tmp_path / "receipts" / "calibrate.json")
    assert receipt["coil_maps"] == "espirit"
    assert receipt["density"] == "radial"
    assert set(receipt["phases"]) == {
        "noise", "density", "spectrum", "centre", "espirit", "interpolate", "consistency"
    }  # fmt: skip


def test_volume_without_weights(tmp_path, run):
    shape = (20, 31, 28)
    write_raw(tmp_path / "raw.json", shape, [kooshball(700, 48)], coils=3)
    found = run(density="none")
    assert found.density == "none"
    assert found.weights(0) is None
    assert found.sensitivities().shape == (3, *shape)
    assert_like_true_maps(found.sensitivities(), shape, 3)


@pytest.mark.parametrize(
    ("trajectory", "shape", "method"),
    [
        (stack_of_stars(13, 24, 8), (8, 12, 14), "stack-of-stars"),
        (spiral(4, 120), (16, 18), "pipe-menon"),
    ],
)
def test_frames_of_one_trajectory_share_weights(tmp_path, run, trajectory, shape, method):
    write_raw(tmp_path / "raw.json", shape, [trajectory], coils=1, frames=3)
    found = run()
    assert (found.coil_maps, found.density) == ("none", method)
    assert found.sensitivities() is None
    stored = open_published(found.marker)["weights"]
    assert stored.shape == (1, *trajectory.shape[:2])
    np.testing.assert_array_equal(found.weights(0), found.weights(2))
    if method == "stack-of-stars":
        expected = stack_of_stars_weights(trajectory)
        np.testing.assert_allclose(found.weights(1), expected, rtol=1e-3, atol=1e-6)


def test_source_is_copied(tmp_path, run):
    shape = (12, 14)
    random = np.random.default_rng(7)
    maps = (random.normal(size=(4, 1, *shape)) + 1j).astype("complex64")
    weights = random.uniform(size=(2, 5, 20)).astype("float32")
    trajectory = golden_radial(5, 20)
    write_raw(
        tmp_path / "raw.json", shape, [trajectory], frames=2, sensitivities=maps, weights=weights
    )
    found = run()
    assert (found.coil_maps, found.density) == ("source", "source")
    np.testing.assert_array_equal(found.sensitivities(), maps)
    np.testing.assert_array_equal(found.weights(1), weights[1])
    estimated = run(coil_maps="walsh", density="radial", calibration_width=8)
    assert (estimated.coil_maps, estimated.density) == ("walsh", "radial")


def test_measured_noise_goes_before_an_estimate(tmp_path, run):
    write_raw(tmp_path / "raw.json", (16, 18), [golden_radial(9, 40)])
    estimated = run()
    assert estimated.noise == "estimated"
    assert estimated.noise_level().shape == (4,)
    noise = np.array([[3, -4j], [0, 1], [2, 2], [1, 1j]], dtype="complex64")
    write_raw(tmp_path / "raw.json", (16, 18), [golden_radial(9, 40)], noise=noise)
    measured = run()
    assert measured.noise == "measured"
    np.testing.assert_allclose(measured.noise_level(), np.sqrt([12.5, 0.5, 4, 1]), rtol=1e-6)


def test_nothing_but_the_centre(tmp_path, run):
    write_raw(tmp_path / "raw.json", (16, 18), [np.zeros((3, 8, 2))])
    with pytest.raises(DataError, match="brain frame 0: all samples are at the centre of k-space"):
        run()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coil_maps": "source"}, "brain: calibration.coil_maps is source.*auto or espirit"),
        ({"density": "source"}, "brain: calibration.density is source.*auto"),
        ({"density": "bistatic"}, "brain: calibration.density is bistatic.*auto"),
        ({"density": "radial"}, "brain frame 0: calibration.density is radial.*pipe-menon"),
        ({"density": "stack-of-stars"}, "brain frame 0: .*stack-of-stars.*pipe-menon"),
    ],
)
def test_what_the_data_cannot_give(tmp_path, run, settings, message):
    write_raw(tmp_path / "raw.json", (16, 18), [spiral(4, 120)])
    with pytest.raises(DataError, match=message):
        run(**settings)
    left = {path.name for path in tmp_path.iterdir() if path.name != "receipts"}
    assert left == {"raw.json", "raw.zarr"}
    assert not any((tmp_path / "receipts").iterdir())


@pytest.mark.gpu
@pytest.mark.parametrize("maps", ["walsh", "espirit"])
def test_device_agrees_with_the_cpu(tmp_path, run, maps):
    shape, coils = (30, 34), 5
    write_raw(tmp_path / "raw.json", shape, [golden_radial(60, 68)], coils=coils)
    settings = {"coil_maps": maps, "density": "pipe-menon", "virtual_coils": coils - 1}
    expected = run(device="cpu", **settings)
    weights, sensitivities = expected.weights(0), expected.sensitivities()
    found = run(device="cuda", **settings)
    np.testing.assert_allclose(found.weights(0), weights, rtol=2e-3, atol=2e-3 * weights.max())
    same = np.abs(np.sum(found.sensitivities().conj() * sensitivities, axis=0))
    inside = voxel_average(shepp_logan(2), shape, supersampling=2).reshape(same.shape) > 0.05
    assert same[inside].min() > 0.999
    receipt = read_json(tmp_path / "receipts" / "calibrate.json")
    assert 0 < receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]
