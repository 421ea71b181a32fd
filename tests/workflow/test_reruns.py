"""What a change reruns: the tables in docs/workflow.md, row by row, by dry runs.

A dry run ends where it cannot know: behind a plan that is to be made again. Which blocks then run
is decided by their rows: `test_a_new_plan_repeats_only_the_blocks_that_it_cuts_otherwise`.
"""

import json
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from forked import forked
from workflow_runs import (
    CONFIG,
    ROOT,
    TABLE,
    changed,
    pending,
    snakemake,
    write_config,
    write_source,
    write_table,
)

from pipeline import rules
from pipeline.config.base import load_yaml
from pipeline.engine.tuning_file import Tuning, write_tuning
from pipeline.fingerprint import modules_of

pytestmark = pytest.mark.slow

AFTER_BLOCKS = {"merge": 3, "measure": 3, "report": 1}
FROM_PLAN = {"plan": 3, **AFTER_BLOCKS}
FROM_CALIBRATE = {"calibrate": 2, **FROM_PLAN}
FROM_INGEST = {"ingest": 2, **FROM_CALIBRATE}
ONE_RECONSTRUCTION = {"plan": 1, "merge": 1, "measure": 1, "report": 1}
ONE_DATASET = {"ingest": 1, "calibrate": 1, **ONE_RECONSTRUCTION}


def setting(**groups):
    return lambda folder: write_config(folder, changed(**groups))


def less_noise(folder):
    source = CONFIG["sources"]["series"]
    simulation = {**source["simulation"], "snr_db": 40.0}
    setting(sources={"series": {**source, "simulation": simulation}})(folder)


def own_calibration(folder):
    still = {**CONFIG["sources"]["still"], "calibration": {"calibration_width": 20}}
    setting(sources={"still": still})(folder)


def other_name_of_data(folder):
    (folder / "other").symlink_to(folder / "data")
    write_config(folder, {**CONFIG, "data_root": "other"})


def tuned(folder):
    write_tuning(folder / "tuning.json", Tuning(measurements=()))
    setting(nufft={"tuning": "tuning.json"})(folder)


def row_added(folder):
    write_table(folder, [*TABLE, ["more", "mri", "arrays", "still.npz", "gridding"]])
    write_config(folder, changed(sources={"more": CONFIG["sources"]["still"]}))


def reconstruction_added(folder):
    write_table(folder, [*TABLE[:-1], [*TABLE[-1][:-1], "gridding,cg"]])


CHANGES = {
    "a source file has other content": [(lambda folder: write_source(folder, 2), ONE_DATASET)],
    "a source file up to 1 MB was only touched": [
        (lambda folder: (folder / "data/still.npz").touch(), {})
    ],
    "`sources.<dataset>`": [
        (
            less_noise,
            {"ingest": 1, "calibrate": 1, "plan": 2, "merge": 2, "measure": 2, "report": 1},
        )
    ],
    "`sources.<dataset>.calibration`, `coherent`, `pair_correction`, `reference_target`": [
        (own_calibration, {"calibrate": 1, **ONE_RECONSTRUCTION}),
    ],
    "`data_root`": [(other_name_of_data, ONE_DATASET)],
    "`calibration`": [(setting(calibration={"calibration_width": 20}), FROM_CALIBRATE)],
    "`nufft`": [(setting(nufft={"tolerance": 1e-4}), FROM_CALIBRATE)],
    "`nufft.tuning`": [(tuned, FROM_PLAN)],
    "`reconstructions.<name>`": [
        (
            setting(reconstructions={"cg": {"algorithm": "cg-sense", "iterations": 5}}),
            ONE_RECONSTRUCTION,
        )
    ],
    "`compute.precision`, `compute.deterministic`": [
        (setting(compute={"precision": "double"}), FROM_PLAN),
        (setting(compute={"deterministic": False}), FROM_PLAN),
    ],
    "`memory`": [(setting(memory={"host_mb": 3000}), FROM_PLAN)],
    "`compute.device`, `compute.threads`, `compute.checkpoint_seconds`": [
        (setting(compute={"device": "auto", "threads": 1, "checkpoint_seconds": 5}), {})
    ],
    "`output`": [(setting(output={"nifti": False}), AFTER_BLOCKS)],
    "a row is added to the dataset table": [(row_added, ONE_DATASET)],
    "a row is removed": [(lambda folder: write_table(folder, TABLE[:-1]), {"report": 1})],
    "a reconstruction is added to a row": [(reconstruction_added, ONE_RECONSTRUCTION)],
}
# Which jobs each module counts for is in unit/test_rules.py: here, that Snakemake runs these again.
CODE = {
    "solvers/cg.py": ('# Why\n"""What."""\n', {}),
    "rf/model/pairs.py": ("CHANGED = 1\n", {}),
    "mri/formats/arrays.py": ("CHANGED = 1\n", ONE_DATASET),
    "solvers/proximal.py": ("CHANGED = 1\n", {}),
    "algorithms/least_squares.py": (
        "CHANGED = 1\n",
        {"plan": 2, "merge": 2, "measure": 2, "report": 1},
    ),
    "metrics/ssim.py": ("CHANGED = 1\n", {"measure": 3, "report": 1}),
    "report/templates/report.html.j2": (" \n", {"report": 1}),
}
OPTIONS = {
    "--forcerun merge": AFTER_BLOCKS,
    "--forcerun reconstruct": {"reconstruct": 4, **AFTER_BLOCKS},
    "--forcerun ingest --until calibrate": {"ingest": 2, "calibrate": 2},
    "--forcerun merge --omit-from measure": {"merge": 3},
    "--force results/series/cg/blocks/0001.zarr.zip": {"reconstruct": 1},
    "merged": {},
}


