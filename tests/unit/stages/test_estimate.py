"""`kronufft estimate`: the plan of data that need not exist, by the same functions as `plan`."""

import re

import pytest
from acquisitions import write_acquisition
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import ConfigError, PlanError


def estimate(*arguments):
    command = ["estimate", "--host-mb", "4000", *map(str, arguments)]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_stored_and_imagined_data_of_the_same_sizes_have_the_same_plan(tmp_path):
    write_acquisition(tmp_path, shape=(48, 40), coils=6, readouts=30, samples=64, frames=4)
    chosen = ("--algorithm", "cg-sense", "--iterations", 3)
    stored = estimate(*chosen, "--raw", tmp_path / "raw.json")
    sizes = ("--coils", 6, "--samples", 30 * 64, "--samples-per-readout", 64, "--frames", 4)
    imagined = estimate(*chosen, "--shape", "48x40", *sizes)
    assert stored == imagined
    assert "cg-sense: 4 images of 48 x 40 from 6 coils of 1,920 samples: 1 block" in imagined
    (host_mb,) = re.findall(r"the largest needs (\d+) MB of the host", imagined)
    assert 300 < int(host_mb) < 4000


def test_pairs_are_planned_by_the_form_that_serves_them():
    sizes = ("--shape", "128x128", "--pairs", 6, "--frequencies", 64, "--rows", "32x64")
    found = estimate("--algorithm", "tikhonov", *sizes)
    assert "tikhonov: 128 x 128 from 6 pairs of 64 frequencies: 1 block" in found


def test_what_does_not_fit_is_refused():
    with pytest.raises(PlanError, match=r"estimate: .*Each of these would fit: memory\.host_mb"):
        estimate(
            "--algorithm", "cg-sense", "--shape", "512x512x512", "--coils", 8, "--samples", 1000
        )
    with pytest.raises(ConfigError, match="tikhonov is not for mri"):
        estimate("--algorithm", "tikhonov", "--shape", "64x64", "--samples", 1000)
    with pytest.raises(ConfigError, match="how many `--samples`"):
        estimate("--algorithm", "gridding", "--shape", "64x64")
    with pytest.raises(ConfigError, match="found `--rows`"):
        estimate("--algorithm", "tikhonov", "--shape", "64x64", "--pairs", 2)
