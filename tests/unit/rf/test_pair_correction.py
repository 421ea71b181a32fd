"""Phases, delays and gains of pairs, against the ones that were put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.rf.calibration.reference_target import fit_delay, fit_elements, target_response
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import simulate
from pipeline.rf.model.instruments import PairCorrection, by_elements, element_product

SCENE = Scene((1, 1), (1.0, 1.0))
FREQUENCIES = np.linspace(9.5e9, 10.5e9, 17)


@settings(max_examples=50, deadline=None)
@given(
    delay=st.floats(-7.5e-9, 7.5e-9),
    phase=st.floats(-3.14, 3.14),
    uneven=st.booleans(),
)
def test_phase_and_delay_come_back_without_unwrapping(delay, phase, uneven):
    frequencies = FREQUENCIES + (3e6 * np.arange(17) ** 2 if uneven else 0)
    response = 0.3 * np.exp(1j * (phase - 2 * np.pi * frequencies * delay))
    fit = fit_delay(response, frequencies, largest=None)
    assert abs(fit.delay - delay) < 1e-14
    assert fit.coherence == pytest.approx(1, abs=1e-9)
    again = np.exp(1j * (fit.phase - 2 * np.pi * frequencies * fit.delay))
    np.testing.assert_allclose(again, response / 0.3, atol=1e-4)


def test_noise_moves_the_delay_no_further_than_the_cramer_rao_bound():
    generator = np.random.default_rng(3)
    deviation, errors = 0.2, []
    for _ in range(200):
        clean = np.exp(1j * (1.0 - 2 * np.pi * FREQUENCIES * 2e-9))
        noise = generator.standard_normal((17, 2)) @ [1, 1j] * deviation / np.sqrt(2)
        errors.append(fit_delay(clean + noise, FREQUENCIES, largest=None).delay - 2e-9)
    offsets = 2 * np.pi * (FREQUENCIES - FREQUENCIES.mean())
    bound = deviation / np.sqrt(2 * np.sum(offsets**2))
    assert 0.8 * bound < np.std(errors) < 1.2 * bound


def test_a_single_frequency_has_a_phase_only():
    fit = fit_delay(np.array([2j]), np.array([1e10]), largest=None)
    assert (fit.delay, fit.phase) == (0.0, pytest.approx(np.pi / 2))


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ np.array([1, 1j])


def planar_pair():
    generator = np.random.default_rng(1)
    return Pair(
        generator.uniform(-1, 1, (6, 3)) - [0, 0, 9],
        generator.uniform(-1, 1, (10, 3)) - [2, 1, 9],
        tx_grid=(2, 3),
        rx_grid=(5, 2),
    )


def test_the_response_of_a_target_is_the_exact_sum():
    pair, position = planar_pair(), np.array([0.3, -0.2, 0.1])
    exact = simulate([position], [1.0], pair, FREQUENCIES)
    found = target_response(pair, FREQUENCIES, position, SCENE, None)
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    # From weights that say what the arrays' centres measure: the same but for their size.
    ranges = [np.linalg.norm(centre) for centre in pair.centres]
    k = 2 * np.pi * FREQUENCIES / 299_792_458.0
    weights = np.exp(-1j * k * sum(ranges)) / ((4 * np.pi) ** 2 * np.prod(ranges))
    found = target_response(pair, FREQUENCIES, position, SCENE, 5 * weights)
    np.testing.assert_allclose(found, 5 * exact, rtol=1e-9)


def test_gains_of_elements_come_back():
    pair = planar_pair()
    tx, rx = random(6) + 3, random(10, seed=1) + 3j
    product = element_product(pair, tx, rx)
    for (i1, i2), (j1, j2) in [((0, 2), (4, 1)), ((1, 0), (2, 0))]:
        assert product[i1 * 5 + j1, i2 * 2 + j2] == tx[i1 * 3 + i2] * rx[j1 * 2 + j2]
    measured = by_elements(pair, product)
    np.testing.assert_array_equal(measured, np.multiply.outer(tx, rx))
    found_tx, found_rx, common = fit_elements(measured, "pair 0")
    for gains, truth in ((found_tx, tx), (found_rx, rx)):
        assert np.mean(np.abs(gains) ** 2) == pytest.approx(1)
        np.testing.assert_allclose(gains / gains[0], truth / truth[0], rtol=1e-9)
    assert common == pytest.approx(np.linalg.norm(tx) * np.linalg.norm(rx) / np.sqrt(60))
    with pytest.raises(DataError, match=r"pair 0: .*leave `element_gains` out"):
        fit_elements(np.zeros((6, 10), complex), "pair 0")


def test_the_response_says_what_measurements_were_multiplied_by():
    correction = PairCorrection(np.array([0.1, 0.7]), 3e-9, random(6), None)
    found = correction.response(1, FREQUENCIES, planar_pair())
    clock = np.exp(1j * (0.7 - 2 * np.pi * FREQUENCIES * 3e-9))
    expected = clock[:, None, None] * element_product(planar_pair(), random(6), None)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert correction.record()["gain_tx"][2] == [random(6)[2].real, random(6)[2].imag]
