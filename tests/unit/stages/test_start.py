"""Reconstructions that begin with the images of another one."""

import numpy as np
import pytest
from acquisitions import write_acquisition
from exact import relative_error

from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.errors import ConfigError, DataError
from pipeline.in_process import run
from pipeline.rules import Run
from pipeline.storage.publish import open_published, read_json

FRAMES, SHAPE = 3, (8, 9)
GOOD = {"algorithm": "cg-sense", "regularization": 0.1, "iterations": 40}
SPARSE = {
    "algorithm": "fista",
    "penalty": "l1",
    "sparsity": 0.02,
    "iterations": 2,
    "weights": "none",
}
DECAY = {"basis": "t2-decay", "times": [0.1, 0.2, 0.4], "coefficients": 2}


def config_of(**reconstructions):
    return load_config(
        {
            "compute": {"device": "cpu", "threads": 1},
            "output": {"ome_zarr": False, "nifti": False},
            "reconstructions": reconstructions,
        }
    )


def row_of(folder, *names):
    return Dataset(
        dataset=folder.name, kind="mri", format="native", source="", reconstructions=names
    )


def made(folder, **reconstructions):
    """Return images and receipt of the last of some reconstructions, each made after the other."""
    config, row = config_of(**reconstructions), row_of(folder, *reconstructions)
    for name in reconstructions:
        files = run(config, row, name, folder.parent, first="plan", until="merge")
    receipt = read_json(files.receipt("reconstruct-0000"))
    return np.asarray(open_published(files.image)["image"]), receipt


@pytest.fixture
def scan(tmp_path):
    write_acquisition(
        tmp_path, shape=SHAPE, coils=3, readouts=40, samples=9, frames=FRAMES, own_trajectory=True
    )
    return tmp_path


@pytest.mark.parametrize(
    ("series", "algorithm"),
    [(None, "fista"), ({"basis": "frames"}, "admm"), (DECAY, "fista")],
    ids=["images", "series", "coefficients"],
)
def test_a_start_near_the_minimum_saves_iterations(scan, series, algorithm):
    own = {"series": series, "algorithm": algorithm}
    many = {**SPARSE, **own, "iterations": 150, "tolerance": 1e-5}
    best, _ = made(scan, best=many)
    cold, from_zero = made(scan, cold={**SPARSE, **own})
    warm, from_best = made(scan, best=many, warm={**SPARSE, **own, "start": "best"})
    assert sum(from_best["objective"]) < sum(from_zero["objective"])
    assert relative_error(warm, best) < 1e-3 < relative_error(cold, best)


def test_one_image_starts_all(scan):
    joined = {**GOOD, "frames_per_image": "all"}
    cold, _ = made(scan, cold={**SPARSE, "iterations": 200})
    images, _ = made(scan, joined=joined, warm={**SPARSE, "iterations": 200, "start": "joined"})
    assert relative_error(images, cold) < 0.02
    single = {**SPARSE, "iterations": 1}
    begun, _ = made(scan, joined=joined, warm={**single, "start": "joined"})
    assert relative_error(begun, made(scan, cold=single)[0]) > 0.1


def test_other_images_are_refused(scan):
    row = row_of(scan, "good", "sparse")
    for changed, fault in (
        ({"shape": [6, 8]}, "`start: good` makes other images; expected the same `shape`"),
        ({"frames_per_image": 2}, "makes other images"),
    ):
        config = config_of(good={**GOOD, **changed}, sparse={**SPARSE, "start": "good"})
        with pytest.raises(ConfigError, match=fault):
            run(config, row, "sparse", scan.parent, first="plan")
    sparse = {**SPARSE, "start": "good"}
    with pytest.raises(ConfigError, match="`start: good` is none of the row's sparse; add it"):
        run(config_of(good=GOOD, sparse=sparse), row_of(scan, "sparse"), "sparse", scan.parent)
    config = config_of(good={**SPARSE, "start": "sparse"}, sparse=sparse)
    with pytest.raises(ConfigError, match="`start: good` begins with what begins with it"):
        run(config, row, "sparse", scan.parent)
    made(scan, good={**GOOD, "shape": [6, 8]})
    with pytest.raises(
        DataError, match="`start: good` has 3 frames of 1 x 6 x 8; expected 3 or 1 frames"
    ):
        run(config_of(good=GOOD, sparse=sparse), row, "sparse", scan.parent, first="plan")


def test_what_the_start_is_made_of_is_upstream(tmp_path):
    (tmp_path / "sets.tsv").write_text(
        "dataset\tkind\tformat\tsource\treconstruction\nphantom\tmri\tsimulation\tshepp-logan\t"
        "good,sparse\n"
    )

    def upstream(stage, **changed):
        config = {
            "datasets": str(tmp_path / "sets.tsv"),
            "sources": {
                "phantom": {
                    "shape": [16, 16],
                    "simulation": {"trajectory": "golden-radial", "readouts": 5, "samples": 16},
                }
            },
            "reconstructions": {
                "good": {**GOOD, **changed},
                "sparse": {**SPARSE, "start": "good"},
            },
        }
        return Run(config).upstream_of(stage, "phantom", "sparse")

    assert upstream("reconstruct") != upstream("reconstruct", regularization=0.2)
    assert upstream("merge") != upstream("merge", regularization=0.2)
    assert upstream("plan") == upstream("plan", regularization=0.2)
