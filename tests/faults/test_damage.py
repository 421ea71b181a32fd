"""Files that are cut off, and memory that is not there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_run import Run

from pipeline.errors import KronufftError

ROOT = Path(__file__).parents[2]
# All that a job needs to start is there; what it then asks for is not.
STARVED = """
import resource, sys
sys.path[:0] = sys.argv[2:]
import torch, zarr
from pathlib import Path
from small_run import Run
import pipeline.mri.measurement, pipeline.stages.reconstruct, pipeline.storage.archives

run = Run(Path(sys.argv[1]))
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20,) * 2)
run.stages("reconstruct", "reconstruct")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run")).all()


@pytest.fixture(scope="module")
def expected(run):
    return run.images()


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("raw.zarr/kspace/c/*/*/*/*", "raw.json"),
        ("cg/shares/*.zip", "cg/shares/0000-"),
        ("cg/blocks/*.zip", "cg/blocks/0000.zarr.zip"),
        ("cg/image.zarr/image/c/*/*/*/*", "cg/image.json"),
    ],
)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_file_that_is_cut_off_stops_what_reads_it(run, expected, pattern, named, share):
    file = sorted(run.folder.glob(pattern))[-1]
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    try:
        with pytest.raises(KronufftError) as stopped:
            run.go_on_after(file)
    finally:
        file.write_bytes(whole)
    assert str(run.folder / named) in str(stopped.value)
    assert "snakemake --cores all --force" in str(stopped.value)
    run.go_on_after(file)
    np.testing.assert_array_equal(run.images(), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_a_job_without_memory_publishes_nothing_and_succeeds_with_it(run, expected):
    block = run.folder / "cg/blocks/0000.zarr.zip"
    receipt = run.folder / "cg/receipts/reconstruct-0000.json"
    for result in (block, receipt):
        result.unlink()
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(run.files.results), str(ROOT), str(ROOT / "tests")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert any(words in done.stderr for words in ("memory", "Memory", "new thread")), done.stderr
    assert not block.exists()
    assert not receipt.exists()
    run.stages("reconstruct")
    np.testing.assert_array_equal(run.images(), expected)
