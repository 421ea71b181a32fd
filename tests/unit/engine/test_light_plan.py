"""A plan loads no torch: it is made on machines that have little, and for each reconstruction."""

import json
import subprocess
import sys

from acquisitions import config_of, dataset_in, write_acquisition

from pipeline.config.base import canonical_json
from pipeline.config.datasets import stage_settings

WAYS = {
    "gridding": {},
    "cg-sense": {},
    "tikhonov": {"regularization": 0.1},
    "fista": {"penalty": "wavelet"},
    "admm": {"penalties": [{"penalty": name, "sparsity": 0.01} for name in ("tv", "l1")]},
    "matched-filter": {},
    "omp": {"points": 3},
}
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


def test_plans_load_no_torch(tmp_path):
    write_acquisition(tmp_path, shape=(14, 12, 16), coils=3, readouts=9, samples=20)
    row = dataset_in(tmp_path)
    settings = {}
    for way, more in WAYS.items():
        config = config_of(algorithm=way, **more)
        settings[way] = canonical_json(stage_settings(config, row, "plan", "test"))
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(settings)], check=True, timeout=60
    )
    assert {path.stem for path in tmp_path.glob("*.tsv")} == set(WAYS)
