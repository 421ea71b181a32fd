"""What changed code repeats: the table in docs/workflow.md, row by row and by kind of data.

`test_fingerprint.py` holds that a fingerprint changes with the modules that it is of; here it is of
which modules. That a changed fingerprint runs a job again is in `workflow/test_reruns.py`.
"""

import re
from pathlib import Path

import pytest

from pipeline import rules
from pipeline.engine.needs import Need, requested_mb
from pipeline.engine.table import PlanRow, read_plan, write_plan
from pipeline.fingerprint import modules_of
from pipeline.rules import Run

CONFIG = {
    "datasets": "datasets.tsv",
    "data_root": "data",
    "sources": {
        "head": {
            "shape": [24, 32],
            "simulation": {"trajectory": "golden-radial", "readouts": 13, "samples": 64},
        },
        "still": {
            "shape": [24, 20],
            "arrays": {
                "kspace": {"name": "kspace", "axes": ["coil", "readout", "sample"]},
                "trajectory": {
                    "name": "trajectory",
                    "axes": ["readout", "sample", "axis"],
                    "units": "cycles_per_voxel",
                },
            },
        },
    },
    "reconstructions": {
        "cg": {"algorithm": "cg-sense"},
        "grid": {"algorithm": "gridding"},
        "filter": {"algorithm": "matched-filter"},
        "sparse": {"algorithm": "fista", "penalty": "l1"},
    },
}
TABLE = [
    ["dataset", "kind", "format", "source", "reconstruction"],
    ["head", "mri", "simulation", "shepp-logan", "cg"],
    ["still", "mri", "arrays", "still.npz", "grid"],
    ["pairs", "rf", "simulation", "rf6", "filter,sparse"],
]
MRI, RF = {"head", "still"}, {"pairs"}
ALL = MRI | RF
MRI_IMAGES, RF_IMAGES = {"head/cg", "still/grid"}, {"pairs/filter", "pairs/sparse"}
IMAGES = MRI_IMAGES | RF_IMAGES
REPORT = {"report": {""}}

CHANGED = {
    "comments, docstrings, layout, types, documentation, tests": [],
    "a reader (`mri/formats/`, `rf/formats/`)": [
        ("mri.formats.simulation", {"ingest": {"head"}}),
        ("mri.formats.arrays", {"ingest": {"still"}}),
        ("rf.formats.simulation", {"ingest": RF}),
    ],
    "the table of arrays and the checks of a kind (`mri/arrays.py`, `mri/ingest.py`)": [
        ("mri.arrays", {"ingest": MRI}),
        ("rf.ingest", {"ingest": RF}),
    ],
    "a step of calibration (`mri/calibration/`, `rf/calibration/`)": [
        ("mri.calibration.walsh", {"calibrate": MRI}),
        ("rf.calibration.model_error", {"calibrate": RF}),
    ],
    "planning (`engine/plan.py`), what a model costs (`mri/model/costs.py`, `memory.py`)": [
        ("engine.plan", {"plan": IMAGES}),
        ("mri.model.costs", {"plan": MRI_IMAGES}),
        ("mri.model.memory", {"plan": MRI_IMAGES}),
        ("rf.model.pair_costs", {"plan": RF_IMAGES}),
    ],
    "a forward model (`mri/model/`, `rf/model/`)": [
        ("mri.measurement", {"accumulate": MRI_IMAGES, "reconstruct": MRI_IMAGES}),
        ("rf.model.pairs", {"accumulate": RF_IMAGES, "reconstruct": RF_IMAGES}),
    ],
    "what solving takes of a measurement (`mri/equations.py`, `rf/equations.py`)": [
        ("mri.equations", {"reconstruct": MRI_IMAGES}),
        ("rf.equations", {"reconstruct": RF_IMAGES}),
    ],
    "an algorithm, its solver, its penalty (`algorithms/`, `solvers/`)": [
        ("algorithms.fista", {"plan": {"pairs/sparse"}, "reconstruct": {"pairs/sparse"}}),
        ("solvers.penalties.l1", {"plan": {"pairs/sparse"}, "reconstruct": {"pairs/sparse"}}),
        ("algorithms.omp", {}),
        ("solvers.omp", {}),
        ("solvers.penalties.tv", {}),
    ],
    "merging (`merge/`); an output": [
        ("merge.series", {"merge": IMAGES}),
        ("merge.nifti", {"plan": IMAGES, "merge": IMAGES}),
    ],
    "a metric (`metrics/`)": [("metrics.ssim", {"measure": IMAGES, **REPORT})],
    "measures of a kind (`rf/measures/`)": [("rf.measures.detection", {"measure": RF_IMAGES})],
    "the report (`report/`, `mri/pictures.py`, `rf/pictures.py`), and its template": [
        ("report.charts", REPORT),
        ("rf.pictures", REPORT),
        ("mri.pictures", REPORT),
    ],
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of both kinds, whose fingerprints are the names of the modules that they are of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/still.npz").touch()
    (tmp_path / "datasets.tsv").write_text("\n".join("\t".join(row) for row in TABLE) + "\n")
    monkeypatch.setattr(
        rules,
        "code_fingerprint",
        lambda stage, kinds, chosen: frozenset(modules_of(stage, kinds=kinds, modules=chosen)),
    )
    return Run(CONFIG)


@pytest.fixture
def jobs(run):
    """The modules of each job, by its stage and what it works on."""
    found = {("report", ""): run.code_of("report")}
    for dataset in run.datasets:
        for stage in ("ingest", "calibrate"):
            found[stage, dataset] = run.code_of(stage, dataset)
    for names in run.reconstructions:
        for stage in ("plan", "accumulate", "reconstruct", "merge", "measure"):
            found[stage, "/".join(names)] = run.code_of(stage, *names)
    return found


def test_each_row_of_the_table(jobs):
    text = (Path(__file__).parents[2] / "docs/workflow.md").read_text()
    table = re.search(r"(?:^\|.*\n)+", text[text.index("Code counts by what it") :], re.MULTILINE)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table[0].splitlines()[2:]]
    assert rows == list(CHANGED)
    for name, modules in CHANGED.items():
        for module, expected in modules:
            found = {}
            for (stage, who), code in jobs.items():
                if f"pipeline.{module}" in code:
                    found.setdefault(stage, set()).add(who)
            assert found == expected, f"{name}: {module}"


