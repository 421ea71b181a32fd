import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main

STAGES = ["ingest", "calibrate", "plan", "reconstruct", "merge", "measure", "report"]


def _run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def _python(code):
    run = [sys.executable, "-c", "import sys; from typer.testing import CliRunner\n" + code]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


def test_help_names_every_stage_and_loads_nothing_heavy():
    shown = _python(
        "import pipeline.run; from pipeline.cli import app\n"
        f"for asked in ([], *([stage] for stage in {STAGES})):\n"
        "    print(CliRunner().invoke(app, [*asked, '--help']).output)\n"
        "heavy = {'torch', 'zarr', 'dask', 'pandas', 'scipy', 'matplotlib', 'numpy.fft'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    assert all(f"{stage} [OPTIONS]" in shown for stage in STAGES)
    assert "Limit as in `memory`" in shown
    assert "HEAVY []" in shown


def test_a_device_is_leased_before_torch_is_loaded():
    shown = _python(
        "import contextlib; from pipeline import cli\n"
        "@contextlib.contextmanager\n"
        "def lease(device):\n"
        "    print('LEASE', device, 'torch' in sys.modules)\n"
        "    yield 'cpu'\n"
        "cli.leased_device = lease\n"
        "given = '--settings {} --dataset d --raw r --calibration c --receipt x --device cuda:1'\n"
        "done = CliRunner().invoke(cli.app, ['calibrate', *given.split()])\n"
        "print(done.output, done.exception)"
    )
    assert "LEASE cuda:1 False" in shown
    assert "`calibration`: Field required" in shown


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


def test_a_defect_of_ours_keeps_its_traceback_and_asks_for_a_report(monkeypatch, capsys):
    def defect(path, default):
        raise RuntimeError("ours")

    monkeypatch.setattr("pipeline.config.file.read_config", defect)
    monkeypatch.setattr("sys.argv", ["kronufft", "check", "x.yaml"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    *above, last = capsys.readouterr().err.splitlines()
    assert above[0].startswith("Traceback")
    assert last.startswith("kronufft: internal error: RuntimeError: ours; this is a defect of")
