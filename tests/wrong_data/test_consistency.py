"""Samples, trajectory and maps that do not belong together are seen and named.

What is measured are exact Fourier transforms of ellipses, in coils whose maps are known.
"""

import itertools
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from wrong_data.cases import CASES
from wrong_data.datasets import measure, volumes

from pipeline.config.calibration import CalibrateSettings, CalibrationSettings
from pipeline.config.transforms import NufftSettings
from pipeline.mri.calibration import consistency
from pipeline.mri.calibration.coarse_fit import CoarseGrid, fitted
from pipeline.mri.calibration.consistency import judged
from pipeline.mri.calibration.mistakes import Samples, mistakes
from pipeline.mri.calibration.noise import estimated_noise
from pipeline.stages.calibrate import calibrate
from pipeline.storage.publish import open_published, read_json


def judgement(data, *, with_maps):
    """Return what is found, and the warning; without maps each coil has an image of its own."""
    grid = CoarseGrid.of(data.shape)
    stored = {"noise_level": estimated_noise(data)}
    if with_maps:
        stored["sensitivities"] = volumes(data.maps).astype("complex64")
    job = SimpleNamespace(dataset="scan", methods={"coil_maps": "source"})
    fit = partial(fitted, grid=grid, device="cpu", threads=1)
    return judged(consistency.centre_of(data, stored, grid), fit, job)


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_told_and_named(name):
    case = CASES[name]
    wrong = case.wrong(measure(**case.measured))
    for with_maps, mistake in ((True, case.mistake), (False, case.without_maps)):
        found, warning = judgement(wrong, with_maps=with_maps)
        if mistake is False:
            assert warning is None
            continue
        what = "samples, trajectory and maps" if with_maps else "samples and trajectory"
        assert warning.startswith(f"scan: {what} do not fit together")
        assert "\n" not in warning
        if mistake is None:
            assert "mistakes" not in found
        else:
            assert mistake in found["mistakes"]
            assert "it looks as if" in warning


def test_most_mistakes_have_a_name():
    """Of 55 datasets."""
    named = sum(case.mistake is not None for case in CASES.values())
    assert named >= 0.75 * len(CASES)


def test_the_advice_on_components_holds_whatever_their_order_is_said_to_be():
    stored, axes = np.random.default_rng(0).standard_normal((2, 5, 3)), ("z", "y", "x")
    samples = Samples(stored, np.zeros((1, 2, 5), "c8"), np.ones(1), stored[None], True, {})

    def loaded(order):  # its component i belongs to image axis order[i]
        return stored[..., [order.index(axis) for axis in axes]]

    every = mistakes(samples, "scan", np.zeros(1), np.zeros(2))
    swapped = [each for each in every if each.name.startswith("axes") and "sign" not in each.name]
    assert len(swapped) == 5
    for each, said in itertools.product(swapped, itertools.permutations(axes)):
        instead = {old: new for new, old in re.findall(r"\b([xyz]) for ([xyz])", each.advice)}
        wrong = replace(samples, k=loaded(said))
        right = loaded([instead.get(axis, axis) for axis in said])
        np.testing.assert_array_equal(each.undone(wrong).k, right)


SCANS = [
    {"shape": (60, 70), "readouts": 34, "samples": 128},
    {"shape": (97, 80), "readouts": 8, "samples": 190},
    {"shape": (48, 52), "readouts": 13, "samples": 88, "frames": 3},
    {"shape": (31, 35), "readouts": 55, "samples": 34},
    {"trajectory": "spiral", "shape": (48, 50), "readouts": 8, "samples": 500},
    {"trajectory": "spiral", "shape": (27, 32), "readouts": 1, "samples": 2000},
    {"trajectory": "kooshball", "shape": (12, 15, 14), "readouts": 80, "samples": 28},
    {"trajectory": "stack-of-stars", "shape": (6, 22, 20), "readouts": 8, "samples": 44},
]
COILS_AND_NOISE = [(1, 5.0), (1, 30.0), (2, 20.0), (4, 5.0), (4, 45.0), (8, 10.0), (20, 25.0)]


