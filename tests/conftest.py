"""What holds for all tests. Read before numpy and torch are."""

import os
import sys
from contextlib import contextmanager
from unittest.mock import patch

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself does

# Two workers share two cores, and arrays are small: more threads mostly wait for each other. What
# threads change has tests that ask for several, and programs of their own choose for themselves.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
with patch.dict(os.environ, THREADS):
    import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that all workers end together."""
    items.sort(key=lambda item: "unit" in item.path.parts)


def pytest_runtest_teardown():
    """Undo the threads of torch that a stage has set, where one ran in this process."""
    torch.set_num_threads(1)


@contextmanager
def _a_device(wanted):
    if wanted and not torch.cuda.is_available():
        if sys.platform != "linux":
            pytest.skip("no CUDA device, and on Linux alone one is pretended")
        from pretend_cuda import pretend_cuda

        with pretend_cuda():
            yield
    else:
        yield


@pytest.fixture(autouse=True, scope="session")
def _device_for_all():
    """Give all tests a device where `KRONUFFT_TEST_DEVICE` asks for one; pretended if need be."""
    with _a_device(os.environ.get("KRONUFFT_TEST_DEVICE") == "cuda"):
        yield


@pytest.fixture(autouse=True)
def _device(request):
    """Give tests of devices a pretended one where there is none."""
    with _a_device(request.node.get_closest_marker("gpu")):
        yield
