import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

STAGES = ["ingest", "calibrate", "plan", "reconstruct", "merge", "measure", "report"]


def _run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_help_names_every_stage_and_loads_nothing_heavy():
    code = (
        "import sys, pipeline.run;"
        "from typer.testing import CliRunner; from pipeline.cli import app;"
        "print(CliRunner().invoke(app, ['--help']).output);"
        "heavy = {'torch', 'zarr', 'dask', 'pandas', 'scipy', 'matplotlib', 'numpy.fft'};"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(stage in done.stdout for stage in STAGES)
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_explains_itself(stage):
    result = CliRunner().invoke(app, [stage, "--help"])
    assert result.exit_code == 0
    assert "--" in result.output


def test_a_users_error_is_one_line_and_status_one(tmp_path):
    done = _run("check", str(tmp_path / "absent.yaml"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"kronufft: {tmp_path / 'absent.yaml'}: no such file"]


def test_a_defect_of_ours_keeps_its_traceback(tmp_path, monkeypatch):
    def defect(path, default):
        raise RuntimeError("ours")

    monkeypatch.setattr("pipeline.cli.read_config", defect)
    result = CliRunner().invoke(app, ["check", "x.yaml"])
    assert isinstance(result.exception, RuntimeError)
