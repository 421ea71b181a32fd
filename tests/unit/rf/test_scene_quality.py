import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from pipeline.errors import DataError
from pipeline.rf.measures.scene_quality import decibel_similarity, normalised_error_db


def scene(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def test_error_is_neither_scaled_nor_turned():
    reference = scene((5, 6))
    assert normalised_error_db(1.1 * reference, reference) == pytest.approx(-20)
    assert normalised_error_db(-reference, reference) == pytest.approx(20 * math.log10(2))
    assert normalised_error_db(np.zeros_like(reference), reference) == pytest.approx(0)
    assert normalised_error_db(reference, reference) == -math.inf
    assert math.isnan(normalised_error_db(reference, np.zeros_like(reference)))


def test_similarity_of_clipped_decibels():
    reference, image = scene((20, 24)), scene((20, 24), seed=1)
    reference[3, 4], image[5, 6], image[7, 7] = 1e-6, 0, 1e3
    brightest = np.abs(reference).max()
    a, r = (
        np.clip(20 * np.log10(np.maximum(np.abs(x), 1e-12) / brightest), -30, 0)
        for x in (image, reference)
    )
    expected = structural_similarity(a, r, win_size=7, data_range=30)
    assert decibel_similarity(image, reference, floor_db=-30) == pytest.approx(expected)
    assert decibel_similarity(reference, reference) == pytest.approx(1)
    assert decibel_similarity(1j * reference, reference) == pytest.approx(1)


def test_what_lies_below_the_floor_does_not_count():
    reference = np.zeros((16, 16))
    reference[8, 8] = 1
    noise = 1e-3 * np.abs(scene((16, 16))) / 5
    assert decibel_similarity(reference + noise, reference, floor_db=-40) == pytest.approx(1)
    assert decibel_similarity(reference + noise, reference, floor_db=-90) < 0.7


def test_volume_is_the_mean_of_its_slices():
    reference, image = scene((3, 10, 12)), scene((3, 10, 12), seed=1)
    reference /= np.abs(reference).max(axis=(1, 2), keepdims=True)
    slices = [decibel_similarity(a, r) for a, r in zip(image, reference, strict=True)]
    assert decibel_similarity(image, reference) == pytest.approx(np.mean(slices))


def test_undefined():
    reference = scene((20, 6))
    assert math.isnan(decibel_similarity(reference, reference))
    assert math.isnan(decibel_similarity(np.ones((9, 9)), np.zeros((9, 9))))
    with pytest.raises(DataError, match="floor is 0"):
        decibel_similarity(np.ones((9, 9)), np.ones((9, 9)), floor_db=0)
    for compare in (decibel_similarity, normalised_error_db):
        with pytest.raises(DataError, match=r"image \(9, 8\) and reference \(9, 9\)"):
            compare(np.ones((9, 8)), np.ones((9, 9)))
