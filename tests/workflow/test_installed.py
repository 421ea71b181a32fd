"""The workflow from a wheel, in folders that hold nothing of a clone."""

import os
import subprocess
import sys
import zipfile

import pytest
import yaml

pytestmark = pytest.mark.slow

CONFIG = {
    "datasets": "table.tsv",
    "sources": {
        "scan": {
            "shape": [12, 10],
            "simulation": {"trajectory": "spiral", "readouts": 3, "samples": 40, "coils": 2},
        }
    },
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 2}},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory, request):
    """A folder of packages that holds the wheel alone."""
    build_wheel = pytest.importorskip("hatchling.build").build_wheel
    folder = tmp_path_factory.mktemp("installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        wheel = build_wheel(str(folder))
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(folder / "packages")
    return folder / "packages"


def kronufft(installed, folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def prepare(folder, name, **settings):
    (folder / name).write_text(yaml.safe_dump({**CONFIG, **settings}))
    (folder / "table.tsv").write_text(
        "dataset\tkind\tformat\tsource\treconstruction\nscan\tmri\tsimulation\tshepp-logan\tcg\n"
    )


def test_each_config_has_a_folder_of_its_own(installed, tmp_path):
    prepare(tmp_path, "mine.yaml")
    prepare(tmp_path, "named.yaml", results="kept/here")
    for config, given, results in (
        ("mine.yaml", ["--output", "other", "--config", "data_root=."], "other"),
        ("named.yaml", [], "kept/here"),
    ):
        status, said = kronufft(installed, tmp_path, "run", config, "--dry-run", *given)
        assert status == 0, said
        assert f"output: {results}/report.html" in said
        assert f"log: {results}/logs/report.log" in said


def test_a_wheel_runs_in_an_empty_folder(installed, tmp_path):
    prepare(tmp_path, "mine.yaml")
    status, said = kronufft(installed, tmp_path, "run", "mine.yaml", "ingested", "--cores", "1")
    assert status == 0, said
    made = tmp_path / "results/mine"
    assert (made / "scan/raw.json").is_file()
    assert (made / "logs/ingest/scan.log").is_file()
    assert {path.name for path in tmp_path.iterdir() if path.name[0] != "."} == {
        *("mine.yaml", "table.tsv", "results"),
    }


def test_what_cannot_be_run_is_one_line(installed, tmp_path):
    status, said = kronufft(installed, tmp_path, "run")
    assert status == 1
    assert said == "kronufft: config/config.yaml: no such file; `kronufft init` writes one\n"
    prepare(tmp_path, "mine.yaml", results="with blanks/in it")
    status, said = kronufft(installed, tmp_path, "run", "mine.yaml", "--dry-run")
    assert status != 0
    assert "`results`" in said
