"""Seconds and bytes of pairs where the answer is known, and the form that they choose."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from allocations import Allocations
from rf_scenes import mills_cross

from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.transforms import NufftSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import LATENCY, Rates
from pipeline.engine.work import Work
from pipeline.operators.contraction import contraction_flops
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.sub_arrays import Cut, model_name
from pipeline.rf.model.pair_choice import PairAcquisition, choose_pair_model
from pipeline.rf.model.pair_models import PairModels
from pipeline.rf.model.plane_wave import plane_wave_spectrum

HOST = Rates.host(2)


def seconds_by_form(shape, rows, pairs=1, frequencies=1, *, rates=HOST, level="W", together=True):
    acquisition = PairAcquisition(shape, rows, pairs, frequencies)
    found = acquisition.costs(level, coherent=together)
    return {costs.form: costs.product_seconds(shape, rates) for costs in found}


def fastest(shape, rows, pairs, frequencies, *, applications, rates=HOST):
    choice = choose_pair_model(
        {"W": 0.0}, PairAcquisition(shape, rows, pairs, frequencies), model="W", normal="auto",
        coherent=True, force=False, applications=applications, rates=rates, who="scan",
    )  # fmt: skip
    return choice.costs[0].form


def test_one_block_is_faster_by_its_factors():
    """Measured on one core: 0.7 ms by the factors, 2.5 ms as a convolution."""
    assert fastest((256, 256), (32, 64), 1, 1, applications=100) == "factors"


def test_calls_take_their_time_in_small_scenes():
    """Six pairs of 16 frequencies, an image each, on one core: 1.1 ms, and 3.0 by the factors."""
    seconds = seconds_by_form((64, 64), (8, 8), 6, 16, rates=Rates.host(1), together=False)
    assert seconds["pairs"] == pytest.approx(1.1e-3, rel=0.3)
    assert seconds["factors"] == pytest.approx(3.0e-3, rel=0.3)


@pytest.mark.parametrize("rates", [HOST, Rates.device()], ids=["host", "device"])
def test_six_pairs_of_64_frequencies_collapse(rates):
    size = ((128, 128), (32, 64), 6, 64)
    assert fastest(*size, applications=100, rates=rates) == "collapsed"
    if rates is HOST:
        seconds = seconds_by_form(*size)
        assert seconds["factors"] / seconds["collapsed"] > 100


def test_break_even_in_3d():
    shape, rows = (128, 128, 128), (32, 32, 32)
    few, many = (seconds_by_form(shape, rows, 1, frequencies) for frequencies in (3, 12))
    assert few["factors"] < few["collapsed"]
    assert many["collapsed"] < many["factors"]


def test_forms_that_the_phase_permits():
    size = ((64, 48), (8, 9), 6, 16)
    assert list(seconds_by_form(*size)) == ["collapsed", "factors"]
    assert list(seconds_by_form(*size, together=False)) == ["pairs", "factors"]
    assert list(seconds_by_form(*size, level="W+D(fc)")) == ["pairs", "factors"]
    assert list(seconds_by_form(*size, level="W+D")) == ["factors"]
    assert list(seconds_by_form(*size, level="F")) == ["factors"]
    # Narrowband, the frequencies are the rows of a single product.
    assert seconds_by_form(*size, level="N")["factors"] < seconds_by_form(*size)["factors"]
    voxel_phases = seconds_by_form(*size, level="W+D")["factors"]
    assert voxel_phases > seconds_by_form(*size, level="F")["factors"]


@pytest.mark.parametrize("itemsize", [8, 16])
def test_counts_are_those_of_the_operators(itemsize):
    shape, rows, blocks = (12, 9, 10), (4, 3, 1), (2, 5)
    dtype = torch.complex64 if itemsize == 8 else torch.complex128
    machine = Machine(False, 1, itemsize, NufftSettings())
    settings = parse_algorithm({"algorithm": "tikhonov"})

    def parts(level, form, *, coherent=True):
        found = PairAcquisition(shape, rows, *blocks).costs(level, coherent=coherent)
        (costs,) = (each for each in found if each.form == form)
        work = Work.whole(shape, settings, costs, machine, 1)
        return costs.normal(work), costs

    _, by_factors = parts("F", "factors")
    calls = blocks[0] * 3.5 * LATENCY
    flops = (by_factors.product_seconds(shape, HOST) - calls) * HOST.gemm
    assert flops == pytest.approx(2 * math.prod(blocks) * contraction_flops(rows, shape))
    waves = [torch.ones(*blocks, m, dtype=dtype.to_real()) for m in rows]
    collapsed, _ = parts("W", "collapsed")
    spectrum = plane_wave_spectrum(shape, [(waves, None)], dtype=dtype)
    assert collapsed["spectra"] == spectrum.nbytes
    separate, _ = parts("W", "pairs", coherent=False)
    assert separate["spectra"] == 2 * spectrum.nbytes
    phased, _ = parts("W+D(fc)", "pairs")
    assert phased["voxel phases"] == 2 * math.prod(shape) * itemsize


def test_convolutions_do_not_depend_on_frequencies_and_antennas():
    few = seconds_by_form((96, 80), (4, 5), 3, 2)
    many = seconds_by_form((96, 80), (40, 50), 3, 200)
    assert many["collapsed"] == few["collapsed"]
    assert many["factors"] > 20 * few["factors"]


def test_preparation_must_pay():
    size = ((128, 128, 128), (8, 8, 1), 1, 400)
    assert fastest(*size, applications=1) == "factors"
    assert fastest(*size, applications=1000) == "collapsed"


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize(
    ("shape", "elements", "count"), [((40, 36, 48), (8, 6), 33), ((60, 90), (24, 6), 40)]
)
@pytest.mark.parametrize("cut", [Cut(), Cut(4, 2)])
def test_memory_of_a_phase_at_each_frequency_is_predicted(shape, elements, count, even, cut):
    frequencies = np.linspace(9e9, 10e9, count)
    frequencies[3] += 0 if even else 3e6
    scene = Scene(shape, (0.02,) * len(shape), (0, 0, 3.0))
    pair = mills_cross(elements, 0.4, 3.0, (0.1, 0.05))
    rows = (*elements, 1)[: len(shape)]
    parts = {cut: (*(size // by for size, by in zip(elements, cut, strict=True)), 1)[: len(shape)]}
    acquisition = PairAcquisition(shape, rows, 1, count, even=even, part_rows=parts)
    (costs,) = acquisition.costs(model_name("W+D", cut), normal="factors")
    machine = Machine(False, 1, 8, NufftSettings())
    work = Work.whole(shape, parse_algorithm({"algorithm": "tikhonov"}), costs, machine, 1)
    work = replace(work, readout_batch=count)
    predicted = sum(costs._factor_tiles(work).values())
    job = SimpleNamespace(complex=torch.complex64, device="cpu")
    job.on_device = lambda values, dtype: torch.from_numpy(values).to(dtype)
    raw = SimpleNamespace(scene=scene, shape=shape, pairs=1, frequencies=frequencies)
    raw.antennas = lambda index: pair
    with Allocations() as measured:
        blocks = PairModels(job, raw, model_name("W+D", cut)).blocks(0, slice(None))
        image = torch.ones(shape, dtype=torch.complex64)
        blocks.adjoint(blocks(image))
    assert measured.peak <= predicted + image.nbytes
