"""`kronufft check` refuses from a config and shapes what calibrate and plan would refuse later."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from acquisitions import complex_normal
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import source_check
from pipeline.errors import KronufftError, PlanError

SLICES, FRAMES, COILS, READOUTS, SAMPLES = 2, 3, 4, 5, 6
AXES = {
    "kspace": ["slice", "frame", "coil", "readout", "sample"],
    "trajectory": ["readout", "sample", "axis"],
    "field_map": ["frame", "z", "y", "x"],
    "transmitter": ["pulse", "coordinate"],
    "y": ["pulse", "freq"],
    "frequencies": ["freq"],
}


def check(sources, rows, reconstruction, calibration=None, *options):
    """Check a config of one reconstruction, in the current folder."""
    config = {
        **{"datasets": "table.tsv", "sources": sources, "reconstructions": {"one": reconstruction}},
        "calibration": calibration or {},
    }
    Path("config.yaml").write_text(json.dumps(config))
    head = ("dataset", "kind", "format", "source", "reconstruction")
    text = "".join("\t".join(cells) + "\n" for cells in (head, *rows))
    Path("table.tsv").write_text(text)
    return CliRunner().invoke(app, ["check", "config.yaml", *options])


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """Write arrays of slices, or of one, and of pulses; return the entry of a source."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    made = {
        "kspace": complex_normal(random, (SLICES, FRAMES, COILS, READOUTS, SAMPLES)),
        "trajectory": random.uniform(-3, 3, (READOUTS, SAMPLES, 2)),
        "field_map": random.normal(size=(1, 1, 8, 9)),
        "transmitter": random.normal(loc=9, size=(READOUTS, 3)),
        "y": complex_normal(random, (READOUTS, SAMPLES)),
        "frequencies": 1e9 + 1e7 * np.arange(SAMPLES),
    }
    np.savez("data.npz", **made, single=made["kspace"][0])

    def source(*names, slices=SLICES, **more):
        entries = {name: {"name": name, "axes": AXES[name]} for name in names}
        if slices == 1:
            entries["kspace"] = {"name": "single", "axes": AXES["kspace"][1:]}
        return {"arrays": entries, **more}

    return source


GRIDDING = {"algorithm": "gridding"}
SERIES = {"algorithm": "cg-sense", "series": {"basis": "frames"}}
DECAY = {"basis": "t2-decay", "times": [0.01, 0.02], "coefficients": 2}
CIRCULANT = {"algorithm": "cg-sense", "preconditioner": "circulant"}


@pytest.mark.parametrize(
    ("slices", "reconstruction", "calibration", "said"),
    [
        (2, SERIES, {}, "`series` of 2 slices, whose coil maps differ"),
        (2, {"algorithm": "gridding", "frames_per_image": 2}, {}, "2 slices of 3 frames; set it"),
        (1, {"algorithm": "gridding", "shape": [8, 8, 8]}, {}, "has 3 axes"),
        (1, CIRCULANT, {}, "single Toeplitz kernel"),
        (1, SERIES | {"series": DECAY}, {"off_resonance": "none"}, "2 times .* there are 3 images"),
        (1, SERIES | {"series": {"basis": "source"}}, {}, "the source has no array `basis`"),
        (
            1,
            {"algorithm": "cg-sense"},
            {"coil_maps": "none"},
            "cg-sense of 4 coils needs coil maps",
        ),
        (1, GRIDDING, {"coil_maps": "source"}, "the source has no coil maps"),
        (
            1,
            GRIDDING,
            {"girf": {"file": "data.npz"}},
            "0.002 s apart|needs readout",
        ),
        (2, GRIDDING, {}, "`field_map` is one map, but there are 2 slices"),
        (1, GRIDDING, {"binning": {}}, "does not tell when readouts were taken"),
    ],
)
def test_settings_that_mri_data_do_not_allow(arrays, slices, reconstruction, calibration, said):
    names = ["kspace", "trajectory"]
    names += ["field_map"] * (slices == 1 or "one map" in said)
    source = arrays(*names, slices=slices, shape=[8, 9], dwell_time=2e-3)
    row = ("scan", "mri", "arrays", "data.npz", "one")
    done = check({"scan": source}, [row], reconstruction, calibration)
    assert isinstance(done.exception, KronufftError)
    assert re.match(f"scan.*({said})", str(done.exception))


