"""Pairs of arrays and frequencies."""

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.rf.geometry.antennas import (
    Pair,
    centre_wavenumber,
    checked_frequencies,
    checked_spectrum,
    green,
    wavenumbers,
)


def test_measurements_of_crossed_and_planar_arrays():
    assert Pair(np.zeros((3, 3)), np.ones((5, 3))).measurement_shape == (3, 5)
    pair = Pair(np.zeros((6, 3)), np.ones((20, 3)), tx_grid=(2, 3), rx_grid=(4, 5))
    assert pair.measurement_shape == (8, 15)
    assert Pair(np.zeros((7, 3)), np.ones((7, 3)), paired=True).measurement_shape == (7, 1)
    pair.check_measurement((9, 8, 15), "scan")
    with pytest.raises(DataError, match=r"scan: .*\(15, 8\).*6 trans.*20 rec.*\(8, 15\)"):
        pair.check_measurement((9, 15, 8), "scan")


@pytest.mark.parametrize(
    ("tx", "rx", "options", "found"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), {}, r"tx.*\(3, 2\)"),
        (np.zeros((3, 3)), np.full((2, 3), np.inf), {}, "rx position 0"),
        (np.zeros((3, 3)), np.zeros((4, 3)), {"rx_grid": (3, 2)}, r"rx_grid \(3, 2\).*4 positions"),
        (np.zeros((3, 3)), np.zeros((4, 3)), {"paired": True}, "3 transmitters and 4 receivers"),
    ],
    ids=["axes", "infinite", "grid", "paired"],
)
def test_refused_pairs(tx, rx, options, found):
    with pytest.raises(DataError, match=found):
        Pair(tx, rx, **options)


@pytest.mark.parametrize(
    ("frequencies", "found"),
    [
        ([8.0, 9.0, 10.0], "8 to 10.*Hz"),
        ([9e9, 8e9], "8000000000 Hz follows 9000000000 Hz"),
        ([9e9, 9e9], "increase"),
        ([-9e9, 9e9], "positive"),
        ([9e9, np.nan], "finite"),
        ([], "of shape"),
    ],
    ids=["GHz", "decreasing", "repeated", "negative", "nan", "none"],
)
def test_refused_frequencies(frequencies, found):
    with pytest.raises(DataError, match=found):
        checked_frequencies(frequencies)


def test_wavenumbers_and_spectrum():
    np.testing.assert_allclose(wavenumbers([299_792_458.0]), 2 * np.pi)
    assert centre_wavenumber([8e9, 9e9, 12e9]) == wavenumbers([10e9])[0]
    with pytest.raises(DataError, match=r"\(3,\); it needs 2"):
        checked_spectrum([1, 2, 3], 2)


def test_green_in_two_dimensions_far_away():
    """``-(j/4) sqrt(2 / (pi k R)) exp(-j (k R - pi/4))``: so the phase falls with distance."""
    k, distance = np.array([200.0]), np.array([50.0])
    argument = k * distance
    far = -0.25j * np.sqrt(2 / (np.pi * argument)) * np.exp(-1j * (argument - np.pi / 4))
    np.testing.assert_allclose(green(k, distance, 2), far, rtol=2e-5)
