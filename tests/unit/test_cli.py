import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app, main
from pipeline.errors import told
from pipeline.storage.sealed import again, remake, run_command

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
        "import pipeline.in_process; from pipeline.cli import app\n"
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


def test_a_defect_of_ours_is_one_line_with_a_report_to_send(monkeypatch, capsys, tmp_path):
    def defect(*given):
        raise RuntimeError("ours\nand more")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.config.file.read_config", defect)
    monkeypatch.setattr("sys.argv", ["kronufft", "check", "x.yaml"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    (report,) = tmp_path.glob("logs/defect-*.txt")
    assert capsys.readouterr().err == (
        "kronufft: internal error: RuntimeError: ours and more; this is a defect of Kronufft: "
        f"please report it with {report.relative_to(tmp_path)}\n"
    )
    text = report.read_text()
    assert "kronufft check x.yaml" in text
    assert 'raise RuntimeError("ours' in text


def test_a_defect_where_nothing_can_be_written_shows_its_traceback(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "logs"))
    line = told(RuntimeError("ours"))
    assert line.endswith("please report it with the lines above")
    assert "RuntimeError: ours" in capsys.readouterr().err


def test_the_command_of_a_run_makes_one_of_its_files_again(monkeypatch, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KRONUFFT_COMMAND", "")
    started = []
    monkeypatch.setattr("os.execv", lambda program, command: started.append(command))

    def run(words):
        monkeypatch.setattr("sys.argv", words)
        assert CliRunner().invoke(app, words[1:]).exit_code == 0

    run(["kronufft", "run", "-c", "2"])  # which names no config
    image = Path("results/a b/image.json")
    run(shlex.split(again(run_command(), "--forceall", image)))
    first, second = started
    assert [word for word in second if word not in first] == ["--forceall", str(image)]
    assert remake(image).endswith(f"config/config.yaml -c 2 --forceall '{image}' --force '{image}'")
