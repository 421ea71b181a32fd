import math

import numpy as np
import pytest
from scipy.signal.windows import hann, taylor
from scipy.special import sici

from pipeline.errors import DataError
from pipeline.rf.measures.point_response import Cut, lobe_figures, point_response

SPACING = (0.05, 0.02)


def sinc_energy(cells):
    """Integral of sinc(x)^2 over [-cells, cells]."""
    return 2 / np.pi * (sici(2 * np.pi * cells)[0] - np.sin(np.pi * cells) ** 2 / (np.pi * cells))


def sinc_islr_db(cells):
    return 10 * math.log10((sinc_energy(cells) - sinc_energy(1)) / sinc_energy(1))


def axis_response(window, size, position, first_line):
    """A point seen through a window of spectral lines anywhere on the circle of frequencies."""
    lines = first_line + np.arange(len(window))
    offsets = np.arange(size) - position
    return np.exp(2j * np.pi * np.outer(offsets, lines) / size) @ window


# Half-power width in resolution cells, and highest side lobe [1].
# [1] F. J. Harris, Proc. IEEE 66, 51-83 (1978), table 1.
WINDOWS = {
    "rectangular": (np.ones(200), 0.886, -13.26),
    "Hann": (hann(201), 1.4406, -31.47),
    "Taylor": (taylor(400, nbar=4, sll=35), 1.183, -35.0),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("first_line", [-100, 377], ids=["about zero", "wrapped carrier"])
def test_known_windows(name, first_line):
    window, cells, side_lobe = WINDOWS[name]
    size = 600
    image = np.multiply.outer(
        axis_response(np.ones(40), 64, 20.3, 5), axis_response(window, size, 301.37, first_line)
    )
    response = point_response(image, SPACING, (20, 301), extent=1.0)
    np.testing.assert_allclose(response.voxel, (20.3, 301.37), atol=2e-3)
    np.testing.assert_allclose(response.magnitude, 40 * window.sum(), rtol=2e-4)
    lobes = response.lobes[1]
    bandwidth = len(window) / (size * SPACING[1])
    assert lobes.width * bandwidth == pytest.approx(cells, rel=6e-3)
    assert lobes.pslr_db == pytest.approx(side_lobe, abs=0.25 if name == "Taylor" else 0.02)
    if name == "rectangular":
        assert lobes.islr_db == pytest.approx(sinc_islr_db(bandwidth), abs=0.01)
    assert lobes.extent == pytest.approx((1.0, 1.0), abs=1e-3)


@pytest.mark.parametrize("extent", [1.0, 2.5])
def test_sinc_at_an_angle(extent):
    """Closed form, on a grid that is turned against it and does not repeat."""
    angle, bandwidths, centre = np.deg2rad(50), np.array([3.5, 2.4]), np.array([0.513, -0.201])
    directions = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    steps = np.array(SPACING)
    shape = np.array([161, 402])
    positions = np.stack(
        np.meshgrid(*[(np.arange(n) - n // 2) * d for n, d in zip(shape, steps, strict=True)],
                    indexing="ij"), axis=-1
    )  # fmt: skip
    along = (positions - centre) @ directions.T
    image = np.prod(np.sinc(along * bandwidths), axis=-1) * np.exp(40j * positions.sum(-1))
    response = point_response(
        image, SPACING, centre / steps + shape // 2, extent=extent, directions=3 * directions
    )
    assert response.magnitude == pytest.approx(1, abs=2e-4)
    for lobes, bandwidth in zip(response.lobes, bandwidths, strict=True):
        assert lobes.width * bandwidth == pytest.approx(0.88589, rel=1e-3)
        assert lobes.pslr_db == pytest.approx(-13.2615, abs=0.01)
        assert lobes.islr_db == pytest.approx(sinc_islr_db(extent * bandwidth), abs=0.02)
    for cut, bandwidth in zip(response.cuts, bandwidths, strict=True):
        np.testing.assert_allclose(
            np.abs(cut.values), np.abs(np.sinc(cut.offsets * bandwidth)), atol=2e-4
        )


def test_three_axes_and_a_neighbour_within_reach():
    sizes, lines = (48, 40, 60), (24, 30, 20)
    places = (20.2, 22.7, 30.4)
    one, other = (
        np.einsum(
            "i,j,k->ijk",
            *[
                axis_response(np.ones(count), size, place + shift, 3)
                for count, size, place in zip(lines, sizes, places, strict=True)
            ],
        )
        for shift in (0, 12)
    )
    image = one + 3 * other
    response = point_response(image, (1, 1, 1), (21, 22, 30), extent=5)
    np.testing.assert_allclose(response.voxel, places, atol=0.05)
    for lobes, size, count in zip(response.lobes, sizes, lines, strict=True):
        assert lobes.width * count / size == pytest.approx(0.886, rel=0.03)


def test_extent_ends_with_the_image():
    image = axis_response(np.ones(20), 64, 10, 0)
    lobes = point_response(image, (0.5,), (10,), extent=20).lobes[0]
    assert lobes.extent == pytest.approx((5, 20), abs=0.02)


def test_too_short_for_side_lobes():
    image = axis_response(np.ones(20), 64, 10, 0)
    lobes = point_response(image, (0.5,), (10,), extent=1.0).lobes[0]
    assert np.isnan([lobes.pslr_db, lobes.islr_db]).all()
    assert lobes.width > 0
    lobes = point_response(image, (0.5,), (10,), extent=0.1).lobes[0]
    assert math.isnan(lobes.width)


def test_cut_by_hand():
    """Half power of a triangle of power 4 at offsets +-1; side lobes of power 1 and 2."""
    power = np.array([0, 1, 0, 2, 4, 2, 0, 2, 0], float)
    figures = lobe_figures(Cut(np.arange(-4.0, 5), np.sqrt(power).astype(complex)))
    assert figures.width == pytest.approx(2)
    assert figures.pslr_db == pytest.approx(10 * math.log10(2 / 4))
    assert figures.islr_db == pytest.approx(10 * math.log10(3 / 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel": (5, 70)}, r"voxel \[5.0, 70.0\] is outside the image of shape \(8, 64\)"),
        ({"voxel": (5,)}, "a voxel of 1 indices"),
        ({"spacing": (1, 1, 1)}, "3 spacings"),
        ({"directions": [[0, 0]]}, "not all zero"),
        ({"directions": [1, 0]}, "vectors of 2 components"),
    ],
)
def test_what_cannot_be_measured(arguments, message):
    with pytest.raises(DataError, match=message):
        point_response(
            np.ones((8, 64)), **{"spacing": (1, 1), "voxel": (4, 4), "extent": 3, **arguments}
        )


def test_zero_image():
    response = point_response(np.zeros((16, 16)), (1, 1), (4, 4), extent=3)
    assert response.magnitude == 0
    assert math.isnan(response.lobes[0].pslr_db)
