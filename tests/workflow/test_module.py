"""The workflow beyond itself: in another one, in Snakemake's report, and as a script."""

import os
import subprocess

import numpy as np
import pytest
import yaml
import zarr
from forked import command_path
from workflow_runs import CONFIG, ROOT, TABLE, snakemake, write_table

pytestmark = pytest.mark.slow

OTHER_WORKFLOW = f"""
configfile: "config.yaml"

module kronufft:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config["kronufft"]
    prefix: "imaging"

use rule * from kronufft as kronufft_*

rule everything:
    default_target: True
    input:
        "mean.txt",

rule mean:
    input:
        "imaging/results/series/cg/image.json",
    output:
        "mean.txt",
    shell:
        "kronufft verify imaging > {{output}}"
"""


def test_part_of_another_workflow_below_a_prefix(tmp_path):
    (tmp_path / "Snakefile").write_text(OTHER_WORKFLOW)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"kronufft": CONFIG}))
    write_table(tmp_path, [TABLE[0], [*TABLE[1][:-1], "cg"]])
    snakemake(tmp_path, "everything", "kronufft_measured", root=tmp_path)
    image = zarr.open_group(tmp_path / "imaging/results/series/cg/image.zarr")["image"]
    assert image.shape == (5, 1, 24, 32)
    assert np.isfinite(image[:]).all()
    assert "0 damaged" in (tmp_path / "mean.txt").read_text()
    assert {path.name for path in tmp_path.iterdir() if path.name[0] != "."} == {
        *("Snakefile", "config.yaml", "datasets.tsv", "imaging", "mean.txt"),
    }
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", root=tmp_path)

    # What lies in folders of the same names but is the other workflow's is left alone.
    of_the_other = tmp_path / "results/series/cg/blocks/0.txt"
    of_the_other.parent.mkdir(parents=True)
    of_the_other.touch()
    snakemake(tmp_path, "kronufft_report_so_far", "kronufft_clean", root=tmp_path)
    assert of_the_other.exists()
    assert not (tmp_path / "imaging/results/series/cg/blocks").exists()
    assert "series,cg" in (tmp_path / "imaging/results/metrics-so-far.csv").read_text()
    assert (tmp_path / "imaging/results/report-so-far.html").exists()


def test_snakemakes_own_report_holds_page_and_table(run):
    snakemake(run, "--report", "report.html")
    page = (run / "report.html").read_text()
    for text in ("Reconstructions", "Numbers", "metrics.csv", "self-contained"):
        assert text in page


def test_the_script_beside_an_image_makes_it_again_to_the_last_byte(finished, tmp_path):
    folder = "results/series/cg-all"
    script = finished / folder / "remake.sh"
    done = subprocess.run(
        ["sh", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": command_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The marker holds the checksum of every chunk.
    markers = [(where / folder / "image.json").read_bytes() for where in (finished, tmp_path)]
    assert markers[0] == markers[1]
