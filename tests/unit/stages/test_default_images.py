"""What is made by default is about the best that settings can make: a small part of the search."""

import pytest

from benchmarks.defaults import SMALL, grids, search


@pytest.mark.parametrize("row", SMALL, ids=str)
def test_the_default_is_near_the_best_of_a_grid(row):
    ((_, found),) = search(row, ["cg-sense"])
    assert found.ratio < 1.1, found
    assert found.iterations < 30


@pytest.mark.parametrize("row", SMALL[2:], ids=str)
def test_the_default_weight_of_a_penalty_is_near_the_best_of_a_grid(row):
    searched = grids(sparsities=(0.005, 0.01, 0.02, 0.04))
    algorithms = ["fista tv", "fista wavelet", "admm tv"]
    for name, found in search(row, algorithms, searched=searched):
        assert found.ratio < 1.1, (name, found)
