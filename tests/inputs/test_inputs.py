"""The short form of `make test-input`: one kind of each group, in a process that has loaded all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="limits and peaks of memory are those of Linux")
def test_inputs_end_in_one_line_or_in_the_right_image(tmp_path):
    told = [sys.executable, "-m", "inputs.harness", "--short", "--json", str(tmp_path / "outcomes")]
    done = subprocess.run(
        told,
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "outcomes").read_text())) > 50
