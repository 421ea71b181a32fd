"""Leases of devices, with processes that really run and really die; the devices are only names."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from pipeline.engine.leases import leased_device
from pipeline.errors import DeviceError

JOB = """
import os, sys, time
from pipeline.engine.leases import leased_device
with leased_device(sys.argv[1]) as device:
    print(device, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    time.sleep(float(sys.argv[2]))
    assert "torch" not in sys.modules
"""


@pytest.fixture(autouse=True)
def _two_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@contextmanager
def job(device="auto", seconds=60.0):
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, device, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def holds(process):
    return process.stdout.readline().split()


def test_jobs_get_different_devices_and_the_next_one_waits_for_a_killed_one():
    with job() as first, job() as second:
        assert {tuple(holds(first)), tuple(holds(second))} == {("auto", "3"), ("auto", "7")}
        with job() as third:
            leased = third.stderr.readline()
            assert leased.startswith("waiting for a device")
            time.sleep(1)
            assert third.poll() is None
            second_device = second.stderr.readline().split()[2]
            os.kill(second.pid, signal.SIGKILL)
            assert holds(third) == ["auto", second_device]


def test_a_process_that_a_holder_starts_shares_its_device():
    with leased_device("cuda:1"), job("cuda", 0.0) as started:
        assert holds(started) == ["cuda", "7"]
    with job("cuda") as next_one:  # and holds nothing once it is over
        assert holds(next_one) == ["cuda", "7"]


def test_a_numbered_device_is_waited_for_though_another_is_free():
    with job("cuda:1") as first:
        assert holds(first) == ["cuda", "7"]
        with job("cuda:1", 0.0) as second, job("cuda", 0.0) as third:
            assert holds(third) == ["cuda", "3"]
            assert second.stderr.readline().startswith("waiting")
            os.kill(first.pid, signal.SIGKILL)
            assert holds(second) == ["cuda", "7"]


def test_many_jobs_never_share(tmp_path):
    """Each job makes a file for its device that must not be there yet."""
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from pipeline.engine.leases import leased_device\n"
        "with leased_device('cuda'):\n"
        "    mark = Path(sys.argv[1]) / os.environ['CUDA_VISIBLE_DEVICES']\n"
        "    mark.touch(exist_ok=False)\n"
        "    time.sleep(0.1)\n"
        "    mark.unlink()\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(8)]
    assert [process.wait(60) for process in jobs] == [0] * 8


def test_an_allocation_of_a_scheduler_has_leases_of_its_own(monkeypatch):
    with job("cuda:0") as other_job_of_the_machine:
        assert holds(other_job_of_the_machine) == ["cuda", "3"]
        monkeypatch.setenv("SLURM_JOB_ID", "41")
        with job("cuda:0") as first:
            assert holds(first) == ["cuda", "3"]
            with job("auto", 0.0) as beside_it:
                assert holds(beside_it) == ["auto", "7"]


@pytest.mark.parametrize(
    ("visible", "device"), [("3,7", "cpu"), ("", "auto"), ("-1", "auto"), ("NoDevFiles", "cuda")]
)
def test_nothing_happens_without_a_device(monkeypatch, tmp_path, visible, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with leased_device(device) as leased:
        assert leased == device
        assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_visible_is_refused():
    with (
        pytest.raises(DeviceError, match=r"cuda:2 was asked for, but 2 devices"),
        leased_device("cuda:2"),
    ):
        pass