def test_no_job_of_one_kind_depends_on_the_other(jobs):
    for (stage, who), code in jobs.items():
        if stage != "report":
            other = "rf" if who.split("/")[0] in MRI else "mri"
            assert not [name for name in code if name.startswith(f"pipeline.{other}")], stage


def test_pictures_and_solvers_are_reached_by_none_but_those_that_use_them(jobs):
    solving = ("algorithms.", "solvers.")
    for (stage, who), code in jobs.items():
        if stage not in ("report", "plan"):
            assert not [name for name in code if name.startswith("pipeline.report.")], stage
        if stage in ("ingest", "calibrate", "accumulate", "merge", "measure"):
            reached = [name for name in code if name.removeprefix("pipeline.").startswith(solving)]
            # Whether MRI data fit together is asked of a least-squares image.
            assert ("pipeline.solvers.cg" in reached) == (stage == "calibrate" and who in MRI)
            assert stage == "calibrate" or not reached, stage


def test_what_later_stages_ask_for_is_looked_up_in_the_plans(tmp_path):
    block = PlanRow.of_stage("merge", Need({"process": 10**8}), 1000).model_copy(
        update={"stage": "reconstruct", "block": "0000", "images": 1}
    )
    plans = []
    for name, megabytes in (("a", 500), ("b", 900)):
        plans.append(tmp_path / f"{name}.tsv")
        need = Need({"images": 10**6 * megabytes, "process": 10**6})
        write_plan(plans[-1], [block, PlanRow.of_stage("measure", need, 4000)])
    assert list(read_plan(plans[0]).jobs()) == ["reconstruct-0000"]
    assert rules.later_mb("measure", plans[:1]) == requested_mb(501)
    assert rules.later_mb("measure", plans) == requested_mb(901)
    assert read_plan(plans[1]).later["measure"].dominant == "images"
    # Snakemake asks again later where a plan is not there yet, or of a version that lacks the row.
    for stage, asked in (("measure", [tmp_path / "absent.tsv"]), ("report", plans)):
        with pytest.raises(FileNotFoundError):
            rules.later_mb(stage, asked)
