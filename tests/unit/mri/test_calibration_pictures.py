"""The report's pictures of a calibration: which there are, and their numbers."""

import numpy as np
import pytest
from acquisitions import complex_normal, write_attributes
from calibrating import calibrated_in
from coil_measurements import measure

from pipeline.mri.arrays import ARRAYS
from pipeline.mri.generators.radial import golden_radial
from pipeline.mri.pictures import shown_calibration
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import published_store

SHAPE, COILS = (36, 40), 5


@pytest.fixture
def shown(tmp_path):
    k = golden_radial(21, 80)
    generator = np.random.default_rng(0)
    mixture = complex_normal(generator, (COILS, COILS)) + 3 * np.eye(COILS)
    arrays = {
        "trajectory": k[None],
        "kspace": measure(SHAPE, [k], coils=COILS).signals[0][None],
        "noise": mixture @ complex_normal(generator, (COILS, 200)),
    }
    with published_store(tmp_path / "raw.json") as group:
        write_attributes(group, SHAPE, (2e-3, 3e-3))
        group.attrs["pattern"] = "radial"
        for name, values in arrays.items():
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)

    def of(**settings):
        settings = {"consistency": False, **settings}
        calibrated_in(tmp_path, **settings)
        raw = RawData.open(tmp_path / "raw.json")
        return shown_calibration(raw, Calibration.open(tmp_path / "calibration.json"))

    return of


def test_everything_that_was_found_is_shown(shown):
    found = shown(virtual_coils=3, delays="ring")
    (figure,) = found.figures
    assert [title for title, _ in figure.rows] == ["magnitude", "phase"]
    assert [len(row) for _, row in figure.rows] == [3, 3]
    assert (figure.rows[0][1][0].width, figure.rows[0][1][0].height) == (40 * 3e-3, 36 * 2e-3)
    assert "Coil maps (espirit)" in figure.caption
    (panels,) = found.panels
    labels = " ".join(panel.label for panel in panels.panels)
    for what in ("as acquired", "as mixed", "components", "density weights", "moved"):
        assert what in labels
    assert "3 of 5 virtual coils" in panels.caption
    assert "correlated by up to 0." in panels.caption
    assert "(radial)" in panels.caption


def test_nothing_is_shown_where_nothing_was_found(shown):
    found = shown(coil_maps="none", density="none", whitening="none")
    assert found.figures == ()
    assert found.panels == ()