def test_settings_can_be_given_as_to_snakemake(arrays, tmp_path, monkeypatch):
    source = arrays("kspace", "trajectory", shape=[8, 9])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    given = ({"scan": source}, [("scan", "mri", "arrays", "data.npz", "one")], GRIDDING, None)
    assert "no such file" in str(check(*given).exception)
    settings = [f"data_root={tmp_path}", "compute={threads: 2}"]
    found = check(*given, *(word for one in settings for word in ("--config", one)))
    assert found.exit_code == 0, found.exception
    for wrong in ("data_root", "compute={threads"):
        assert f"found `{wrong}`" in str(check(*given, "--config", wrong).exception)


def test_slices_are_told_from_frames(arrays):
    source = arrays("kspace", "trajectory", shape=[8, 9])
    done = check({"scan": source}, [("scan", "mri", "arrays", "data.npz", "one")], GRIDDING)
    assert "kspace: frame 6, coil 4" in done.output
    assert "slices: 2; frames of the first stand" in done.output


@pytest.mark.parametrize(
    ("reconstruction", "said"),
    [
        ({"fusion": "non-coherent"}, "`fusion: non-coherent` is of pairs"),
        ({"normal": "factors"}, "has no Kronecker factors"),
        ({"model": "W"}, "the model W is of pairs"),
        ({"preconditioner": "kronecker"}, "a phase history has none"),
        ({"model": "exact", "normal": "toeplitz"}, "`model: exact` goes forward and back"),
        ({"model": "W+D(fc)"}, "`antenna` gives path loss or a pattern"),
    ],
)
def test_settings_that_a_phase_history_does_not_allow(arrays, reconstruction, said):
    scene = {"shape": [8, 9], "spacing": [0.1, 0.1]}
    more = {"antenna": {"path_loss": True}} if "antenna" in said else {}
    source = arrays("transmitter", "y", "frequencies", scene=scene, **more)
    row = ("scan", "rf", "arrays", "data.npz", "one")
    assert check({"scan": source}, [row], {"algorithm": "tikhonov"}).exit_code == 0
    done = check({"scan": source}, [row], {"algorithm": "tikhonov", **reconstruction})
    assert isinstance(done.exception, PlanError)
    assert re.match(f"scan one: .*{said}", str(done.exception))


@pytest.mark.parametrize(
    ("reconstruction", "source", "said"),
    [
        ({}, {"coherent": False}, "phases of its 6 pairs are not calibrated"),
        ({"preconditioner": "circulant", "model": "W+D"}, {}, "with the models W, UPA, stored"),
    ],
)
def test_settings_that_pairs_do_not_allow(arrays, reconstruction, source, said):
    row = ("scan", "rf", "simulation", "rf6", "one")
    done = check({"scan": source}, [row], {"algorithm": "tikhonov", **reconstruction})
    assert isinstance(done.exception, KronufftError)
    assert re.match(f"scan one: .*{said}", str(done.exception))


def test_equal_sources_are_opened_once_and_of_many_some(arrays, monkeypatch):
    source = arrays("kspace", "trajectory", slices=1, shape=[8, 9])
    rows = [(f"d{at}", "mri", "arrays", "data.npz", "one") for at in range(7)]
    opened = []
    check_source = source_check.check_source

    def counting(config, row):
        opened.append(row.dataset)
        return check_source(config, row)

    monkeypatch.setattr(source_check, "check_source", counting)
    monkeypatch.setattr(source_check, "MOST_SOURCES", 3)
    done = check({f"d{at}": source for at in range(7)}, rows, {"algorithm": "gridding"})
    assert opened == ["d0", "d2", "d4"]
    assert done.output.count("kspace: frame 3, coil 4, readout 5, sample 6") == 3
    assert done.output.splitlines()[-1] == (
        "opened 3 sources spread over the table, not those of 4 rows, which `ingest` looks at"
    )
    opened.clear()
    rows = [(name, "rf", "simulation", "rf6", "one") for name in ("first", "second")]
    done = check({}, rows, {"algorithm": "matched-filter"})
    assert opened == ["first"]
    assert done.output.endswith("second\tsimulation\trf6\tone\n  as first\n")
