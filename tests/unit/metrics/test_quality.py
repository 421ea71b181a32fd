"""Image quality against hand-computed values, scikit-image, and what must not matter."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_tree import ellipsoids, noisy
from skimage.filters import threshold_otsu
from skimage.metrics import (
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

from pipeline.metrics.comparison import Comparison
from pipeline.metrics.images import image_metrics

SHAPE = (5, 11, 8)


def complex_normal(shape, seed):
    random = np.random.default_rng(seed)
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def quality(image, reference, slab=2):
    """Compare slab by slab, with a last slab that is shorter."""
    compared = Comparison(
        lambda: (
            (image[first : first + slab], reference[first : first + slab])
            for first in range(0, len(image), slab)
        )
    )
    return SimpleNamespace(**image_metrics(compared, compares=True))


def statistics(*slabs):
    compared = Comparison(lambda: [(slab, None) for slab in slabs])
    return SimpleNamespace(**image_metrics(compared, compares=False))


@pytest.fixture
def pair():
    reference = ellipsoids(SHAPE)[0]
    return noisy(2.5 * np.exp(0.4j) * reference, level=0.2), reference


def test_by_hand():
    reference = np.array([[[3.0, 4.0, 0.0]]])
    image = np.array([[[1.0, 1.0, 1.0]]])
    # scale 7/3; residual (-2/3, -5/3, 7/3); its energy 78/9
    found = quality(image, reference)
    assert found.scale == pytest.approx(7 / 3)
    assert found.nrmse == pytest.approx(math.sqrt(78 / 9) / 5)
    assert found.psnr_db == pytest.approx(20 * math.log10(4 / math.sqrt(78 / 27)))
    assert math.isnan(found.correlation)  # the image is constant
    assert math.isnan(found.ssim)  # smaller than the window


def test_correlation_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1).
    found = quality(np.array([[[1.0, 2.0, 3.0]]]), np.array([[[0.0, 3.0, 3.0]]]))
    assert found.correlation == pytest.approx(3 / math.sqrt(2 * 6))


def test_matches_peers(pair):
    image, reference = pair
    found = quality(image, reference)
    a = found.scale * np.abs(image.astype(np.complex128))
    r = np.abs(reference.astype(np.complex128))
    top = r.max()
    assert found.nrmse == pytest.approx(normalized_root_mse(r, a), rel=1e-9)
    assert found.psnr_db == pytest.approx(peak_signal_noise_ratio(r, a, data_range=top), rel=1e-9)
    assert found.correlation == pytest.approx(np.corrcoef(a.ravel(), r.ravel())[0, 1], rel=1e-9)
    slices = [structural_similarity(*one, data_range=top) for one in zip(a, r, strict=True)]
    assert found.ssim == pytest.approx(np.mean(slices), rel=1e-9)


def test_scale_is_the_least_squares_solution(pair):
    image, reference = pair
    solution = np.linalg.lstsq(np.abs(image).reshape(-1, 1), np.abs(reference).ravel(), rcond=None)[
        0
    ]
    assert quality(image, reference).scale == pytest.approx(solution[0], rel=1e-6)


def test_complex_error_is_the_distance_to_the_line(pair):
    image, reference = pair
    factor = np.linalg.lstsq(image.reshape(-1, 1), reference.ravel(), rcond=None)[0][0]
    expected = np.linalg.norm(factor * image - reference) / np.linalg.norm(reference)
    assert quality(image, reference).nrmse_complex == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    magnitude=st.floats(1e-6, 1e6),
    phase=st.floats(0, 6.3),
    slab=st.integers(1, 6),
    seed=st.integers(0, 2**16),
)
def test_scale_phase_and_slabs_do_not_matter(magnitude, phase, slab, seed):
    reference = complex_normal(SHAPE, seed)
    image = reference + 0.3 * complex_normal(SHAPE, seed + 1)
    plain = quality(image, reference, slab=len(image))
    other = quality(magnitude * np.exp(1j * phase) * image, reference, slab=slab)
    assert other.scale == pytest.approx(plain.scale / magnitude, rel=1e-6)
    for figure in ("nrmse", "nrmse_complex", "correlation", "psnr_db", "ssim"):
        assert getattr(other, figure) == pytest.approx(getattr(plain, figure), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), noise=st.floats(0.01, 10))
def test_bounds(seed, noise):
    reference = complex_normal(SHAPE, seed)
    found = quality(reference + noise * complex_normal(SHAPE, seed + 1), reference)
    assert 0 < found.nrmse <= 1
    assert 0 < found.nrmse_complex <= 1
    assert -1 <= found.correlation <= 1
    assert -1 <= found.ssim <= 1


def test_equal_up_to_a_factor_is_perfect(pair):
    _, reference = pair
    found = quality(-3j * reference, reference)
    assert found.nrmse < 1e-7
    assert found.nrmse_complex < 1e-7
    assert found.correlation == pytest.approx(1)
    assert found.ssim == pytest.approx(1)


def test_image_of_zeros_has_all_the_error(pair):
    _, reference = pair
    found = quality(np.zeros_like(reference), reference)
    assert found.nrmse == 1
    assert math.isnan(found.correlation)
    assert math.isnan(found.scale)


def test_reference_of_zeros_is_undefined(pair):
    image, _ = pair
    found = quality(image, np.zeros_like(image))
    assert math.isnan(found.nrmse)
    assert math.isnan(found.psnr_db)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(1, 2, 3\).*\(1, 3, 2\)"):
        quality(np.ones((1, 2, 3)), np.ones((1, 3, 2)))


def test_statistics_by_hand():
    image = np.full((2, 4, 5), 0.1j)
    image[:, 1:3, 1:3] = 4 + 3j  # 8 of 40 voxels
    found = statistics(image[:1], image[1:])
    assert found.maximum == pytest.approx(5)
    assert found.mean == pytest.approx((8 * 5 + 32 * 0.1) / 40)
    assert found.signal_to_background_db == pytest.approx(20 * math.log10(50), abs=0.2)


def test_background_ends_where_scikit_image_says():
    random = np.random.default_rng(3)
    image = np.concatenate([random.rayleigh(1.0, 900), random.normal(6.0, 1.5, 1500)])
    magnitude = np.abs(image).reshape(1, 48, 50)
    threshold = threshold_otsu(magnitude, nbins=4096)
    signal, rest = magnitude[magnitude > threshold], magnitude[magnitude <= threshold]
    expected = 20 * math.log10(signal.mean() / math.sqrt((rest**2).mean()))
    found = statistics(magnitude * np.exp(1j * random.uniform(0, 6, magnitude.shape)))
    assert found.signal_to_background_db == pytest.approx(expected, abs=0.01)


def test_statistics_of_zeros_are_undefined():
    found = statistics(np.zeros((1, 3, 4)))
    assert found.maximum == 0
    assert math.isnan(found.signal_to_background_db)
