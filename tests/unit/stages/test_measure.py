"""The measure stage on a made-up results folder."""

import json

import numpy as np
import pandas as pd
import pytest
from reported import measure_run
from results_tree import write_images, write_run

from pipeline.errors import DataError
from pipeline.metrics.tables import read_table
from pipeline.storage.publish import read_json, write_json


def scaled_nrmse(image, reference):
    """Relative error after the factor that the textbook's least squares gives."""
    factor = np.linalg.lstsq(image.reshape(-1, 1), reference.ravel(), rcond=None)[0][0]
    return np.linalg.norm(factor * image - reference) / np.linalg.norm(reference)


def measured(run, frames_per_image=1):
    measure_run(run, frames_per_image)
    table = read_table(run.metrics)
    return table[table["kind"] == "job"], table[table["kind"] == "image"].set_index("frame")


def test_rows(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=5, blocks=2)
    jobs, images = measured(run)
    assert list(jobs["stage"]) == ["plan", "reconstruct", "reconstruct", "merge"]
    assert list(images.index) == [0, 1, 2, 3, 4]
    assert list(images["block"]) == ["0000", "0000", "0000", "0001", "0001"]
    assert set(images["dataset"]) == {"head"}
    for frame in range(5):
        a, r = np.abs(run.images[frame]), np.abs(run.reference[frame])
        assert images["nrmse"][frame] == pytest.approx(scaled_nrmse(a, r), rel=1e-6)
        assert images["correlation"][frame] == pytest.approx(
            np.corrcoef(a.ravel(), r.ravel())[0, 1], rel=1e-6
        )
        assert images["nrmse_complex"][frame] == pytest.approx(
            scaled_nrmse(run.images[frame], run.reference[frame]), rel=1e-6
        )
    assert images["iterations"][4] == 12
    assert images["final_residual"][4] == pytest.approx(0.45**12 * 1.4)


def test_misfits_are_those_of_each_image(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=5, blocks=2)
    _, images = measured(run)
    assert list(images["misfit"]) == pytest.approx([0.04, 0.041, 0.042, 0.043, 0.044])
    assert set(images["expected_misfit"]) == {0.02}
    assert set(images["misfit_resolution"]) == {0.007}
    assert "warnings" not in json.loads(run.receipt.read_text())


def test_an_implausible_misfit_is_told(tmp_path, capsys):
    run = write_run(tmp_path, shape=(12, 10), frames=5, blocks=2, misfit=0.8)
    measured(run)
    (told,) = json.loads(run.receipt.read_text())["warnings"]
    assert told.startswith("head/cg-sense: image 4 leaves 0.80 of the data unexplained")
    assert "(and 4 of 4 others likewise)" in told
    assert f"warning: {told}" in capsys.readouterr().err


def test_warnings_of_blocks_reach_the_receipt(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=5, blocks=2, misfit=0.8)
    path = run.receipts / "reconstruct-0000.json"
    write_json(path, {**read_json(path), "warnings": ["of a block"]})
    measured(run)
    told = json.loads(run.receipt.read_text())["warnings"]
    assert told[0] == "of a block"
    assert len(told) == 2


def test_parquet_is_the_same_table(tmp_path):
    run = write_run(tmp_path)
    measured(run)
    parquet = pd.read_parquet(run.metrics.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(parquet, read_table(run.metrics), rtol=1e-8)


def test_joined_frames_are_compared_with_the_mean_magnitude(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=5, joined=2)
    _, images = measured(run, frames_per_image=2)
    assert list(images["first_frame"]) == [0, 2, 4]
    assert list(images["frames"]) == [2, 2, 1]
    expected = scaled_nrmse(np.abs(run.images[1]), np.abs(run.reference[2:4]).mean(axis=0))
    assert images["nrmse"][1] == pytest.approx(expected, rel=1e-6)
    assert pd.isna(images["nrmse_complex"][1])
    assert images["reference"][1] == "mean magnitude of frames 2 to 3"


def test_all_frames_joined(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=3, joined=3)
    _, images = measured(run, frames_per_image="all")
    assert images["frames"][0] == 3


def test_without_reference(tmp_path):
    _, images = measured(write_run(tmp_path, with_reference=False))
    assert pd.isna(images["nrmse"][0])
    assert pd.isna(images["reference"][0])
    assert images["maximum"][0] > 0


def test_reference_on_another_matrix(tmp_path):
    run = write_run(tmp_path, shape=(12, 10))
    coarse = write_run(tmp_path / "coarse", shape=(8, 8), level=0).images
    write_images(
        run.image, coarse, dataset="head", reconstruction="cg-sense", voxel_size=(0.003,) * 3
    )
    _, images = measured(run)
    assert images["reference"][0] == "frame 0, Fourier-resampled from 12 x 10"
    assert images["correlation"][0] > 0.8


def test_receipt_keeps_the_residuals(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=3, blocks=2)
    measured(run)
    receipt = json.loads(run.receipt.read_text())
    assert [block["block"] for block in receipt["blocks"]] == ["0000", "0001"]
    assert len(receipt["blocks"][0]["residuals"][0]) == 12


def test_nan_stops_and_leaves_nothing(tmp_path):
    run = write_run(tmp_path)
    run.images[0, 2, 3, 4] = np.nan
    write_images(
        run.image, run.images, dataset="head", reconstruction="cg-sense", voxel_size=(0.002,) * 3
    )
    with pytest.raises(DataError, match=r"image.json: frame 0: NaN .* \(2, 3, 4\)"):
        measured(run)
    assert not run.metrics.exists()
    assert not run.receipt.exists()


def test_number_of_images_must_fit(tmp_path):
    run = write_run(tmp_path, shape=(12, 10), frames=5)
    with pytest.raises(DataError, match="5 images, but 5 frames joined by 2 make 3"):
        measured(run, frames_per_image=2)


def test_missing_receipt_is_named(tmp_path):
    run = write_run(tmp_path)
    (run.receipts / "reconstruct-0000.json").unlink()
    with pytest.raises(DataError, match=r"reconstruct-0000\.json: no such file"):
        measured(run)
