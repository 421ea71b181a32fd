"""Limits that are measured: of the devices that a job will see, by a driver of two devices."""

import sys
from types import SimpleNamespace

import pytest

from pipeline.engine import limits
from pipeline.engine.limits import device_memory_mb, planned_limits
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
