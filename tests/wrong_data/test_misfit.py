"""Data that do not go with their positions or maps: `measure` tells their misfit, and of no others.

What is measured is the exact Fourier transform of ellipses, with noise.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
from acquisitions import config_of, dataset_in

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.formats.content import planned_tiles, store_content
from pipeline.formats.lazy import InMemory, whole
from pipeline.in_process import run
from pipeline.mri.formats.simulation import open_source
from pipeline.mri.ingest import content_of
from pipeline.storage.publish import read_json
from pipeline.storage.receipts import Receipt

SCAN = {"trajectory": "golden-radial", "readouts": 40, "samples": 64, "coils": 4, "snr_db": 30.0}


def told(folder, change=lambda arrays: {}, *, snr_db=30.0, **settings):
    """Return what `measure` warns of, once some arrays of the source were changed."""
    source = IngestSettings.model_validate(
        {
            "kind": "mri",
            "format": "simulation",
            "source": "ellipses",
            "details": {"shape": (32, 34), "simulation": {**SCAN, "snr_db": snr_db}},
        }
    )
    with open_source(source, "scan", Budget("scan", 600)) as acquisition:
        arrays = {name: whole(array) for name, array in acquisition.arrays.items()}
    del arrays["reference"]
    arrays = {name: InMemory(each) for name, each in {**arrays, **change(arrays)}.items()}
    changed = replace(acquisition, arrays=arrays)
    record = Receipt(folder / "ingest.json", "ingest")
    content = content_of(changed, source, "scan", Budget("scan", 600))
    extents = planned_tiles(content, folder / "raw.json", "scan", lambda parts: True)
    store_content(content, extents, folder / "raw.json", "scan", record)
    files = run(
        config_of(algorithm="cg-sense", **settings), dataset_in(folder), "test", folder.parent,
        first="calibrate", until="measure",
    )  # fmt: skip
    return read_json(files.receipt("measure")).get("warnings", [])


@pytest.mark.parametrize(
    "settings",
    [{}, {"snr_db": 5.0}, {"weights": "none", "iterations": 3}, {"regularization": 3.0}],
    ids=["density", "mostly noise", "three iterations", "blurred"],
)
def test_nothing_is_told_of_good_data(tmp_path, settings):
    assert told(tmp_path, **settings) == []


WRONG = {
    "an axis reversed": lambda arrays: {"trajectory": arrays["trajectory"] * np.float32([1, -1])},
    "half the scale": lambda arrays: {"trajectory": arrays["trajectory"] / 2},
    "conjugated": lambda arrays: {"kspace": arrays["kspace"].conj()},
    "coils in another order": lambda arrays: {"sensitivities": arrays["sensitivities"][::-1]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_does_not_go_together_is_told(tmp_path, change):
    (line,) = told(tmp_path, change)
    assert re.search(r"/test: the image leaves (0\.[6-9]\d|1\.00) of", line)
    assert "plausible is up to 0.5" in line
