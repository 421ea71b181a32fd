import numpy as np
import pytest

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import (
    Ellipsoid,
    fourier_transform,
    moving_ellipsoid,
    shepp_logan,
    voxel_average,
)
from pipeline.mri.formats.simulation import open_source

BUDGET = Budget("scan", 600)

ALL = slice(None)


def settings(source="shepp-logan", shape=(20, 24), **simulation):
    simulation = {
        "trajectory": "golden-radial", "readouts": 7, "samples": 18, "coils": 3, **simulation
    }  # fmt: skip
    return IngestSettings(
        kind="mri",
        format="simulation",
        source=source,
        details={"shape": shape, "simulation": simulation},
    )


@pytest.mark.parametrize(("shape", "coils"), [((24, 21), 3), ((10, 11, 12), 6)])
def test_multicoil_kspace_matches_supersampled_sum(shape, coils):
    array = coils_around(shape, coils)
    rng = np.random.default_rng(3)
    k = rng.uniform(-1, 1, (10, len(shape)))
    centre, semi_axes = (0.1, -0.2, 0.15)[-len(shape) :], (0.5, 0.6, 0.55)[-len(shape) :]
    ellipsoid = Ellipsoid(1.0, semi_axes, centre, angle=0.4)
    found = fourier_transform([ellipsoid], shape, k, array.shifts, array.coefficients)

    fine = 24 if len(shape) == 2 else 8
    axes = [(np.arange(size * fine) + 0.5) / fine - 0.5 - size // 2 for size in shape]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    relative = (positions - ellipsoid.centre_in_voxels(shape)) @ ellipsoid.to_unit_ball(shape).T
    positions = positions[np.linalg.norm(relative, axis=-1) <= 1]
    sensitivity = np.exp(1j * positions @ array.shifts.T) @ array.coefficients.T
    expected = (np.exp(-1j * k @ positions.T) @ sensitivity).T / fine ** len(shape)
    np.testing.assert_allclose(found, expected, atol=4e-3 * np.abs(expected).max())


@pytest.mark.parametrize(("shape", "coils"), [((24, 21), 5), ((10, 11, 12), 8)])
def test_maps_are_the_series_and_look_like_coils(shape, coils):
    array = coils_around(shape, coils)
    maps = array.maps()
    axes = [np.arange(size) - size // 2 for size in shape]
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    expected = np.exp(1j * positions @ array.shifts.T) @ array.coefficients.T
    np.testing.assert_allclose(maps, np.moveaxis(expected, -1, 0), atol=1e-12)
    np.testing.assert_array_equal(array.maps(slice(1, 3), slice(2, 7)), maps[1:3, 2:7])
    centre = tuple(size // 2 for size in shape)
    combined = np.linalg.norm(maps, axis=0)
    assert combined[centre] == pytest.approx(1.0)
    assert combined.min() > 0.5
    # Each coil is strongest at an edge and weaker by far on the other side.
    for single in np.abs(maps):
        peak = np.unravel_index(single.argmax(), shape)
        opposite = tuple(size - 1 - index for size, index in zip(shape, peak, strict=True))
        assert single[opposite] < 0.25 * single.max()
        assert any(index in (0, size - 1) for index, size in zip(peak, shape, strict=True))


@pytest.mark.parametrize(
    ("trajectory", "shape", "readouts"),
    [
        ("golden-radial", (20, 24), 7),
        ("spiral", (20, 24), 7),
        ("kooshball", (8, 10, 12), 7),
        ("stack-of-stars", (6, 10, 12), 42),
    ],
)
def test_arrays_can_be_read_in_any_pieces(trajectory, shape, readouts):
    chosen = settings(trajectory=trajectory, shape=shape, frames=3, snr_db=20.0)
    with open_source(chosen, "test", BUDGET) as acquisition:
        kspace = acquisition.arrays["kspace"]
        assert kspace.shape == (3, 3, readouts, 18)
        whole = {
            name: array[(ALL,) * len(array.shape)] for name, array in acquisition.arrays.items()
        }
        for name, array in acquisition.arrays.items():
            assert whole[name].shape == array.shape
            assert whole[name].dtype == array.dtype
            selection = tuple(slice(size // 3, size) for size in array.shape)
            np.testing.assert_array_equal(array[selection], whole[name][selection])
    assert np.ptp(whole["trajectory"], axis=0).max() > 0.1  # frames differ
    assert np.ptp(whole["reference"].real, axis=0).max() > 0.1


def test_reference_of_a_moving_object_is_the_average_of_all_its_parts():
    with open_source(settings(frames=3), "test", BUDGET) as acquisition:
        reference = acquisition.arrays["reference"][(ALL,) * 4]
    for frame, image in enumerate(reference):
        parts = (*shepp_logan(2), moving_ellipsoid(2, 2 * np.pi * frame / 3))
        np.testing.assert_array_equal(image[0], voxel_average(parts, (20, 24)).astype(np.complex64))


def test_noise_has_the_stated_level_and_its_seed():
    level = {"readouts": 64, "samples": 64}
    read = {}
    for name, extra in {
        "clean": {}, "noisy": {"snr_db": 10.0}, "other": {"snr_db": 10.0, "seed": 1}
    }.items():  # fmt: skip
        with open_source(settings(**level, **extra), "test", BUDGET) as acquisition:
            read[name] = acquisition.arrays["kspace"][(ALL,) * 4]
    noise = read["noisy"] - read["clean"]
    found = 20 * np.log10(np.linalg.norm(read["clean"]) / np.linalg.norm(noise))
    assert found == pytest.approx(10.0, abs=0.1)
    assert abs(np.mean(noise**2)) < 0.05 * np.mean(np.abs(noise) ** 2)  # circular
    assert np.linalg.norm(read["noisy"] - read["other"]) > 1.2 * np.linalg.norm(noise)


def test_kspace_belongs_to_object_and_maps():
    # Where the object is band-limited well below the voxel, the sum over voxels is the integral:
    # a low-pass part of k-space must match it.
    with open_source(settings(shape=(96, 90), samples=40), "test", BUDGET) as acquisition:
        read = {
            name: array[(ALL,) * len(array.shape)] for name, array in acquisition.arrays.items()
        }
    low = np.abs(read["trajectory"][0]).max(axis=-1) < 0.4
    k = read["trajectory"][0][low].astype(np.float64)
    y, x = np.meshgrid(np.arange(96) - 48, np.arange(90) - 45, indexing="ij")
    image = (read["reference"][0] * read["sensitivities"])[:, 0].reshape(3, -1)
    expected = image @ np.exp(-1j * (np.outer(y, k[:, 0]) + np.outer(x, k[:, 1])))
    # A voxel average has lost sinc(k / 2) per axis.
    expected /= np.sinc(k[:, 0] / (2 * np.pi)) * np.sinc(k[:, 1] / (2 * np.pi))
    found = read["kspace"][0][:, low]
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)


def test_single_coil_is_uniform():
    np.testing.assert_array_equal(coils_around((5, 6), 1).maps(), np.ones((1, 5, 6)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "brain"}, "unknown phantom `brain`.*shepp-logan"),
        ({"shape": (8, 8, 8)}, r"golden-radial is 2D, but `shape` \(8, 8, 8\) has 3 axes"),
        ({"shape": None}, "needs `sources.test.shape`"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ConfigError, match=message), open_source(settings(**change), "test", BUDGET):
        pass
