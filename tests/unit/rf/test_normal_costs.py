"""The choice of the normal operator's form where the answer is known, and its counts."""

import math

import pytest
import torch

from pipeline.operators.kronecker import Kronecker
from pipeline.rf.model.normal_costs import Rates, normal_costs
from pipeline.rf.model.plane_wave import plane_wave_spectrum

HOST = Rates.host(2)


def costs_by_form(*arguments, rates=HOST, **keywords):
    return {cost.form: cost for cost in normal_costs(*arguments, rates=rates, **keywords)}


def fastest(costs, *, applications):
    return min(costs, key=lambda cost: cost.total_seconds(applications)).form


def test_one_block_is_faster_by_its_factors():
    """Measured on one core: 0.7 ms by the factors, 2.5 ms as a convolution."""
    costs = normal_costs((256, 256), (32, 64), pairs=1, frequencies=1, rates=HOST)
    assert fastest(costs, applications=100) == "factors"


def test_calls_take_their_time_in_small_scenes():
    """Six pairs of 16 frequencies, an image each, on one core: 1.1 ms, and 3.0 by the factors."""
    costs = costs_by_form((64, 64), (8, 8), pairs=6, frequencies=16, rates=Rates.host(1))
    assert costs["pairs"].seconds == pytest.approx(1.1e-3, rel=0.3)
    assert costs["factors"].seconds == pytest.approx(3.0e-3, rel=0.3)


@pytest.mark.parametrize("rates", [HOST, Rates.device()], ids=["host", "device"])
def test_six_pairs_of_64_frequencies_collapse(rates):
    costs = costs_by_form((128, 128), (32, 64), pairs=6, frequencies=64, rates=rates)
    assert fastest(costs.values(), applications=100) == "collapsed"
    if rates is HOST:
        assert costs["factors"].seconds / costs["collapsed"].seconds > 100
    assert costs["pairs"].flops == 6 * costs["collapsed"].flops


def test_break_even_in_3d():
    """At 26 blocks for transforms of the whole padded array, where 128^3 take 0.23 s."""
    shape, rows = (128, 128, 128), (32, 32, 32)
    one = costs_by_form(shape, rows, pairs=1, frequencies=1)
    slow = Rates(gemm=1.5e11, fft=one["collapsed"].flops / 0.23, bandwidth=1e15, latency=0)

    def faster(frequencies, rates):
        costs = costs_by_form(shape, rows, pairs=1, frequencies=frequencies, rates=rates)
        return costs["collapsed"].seconds < costs["factors"].seconds

    assert not faster(20, slow)
    assert faster(32, slow)
    # Ours leave out what is zero and what is cropped, and pay earlier.
    assert not faster(3, HOST)
    assert faster(12, HOST)


def test_forms_that_the_phase_permits():
    size = {"shape": (64, 48), "rows": (8, 9), "pairs": 6, "frequencies": 16}
    assert list(costs_by_form(**size)) == ["collapsed", "pairs", "factors"]
    by_pair = costs_by_form(**size, voxel_phase="pair")
    assert list(by_pair) == ["pairs", "factors"]
    by_frequency = costs_by_form(**size, voxel_phase="frequency")
    assert list(by_frequency) == ["factors"]
    assert list(costs_by_form(**size, plane_waves=False)) == ["factors"]
    plain = costs_by_form(**size)
    voxels, complex_multiply = 64 * 48, 6
    assert by_pair["pairs"].flops - plain["pairs"].flops == 6 * 2 * complex_multiply * voxels
    more = by_frequency["factors"].flops - plain["factors"].flops
    assert more == 6 * 16 * 2 * complex_multiply * voxels


def test_counts_are_those_of_the_operators():
    shape, rows, blocks = (12, 9, 10), (4, 3, 1), (2, 5)
    costs = costs_by_form(shape, rows, pairs=2, frequencies=5)
    factors = [torch.ones(*blocks, m, n).cfloat() for m, n in zip(rows, shape, strict=True)]
    kronecker = Kronecker(factors)
    assert costs["factors"].flops == 2 * kronecker.flops
    assert costs["factors"].held_bytes == sum(factor.nbytes for factor in kronecker.factors)
    waves = [torch.ones(*blocks, m) for m in rows]
    assert costs["collapsed"].held_bytes == plane_wave_spectrum(shape, waves).nbytes
    separate = plane_wave_spectrum(shape, waves, separate=True)
    assert costs["pairs"].held_bytes == separate.nbytes
    with_phase = costs_by_form(shape, rows, pairs=2, frequencies=5, voxel_phase="pair")
    phases = 2 * math.prod(shape) * 8
    assert with_phase["pairs"].held_bytes == separate.nbytes + phases
    double = costs_by_form(shape, rows, pairs=2, frequencies=5, itemsize=16)
    for form, cost in costs.items():
        assert double[form].held_bytes == 2 * cost.held_bytes
        calls = {"collapsed": 1, "pairs": 2, "factors": 2 * 3.5}[form]
        latency = HOST.latency * calls
        assert double[form].seconds - latency == pytest.approx(2 * (cost.seconds - latency))


def test_convolutions_do_not_depend_on_frequencies_and_antennas():
    few = costs_by_form((96, 80), (4, 5), pairs=3, frequencies=2)
    many = costs_by_form((96, 80), (40, 50), pairs=3, frequencies=200)
    for form in ("collapsed", "pairs"):
        assert many[form].seconds == few[form].seconds
        assert many[form].setup_seconds > few[form].setup_seconds
    assert many["factors"].seconds > 20 * few["factors"].seconds


def test_preparation_must_pay():
    costs = costs_by_form((128, 128, 128), (8, 8, 1), pairs=1, frequencies=400)
    assert costs["collapsed"].seconds < costs["factors"].seconds
    assert fastest(costs.values(), applications=1) == "factors"
    assert fastest(costs.values(), applications=1000) == "collapsed"