def documented(heading):
    """Return the first column of the table that follows a phrase of docs/workflow.md."""
    text = (ROOT / "docs/workflow.md").read_text()
    table = re.search(r"(?:^\|.*\n)+", text[text.index(heading) :], re.MULTILINE)[0]
    return {line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]}


def side_by_side(rows, found):
    """Return ``found(row)`` of each row; two at a time, for each waits on a process."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(found, rows))


def test_settings_sources_and_rows(finished, tmp_path):
    rows = [(name, *row) for name, group in CHANGES.items() for row in group]

    def found(numbered):
        number, (_, change, _) = numbered
        folder = shutil.copytree(finished, tmp_path / str(number), symlinks=True)
        change(folder)
        return pending(folder)

    results = side_by_side(list(enumerate(rows)), found)
    for (name, _, expected), result in zip(rows, results, strict=True):
        assert result == expected, name
    assert set(CHANGES) == documented("## What a change repeats")


def test_code(finished, tmp_path):
    def found(row):
        file, (text, _) = row
        root = tmp_path / file.replace("/", "-")
        for part in ("pipeline", "workflow", "profiles", "envs"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "Snakefile", root)
        with (root / "pipeline" / file).open("a") as module:
            module.write(text)
        return pending(finished, root=root)

    results = side_by_side(list(CODE.items()), found)
    for (name, (_, expected)), result in zip(CODE.items(), results, strict=True):
        assert result == expected, name


# Tells which modules a command loads beyond those that all commands do.
TELL_LOADED = """
import json, sys
import pipeline.cli
before = set(sys.modules)
try:
    pipeline.cli.main()
finally:
    loaded = [name for name in set(sys.modules) - before if name.startswith("pipeline.")]
    with open("loaded.json", "w") as file:
        json.dump(loaded, file)
"""


def test_a_fingerprint_is_of_all_that_a_job_loads(run, monkeypatch):
    monkeypatch.chdir(run)
    monkeypatch.setattr(
        rules,
        "code_fingerprint",
        lambda stage, kinds, chosen: modules_of(stage, kinds=kinds, modules=chosen),
    )
    described = rules.Run(load_yaml(run / "config.yaml"))
    receipts = [json.loads(path.read_text()) for path in run.glob("results/**/receipts/*.json")]
    for receipt in receipts:
        command = shlex.split(receipt["command"])[1:]
        status, output = forked("kronufft", *command, cwd=run, code=TELL_LOADED)
        assert status == 0, output
        loaded = set(json.loads((run / "loaded.json").read_text()))
        code = described.code_of(
            receipt["stage"], receipt["dataset"], receipt.get("reconstruction")
        )
        # The command itself reads the plan, to know which receipts `measure` is given.
        assert loaded <= {*code, "pipeline.engine.table"}, receipt["stage"]
    assert {receipt["stage"] for receipt in receipts} >= {"ingest", "reconstruct", "measure"}


def test_options(finished):
    results = side_by_side(list(OPTIONS), lambda options: pending(finished, *options.split()))
    assert dict(zip(OPTIONS, results, strict=True)) == OPTIONS


def test_a_new_plan_repeats_only_the_blocks_that_it_cuts_otherwise(run):
    # Blocks of 3 and 2 images become one of 5; the two other reconstructions stay as they were.
    write_config(run, changed(memory={"host_mb": 3000, "block_images": 5}))
    snakemake(run, "planned")
    assert pending(run) == {"reconstruct": 1, **AFTER_BLOCKS}


def test_results_that_were_moved_or_lost_their_dates_are_taken_as_they_are(run, tmp_path):
    moved = tmp_path / "elsewhere"
    run.rename(moved)
    for file in sorted((moved / "results").rglob("*"), reverse=True):
        file.touch()
    images = {file: file.read_bytes() for file in (moved / "results").glob("*/*/image.json")}
    snakemake(moved, "--touch")
    assert pending(moved) == {}
    assert {file: file.read_bytes() for file in images} == images
