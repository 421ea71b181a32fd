"""What is made by default is about the best that settings can make: a small part of the search."""

import pytest

from benchmarks.defaults import SMALL, search


@pytest.mark.parametrize("row", SMALL, ids=str)
def test_the_default_is_near_the_best_of_a_grid(row):
    ((_, found),) = search(row, ["cg-sense"])
    assert found.ratio < 1.1, found
    assert found.iterations < 30
