"""The worked examples on measured data, where KRONUFFT_DATA names the folder that holds it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("KRONUFFT_DATA", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA, reason="KRONUFFT_DATA does not name a folder with the measured data"
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the results of an example, by its name."""

    def results(example):
        folder = tmp_path_factory.mktemp(example)
        shutil.copytree(ROOT / "config", folder / "config")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
                *("--directory", str(folder), "--cores", "2"),
                *("--configfile", f"config/examples/{example}.yaml"),
                *("--config", f"data_root={Path(DATA).resolve()}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "results"

    return results


def image(results, dataset, reconstruction):
    return np.abs(zarr.open_group(results / dataset / reconstruction / "image.zarr")["image"][:])


def test_brain_agrees_with_the_images_that_came_with_it(run):
    table = pd.read_csv(run("brain-radial") / "metrics.csv")
    table = table[table["kind"] == "image"].set_index(["reconstruction", "frame"])
    assert table.loc[("cg-sense", 5), "correlation"] >= 0.96
    assert table.loc[("cg-sense-all", 0), "correlation"] >= 0.98


def test_lungs_stand_out_alike_on_both_matrices(run):
    results = run("lung-radial-3d")
    coarse, fine = (
        image(results, "lung-radial-3d", name)[0] for name in ("gridding", "gridding-128")
    )
    assert (coarse.shape, fine.shape) == ((64, 64, 64), (128, 128, 128))
    # The same object at the same places: every second voxel of the finer matrix is the coarser.
    assert np.corrcoef(fine[::2, ::2, ::2].ravel(), coarse.ravel())[0, 1] > 0.95
    # The brightest voxels are the trachea and the main bronchi, near the middle of the chest.
    brightest = np.argwhere(coarse > 0.6 * coarse.max())
    assert (np.abs(brightest.mean(axis=0) - 32) < 10).all()


def test_the_brightest_scatterer_of_the_parking_lot_is_the_trihedral(run):
    results = run("gotcha")
    for name in ("matched-filter", "tikhonov", "sparse"):
        scene = image(results, "gotcha", name)[0, 0]
        brightest = np.array(np.unravel_index(scene.argmax(), scene.shape))
        position = 0.2 * (brightest - 250)
        np.testing.assert_allclose(position, [-15.5, 21.5], atol=0.5)
