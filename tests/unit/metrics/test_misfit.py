"""Which misfits are told: the limits, from both sides."""

import math

import pytest

from pipeline.metrics.misfit import misfit_warning


def block(misfit, expected=None, plausible=0.45, first_image=0):
    made = {"misfit": misfit, "plausible_misfit": plausible, "first_image": first_image}
    return made if expected is None else {**made, "expected_misfit": expected}


@pytest.mark.parametrize(
    ("noise", "plausible", "limit"),
    [
        (None, 0.45, 1.0),  # nobody knows what noise leaves
        (0.0, 0.45, 0.45),
        (0.3, 0.45, math.hypot(1.3 * 0.3, 0.45)),
        (0.7, 0.45, 1.0),
        (0.9, 0.45, 1.3 * 0.9),  # nearly all is noise: zeros may be right
        (0.1, 1.0, 1.0),  # penalties have other aims
    ],
)
def test_the_limit(noise, plausible, limit):
    expected = None if noise is None else [noise]
    assert misfit_warning([block([0.999 * limit], expected, plausible)]) is None
    told = misfit_warning([block([1.001 * limit], expected, plausible)])
    assert f"leaves {1.001 * limit:.2f} of the data unexplained" in told
    assert f"up to {limit:.2f}" in told
    assert ("noise leaves" in told) == (noise is not None)


def test_the_worst_image_is_named_and_the_others_counted():
    blocks = [block([0.1, 0.7], [0.1, 0.1]), block([0.9, 0.2, 0.6], [0.1, 0.1, 0.1], 0.45, 2)]
    told = misfit_warning(blocks)
    assert told.startswith("image 2 leaves 0.90")
    assert "2 of 4 others likewise" in told
    assert misfit_warning([block([0.7], [0.1])]).startswith("the image leaves 0.70")


def test_without_misfits_nothing_is_told():
    assert misfit_warning([]) is None
    assert misfit_warning([{"first_image": 0, "algorithm": "gridding"}]) is None