@pytest.mark.parametrize("scan", SCANS, ids=str)
def test_nothing_is_said_of_good_data(scan):
    """Of 56 datasets, with maps and without."""
    for seed, (coils, decibel) in enumerate(COILS_AND_NOISE):
        good = measure(**scan, coils=coils, snr_db=decibel, seed=seed)
        for with_maps in (True, False):
            found, warning = judgement(good, with_maps=with_maps)
            assert warning is None
            # Not even looked into: the margin is wide.
            assert found["misfit"] is not None
            assert "tried" not in found


def calibrated(folder, data, *, with_maps, **settings):
    """Return the receipt of a calibration."""
    data.write(folder / "raw.json", with_maps=with_maps)
    calibrate(
        settings=CalibrateSettings(
            calibration=CalibrationSettings.model_validate(settings), nufft=NufftSettings()
        ),
        dataset="scan",
        raw=folder / "raw.json",
        calibration=folder / "calibration.json",
        receipt=folder / "calibrate.json",
        device="cpu",
    )
    return read_json(folder / "calibrate.json")


@pytest.mark.parametrize(
    ("change", "with_maps", "mistake"),
    [
        (None, True, None),
        (None, False, None),
        ("conjugated", True, "conjugated samples"),
        ("conjugated", False, None),  # Walsh's maps are conjugated with the samples
        ("a sample late", False, "a sample late"),
        ("alternating readouts", False, "alternating readouts"),
    ],
)
def test_calibrate_warns(tmp_path, capsys, change, with_maps, mistake):
    data = measure()
    if change:
        data = CASES[change].wrong(data)
    receipt = calibrated(tmp_path, data, with_maps=with_maps)
    assert ("warnings" in receipt) == (mistake is not None)
    if mistake:
        assert mistake in receipt["consistency"]["mistakes"]
        assert f"warning: {receipt['warnings'][0]}" in capsys.readouterr().err
    stored = open_published(tmp_path / "calibration.json")
    assert stored.attrs["consistency"] == receipt["consistency"]


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        ("conjugated", {"consistency": False}),
        ("half scale", {"coil_maps": "espirit", "espirit": {"sets": 2, "crop": 0.8}}),
    ],
    ids=["by choice", "of an object that is said to be larger than the field of view"],
)
def test_the_check_can_be_left_out(tmp_path, change, settings):
    wrong = CASES[change].wrong(measure())
    receipt = calibrated(tmp_path, wrong, with_maps=True, **settings)
    assert "warnings" not in receipt
    assert receipt["consistency"] == "none"


def test_without_the_centre_nothing_is_said():
    outer = measure().but(k=lambda k: k[:, :, :20], y=lambda y: y[..., :20])
    assert judgement(outer, with_maps=True) == ({"misfit": None}, None)


def test_readouts_are_drawn_where_there_are_many(monkeypatch):
    monkeypatch.setattr(consistency, "_CENTRE", 400)
    good = measure(readouts=200)
    grid = CoarseGrid.of(good.shape)
    drawn = consistency.centre_of(good, {"noise_level": estimated_noise(good)}, grid)
    assert not drawn.complete
    assert 16 <= len(drawn.k) < 50
    numbers = [np.flatnonzero((good.k[0] == one).all((1, 2)))[0] for one in drawn.k]
    np.testing.assert_array_equal(drawn.y, good.y[0][:, numbers].astype("complex64"))
    found, warning = judgement(good, with_maps=True)
    assert warning is None
    assert found["misfit"] < 0.1
    assert "sign of x" in judgement(CASES["x mirrored"].wrong(good), with_maps=True)[0]["mistakes"]


@pytest.mark.parametrize("matrix", [(24, 25), (47, 48), (160, 97), (16, 31, 33), (256, 7, 100)])
def test_the_grid_has_the_voxel_in_the_middle(matrix):
    grid = CoarseGrid.of(matrix)
    for size, stride, start, count in zip(
        matrix, grid.strides, grid.start, grid.shape, strict=True
    ):
        places = start + stride * np.arange(count)
        assert places[count // 2] == size // 2
        assert 0 <= start < stride
        assert size - stride <= places[-1] < size
