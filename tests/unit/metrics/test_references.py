"""References on the right matrix and for the right frames; images read slab by slab."""

from pathlib import Path

import numpy as np
import pytest
from results_tree import ellipsoids, write_raw

from pipeline.errors import DataError
from pipeline.metrics import costs
from pipeline.metrics.references import fourier_resampled, frame_slabs, reference_image
from pipeline.mri.raw import RawData

SHAPE = (5, 11, 8)


def complex_normal(shape, seed):
    random = np.random.default_rng(seed)
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


# Truth: the same trigonometric polynomial sampled on both matrices.
@pytest.mark.parametrize("shapes", [((6, 9, 10), (8, 12, 15)), ((8, 12, 15), (6, 9, 10))])
def test_resampling_is_exact_for_band_limited_volumes(shapes):
    def sampled(shape):
        z, y, x = np.meshgrid(
            *[(np.arange(n) - n // 2) / n for n in shape], indexing="ij"
        )  # position over the field of view
        waves = [(2, -3, 4, 1 + 2j), (-1, 4, -3, 0.5j), (0, 0, 0, 1.5)]
        return sum(c * np.exp(2j * np.pi * (a * z + b * y + d * x)) for a, b, d, c in waves)

    found = fourier_resampled(sampled(shapes[0]), shapes[1])
    np.testing.assert_allclose(found, sampled(shapes[1]), atol=1e-12)


def test_resampling_to_the_same_matrix_changes_nothing():
    reference = ellipsoids(SHAPE)[0]
    assert fourier_resampled(reference, SHAPE) is reference


@pytest.fixture
def raw(tmp_path):
    frames = ellipsoids(SHAPE, 4)
    write_raw(tmp_path / "raw.json", shape=SHAPE, frames=4, reference=frames)
    return RawData.open(tmp_path / "raw.json"), frames


def test_reference_of_one_frame(raw):
    np.testing.assert_array_equal(reference_image(raw[0], range(2, 3), SHAPE), raw[1][2])


def test_reference_of_joined_frames_is_their_mean_magnitude(raw):
    found = reference_image(raw[0], range(1, 4), SHAPE)
    np.testing.assert_allclose(found, np.abs(raw[1][1:4]).mean(axis=0), atol=1e-6)


def test_reference_of_a_2d_image(tmp_path):
    image = ellipsoids((9, 8))
    write_raw(tmp_path / "raw.json", shape=(9, 8), frames=1, reference=image)
    raw = RawData.open(tmp_path / "raw.json")
    np.testing.assert_array_equal(reference_image(raw, range(1), (1, 9, 8)), image[0])
    assert reference_image(raw, range(1), (12, 10)).shape == (1, 12, 10)


def test_no_reference(tmp_path):
    write_raw(tmp_path / "raw.json", shape=SHAPE, frames=1)
    assert reference_image(RawData.open(tmp_path / "raw.json"), range(1), SHAPE) is None


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_slabs_cover_the_volume_in_whole_chunks(monkeypatch, tmp_path, chunk):
    import zarr

    monkeypatch.setattr(costs, "_SLAB_VOXELS", 4 * 11 * 8)
    images = complex_normal((2, *SHAPE), 3)
    stored = zarr.create_array(tmp_path / "a.zarr", data=images, chunks=(1, chunk, 11, 8))
    slabs = list(frame_slabs(stored, 1, Path("image.json")))
    np.testing.assert_array_equal(np.concatenate([slab for _, slab in slabs]), images[1])
    assert all(where.start % chunk == 0 for where, _ in slabs)
    assert len(slabs) > 1


def test_nan_is_named(tmp_path):
    import zarr

    images = complex_normal((2, *SHAPE), 3)
    images[1, 4, 10, 7] = np.nan
    stored = zarr.create_array(tmp_path / "a.zarr", data=images, chunks=(1, 2, 11, 8))
    with pytest.raises(DataError, match=r"image.json: frame 1: NaN .* \(4, 10, 7\)"):
        list(frame_slabs(stored, 1, Path("image.json")))
