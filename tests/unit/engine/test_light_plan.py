"""A plan loads no torch: it is made on machines that have little, and for each reconstruction."""

import json
import subprocess
import sys

import numpy as np
import pytest
from acquisitions import complex_normal, config_of, dataset_in, write_acquisition
from calibrating import calibrated_in
from rf_acquisitions import pulses, store, write_pairs
from rf_scenes import mills_cross

from pipeline.config.base import canonical_json
from pipeline.config.datasets import stage_settings
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene

MRI = {
    "gridding": {},
    "cg-sense": {},
    "tikhonov": {"regularization": 0.1},
    "fista": {"penalty": "wavelet"},
    "admm": {"penalties": [{"penalty": name, "sparsity": 0.01} for name in ("tv", "l1")]},
    "primal-dual": {"penalties": [{"penalty": name, "sparsity": 0.01} for name in ("tgv", "l1")]},
    "matched-filter": {},
    "omp": {"points": 3},
}
RF = {"tikhonov": {}, "fista": {}, "matched-filter": {"model": "exact"}}
SCENE, FREQUENCIES = Scene((7, 6), (0.1, 0.12)), np.linspace(9e9, 10e9, 5)


def write_scan(folder):
    write_acquisition(folder, shape=(14, 12, 16), coils=3, readouts=9, samples=20)


def write_array_pairs(folder):
    write_pairs(folder, SCENE, [mills_cross((4, 3), 0.5, 10.0)], FREQUENCIES)


def write_pulses(folder):
    angles = np.linspace(0, 0.1, 8)
    antenna = 20 * np.stack([np.cos(angles), np.sin(angles), 0 * angles + 0.5], axis=1)
    measured = complex_normal(np.random.default_rng(1), (8, 5))
    paths = AntennaPaths(antenna, antenna, np.full(8, 40.0))
    store(folder / "raw.json", pulses(SCENE, FREQUENCIES, paths, measured))
    calibrated_in(folder)


PROGRAM = """
import json, sys
from pathlib import Path
sys.modules["torch"] = None  # whoever loads it raises ImportError
from pipeline.config.base import parse_settings
from pipeline.config.planning import PlanSettings
from pipeline.stages.plan import plan
folder = Path(sys.argv[1])
for way, settings in json.loads(sys.argv[2]).items():
    plan(settings=parse_settings(PlanSettings, settings), dataset="d", reconstruction=way,
         raw=folder / "raw.json", calibration=folder / "calibration.json",
         plan=folder / f"{way}.tsv", receipt=folder / f"{way}.json", device="cpu")
"""


@pytest.mark.parametrize(
    ("kind", "write", "ways"),
    [("mri", write_scan, MRI), ("rf", write_array_pairs, RF), ("rf", write_pulses, RF)],
    ids=["mri", "pairs", "pulses"],
)
def test_plans_load_no_torch(tmp_path, kind, write, ways):
    write(tmp_path)
    row = dataset_in(tmp_path, kind)
    settings = {}
    for way, more in ways.items():
        config = config_of(algorithm=way, **more)
        settings[way] = canonical_json(stage_settings(config, row, "plan", "test"))
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(settings)], check=True, timeout=60
    )
    assert {path.stem for path in tmp_path.glob("*.tsv")} == set(ways)
