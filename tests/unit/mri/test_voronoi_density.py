import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.mri.calibration.radial_density import radial_weights
from pipeline.mri.calibration.voronoi_density import voronoi_weights
from pipeline.mri.generators.radial import golden_radial
from pipeline.mri.generators.winding import spiral


def test_spokes_have_the_weights_that_are_known_in_closed_form():
    k = golden_radial(55, 64)
    found, exact = voronoi_weights(k, "scan"), radial_weights(k)
    inner = (np.linalg.norm(k, axis=-1) < 0.95 * np.pi) & (np.linalg.norm(k, axis=-1) > 0.1)
    np.testing.assert_allclose(found[inner], exact[inner], rtol=0.02)


def test_a_lattice_counts_alike_also_at_its_rim():
    lines = (2 * np.pi / 9 * (np.arange(9) - 4), 2 * np.pi / 12 * (np.arange(12) - 6))
    k = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    np.testing.assert_allclose(voronoi_weights(k, "scan"), 1 / (9 * 12), rtol=1e-6)


def test_all_together_are_what_was_measured():
    for arms, samples in ((8, 500), (1, 3000)):
        area = voronoi_weights(spiral(arms, samples), "scan").sum() * (2 * np.pi) ** 2
        assert area == pytest.approx(np.pi**3, rel=0.03)  # a disc of radius pi


def test_repeated_samples_share_a_cell():
    k = golden_radial(13, 40)
    once = voronoi_weights(k, "scan")
    thrice = voronoi_weights(np.concatenate([k, k + 1e-8, k]), "scan").reshape(3, *once.shape)
    np.testing.assert_allclose(thrice, np.stack([once] * 3) / 3, rtol=1e-5)


@pytest.mark.parametrize(
    "k", [np.zeros((2, 3, 2)), np.stack([np.linspace(-1, 1, 9)] * 2, -1)[None], np.eye(4, 2)[None]]
)
def test_what_has_no_cells(k):
    with pytest.raises(DataError, match=r"scan: .*set calibration.density to another method"):
        voronoi_weights(k, "scan")
