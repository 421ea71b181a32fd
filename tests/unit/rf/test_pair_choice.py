"""Which model of the wavefronts is taken, and which form of its normal operator."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.engine.rates import Rates
from pipeline.errors import DataError, PlanError
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.geometry.sub_arrays import Cut
from pipeline.rf.model.back_projection_costs import BackProjectionCosts
from pipeline.rf.model.pair_choice import PairAcquisition, choose_pair_model

SIX_PAIRS = PairAcquisition((128, 128), (32, 64), pairs=6, frequencies=64)
ERRORS = {"W": 0.5, "W+D(fc)": 0.05, "W+D": 0.01, "F": 0.02, "N": 0.4}


def choose(errors=ERRORS, acquisition=SIX_PAIRS, **changed):
    settings = {"model": "auto", "normal": "auto", "coherent": True, "force": False}
    settings |= {"applications": 100, "rates": Rates.host(2), "who": "scan"}
    return choose_pair_model(errors, acquisition, **settings | changed)


def forms(choice):
    return [cost.form for cost in choice.costs]


def test_the_cheapest_model_that_is_right_to_20_db_is_taken():
    assert choose().model == "W+D(fc)"
    assert choose({**ERRORS, "W": 0.09}).model == "W"
    # Without a good collapsing model: Fresnel factors, which need no phase at each voxel.
    assert choose({**ERRORS, "W+D(fc)": 0.11}).model == "F"
    assert choose({"W": 0.3, "W+D": 0.2}).model == "W+D"  # none is good: the best


def test_arrays_are_split_where_that_pays():
    split = {**ERRORS, "W+D(fc)": 0.3, "W+D": 0.2, "F": 0.25}
    split |= {"W+D(fc) 2x1": 0.15, "W+D(fc) 2x2": 0.08, "W+D(fc) 4x2": 0.04}
    split |= {"W+D 1x2": 0.09, "W+D 2x2": 0.05, "exact": 1e-3}
    rows = {Cut(*cut): (32 // cut[0], 64 // cut[1]) for cut in ((1, 2), (2, 1), (2, 2), (4, 2))}
    size = {"part_rows": rows, "projection": BackProjectionCosts.of(
        Scene((128, 128), (0.1, 0.1)), 32 * 64, np.linspace(180, 200, 64), tolerance=1e-3
    )}  # fmt: skip
    acquisition = replace(SIX_PAIRS, **size)
    found = choose(split, acquisition)
    # Four kernels a pair, rather than two phases at each frequency or exact paths.
    assert (found.model, found.warning) == ("W+D(fc) 2x2", "")
    assert [cost.columns["model"] for cost in found.costs] == ["W+D(fc) 2x2"] * 2
    assert choose(split, acquisition, allowed_error=0.05).model == "W+D(fc) 4x2"
    assert choose(split, acquisition, allowed_error=0.01).model == "exact"
    assert choose(split, acquisition, model="W+D").model == "W+D 1x2"
    assert choose(split, acquisition, model="W+D", force=True).model == "W+D"
    # Kernels of parts do not add up where each pair has an image of its own.
    apart = choose(split, acquisition, coherent=False)
    assert forms(apart) == ["factors"]
    # An antenna or two, and many frequencies: along exact paths.
    few = replace(acquisition, rows=(2, 1), frequencies=2000)
    few = replace(few, part_rows=dict.fromkeys(rows, (1, 1)), projection=BackProjectionCosts.of(
        Scene((128, 128), (0.1, 0.1)), 2, np.linspace(180, 200, 2000), tolerance=1e-3
    ))  # fmt: skip
    assert choose(split, few, normal="factors").model == "exact"


def test_the_fastest_form_comes_first():
    assert forms(choose(model="W", force=True)) == ["collapsed", "factors"]
    assert forms(choose()) == ["pairs", "factors"]
    # One block: a convolution takes longer than forward and adjoint through two small factors.
    one = PairAcquisition((256, 256), (8, 8), pairs=1, frequencies=1)
    assert forms(choose({"W": 0.0}, one)) == ["factors", "collapsed"]


def test_measured_rates_decide_the_form_and_not_the_model():
    one = PairAcquisition((256, 256), (8, 8), pairs=1, frequencies=1)
    slow_products = Rates.host(2).model_copy(update={"gemm": 1e9})
    choice = choose({"W": 0.0, "F": 0.0}, one, rates=slow_products)
    assert (choice.model, forms(choice)) == ("W", ["collapsed", "factors"])
    assert choose({"W": 0.0, "F": 0.0}, one).model == "W"


def test_settings_restrict_models_and_forms():
    assert forms(choose(normal="factors")) == ["factors"]
    assert choose({**ERRORS, "W+D(fc)": 0.2}, normal="toeplitz").model == "W+D(fc)"
    # An image for each pair needs a kernel for each pair.
    assert forms(choose(model="W", force=True, coherent=False)) == ["pairs", "factors"]
    with pytest.raises(PlanError, match="scan: the model F has no Toeplitz kernels"):
        choose(model="F", normal="toeplitz")
    with pytest.raises(PlanError, match="does not allow the model UPA; it allows W, "):
        choose(model="UPA")


def test_errors_are_judged():
    assert choose().warning == ""
    said = r"scan: the model W leaves -13\.6 dB .*The model W\+D\(fc\) would leave -26\.0 dB"
    with_warning = choose({**ERRORS, "W": 0.21}, model="W")
    assert re.search(said, with_warning.warning)
    with pytest.raises(PlanError, match=r"W leaves -6\.0 dB.*W\+D\(fc\).*or set `force_model"):
        choose(model="W")
    assert "-6.0 dB" in choose(model="W", force=True).warning
    with pytest.raises(PlanError, match="No other model serves"):
        choose({"W": 0.7, "F": 0.6})
    strict = choose({**ERRORS, "W": 0.08}, allowed_error=0.06)
    assert (strict.model, strict.warning) == ("W+D(fc)", "")
    assert choose({**ERRORS, "W": 0.08}).model == "W"
    assert choose({"W": 0.4}, allowed_error=0.5).warning == ""


def test_stored_factors_serve_where_positions_are_not_known():
    stored = PairAcquisition((128, 128), (32, 64), pairs=6, frequencies=64, stored=True)
    choice = choose({}, stored)
    assert (choice.model, forms(choice), choice.error) == ("stored", ["factors"], None)
    assert "not known" in choice.warning
    waves = replace(stored, wave_vectors=True)
    assert forms(choose({}, waves)) == ["collapsed", "factors"]
    assert choose(ERRORS, waves, model="stored").model == "stored"
    with pytest.raises(DataError, match="run `calibrate` again"):
        choose({})
