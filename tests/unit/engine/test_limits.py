"""Limits that are measured: of the devices that a job will see, by a driver of two devices; and of
control groups, in made-up trees and in a real one."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.engine import limits
from pipeline.engine.limits import (
    device_memory_mb,
    group_limits,
    host_memory_mb,
    planned_limits,
)
from pipeline.errors import PlanError

MEMORY = {0: 8000, 1: 16000, "GPU-5a": 16000, "MIG-7": 5000}


@pytest.fixture(autouse=True)
def _driver(monkeypatch):
    driver = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=MEMORY[handle] * 10**6),
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(limits, "_torch_has_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1", [16000, None]),
        ("1,0", [16000, 8000]),
        ("GPU-5a", [16000, None]),
        ("MIG-7", [5000, None]),
        ("", [None]),
        ("-1,0", [None]),
    ],
)
def test_devices_are_those_that_are_visible(monkeypatch, visible, found):
    assert [device_memory_mb(number) for number in (0, 1, 2)] == [8000, 16000, None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device_memory_mb(number) for number in range(len(found))] == found


def test_plans_are_for_what_the_jobs_will_compute_on(monkeypatch):
    assert planned_limits("auto", "auto", 700) == (7200, 700)
    assert planned_limits("cuda:1", "auto", 700) == (14400, 700)
    assert planned_limits("cuda", 3000, 700) == (3000, 700)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert planned_limits("auto", "auto", 700) == (0, 700)
    with pytest.raises(PlanError, match="this machine does not have"):
        planned_limits("cuda", "auto", 700)


def test_a_torch_without_cuda_computes_on_the_cpu_whatever_the_driver_has(monkeypatch):
    monkeypatch.setattr(limits, "_torch_has_cuda", lambda: False)
    assert planned_limits("auto", "auto", 700) == (0, 700)


def made_up(tmp_path, groups, mounts, limits):
    """Make the folder of a process, and the control groups that are mounted in it."""
    (tmp_path / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    lines = [
        f"{30 + number} 1 0:{number} {root} {tmp_path / place} rw shared:9 - {kind} x {options}\n"
        for number, (root, place, kind, options) in enumerate(mounts)
    ]
    (tmp_path / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "".join(lines))
    for name, limit in limits.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return sorted(group_limits(tmp_path))


UNIFIED = [("/", "sys", "cgroup2", "rw,nsdelegate")]


@pytest.mark.parametrize(
    ("groups", "mounts", "limits", "found"),
    [
        pytest.param(
            ["0::/user.slice/job/step"],
            UNIFIED,
            {
                "sys/user.slice/memory.max": 3000,
                "sys/user.slice/job/memory.max": 2000,
                "sys/user.slice/job/step/memory.max": "max",
                "sys/user.slice/another/memory.max": 10,
            },
            [2000, 3000],
            id="version 2, the least of those above",
        ),
        pytest.param(
            ["9:name=systemd:/", "4:cpu,memory:/slurm/job_7", "0::/"],
            [
                ("/", "sys/systemd", "cgroup", "rw,name=systemd"),
                ("/", "sys/memory", "cgroup", "rw,memory,cpu"),
                ("/", "sys/unified", "cgroup2", "rw"),
            ],
            {
                "sys/memory/memory.limit_in_bytes": 2**63 - 4096,
                "sys/memory/slurm/memory.limit_in_bytes": 4000,
                "sys/memory/slurm/job_7/memory.limit_in_bytes": 1500,
                "sys/systemd/memory.limit_in_bytes": 10,
            },
            [1500, 4000, 2**63 - 4096],
            id="version 1",
        ),
        pytest.param(
            ["0::/"], UNIFIED, {"sys/memory.max": 700}, [700], id="a container's own root"
        ),
        pytest.param(
            ["0::/docker/5a"],
            [("/docker/5a", "sys", "cgroup2", "rw")],
            {"sys/memory.max": 800},
            [800],
            id="a container that sees its own group alone",
        ),
        pytest.param(
            ["0::/kubepods/pod-9"],
            UNIFIED,
            {"sys/memory.max": 900},
            [900],
            id="a path that is not seen from within",
        ),
        pytest.param(["0::/"], [], {}, [], id="none is mounted"),
    ],
)
def test_limits_are_those_of_the_own_control_group(tmp_path, groups, mounts, limits, found):
    assert made_up(tmp_path, groups, mounts, limits) == found


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_process_in_a_group_of_2_gb_has_2_gb():
    limits_of = {"memory": "memory.limit_in_bytes", "": "memory.max"}
    for above, limit in limits_of.items():
        group = Path("/sys/fs/cgroup", above, f"kronufft-test-{os.getpid()}")
        try:
            group.mkdir()
            (group / limit).write_text(str(2 * 10**9))
            break
        except OSError:
            if group.is_dir():
                group.rmdir()
    else:
        pytest.skip("no control group can be made here")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        os.write(writing, str(host_memory_mb()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    group.rmdir()
    assert told == pytest.approx(2000, abs=1)
