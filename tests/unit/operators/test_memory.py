"""Stated workspace against the peak of a process of its own."""

import sys

import pytest
from forked import forked

BACKENDS = ("ducc0", "finufft")
CASES = ("volume", "deterministic", "series", "spectrum")

# How much work raises the resident memory of a process above what it returns, once all is loaded.
MEASURE = """
import gc, math, torch
from pipeline.host_memory import return_freed_memory
return_freed_memory()  # as every job does
torch.manual_seed(0)
from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_memory import nufft_workspace_bytes, parallel_transforms
from pipeline.operators.sense import SenseNormal
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.operators.toeplitz_memory import padded_shape, toeplitz_spectrum_workspace_bytes
def resident(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))
def trajectory(*sizes):
    return torch.rand(*sizes).mul_(2).sub_(1).mul_(math.pi)
def grown(work):
    gc.collect()
    with open("/proc/self/clear_refs", "w") as peaks:
        peaks.write("5")
    start = resident("VmRSS")
    result = work()
    return resident("VmHWM") - start - result.nbytes
def built(make, *inputs):
    def work():
        return make().adjoint(*inputs)
    return grown(work)
def nufft_bytes(shape, samples, coils, frames=1, deterministic=False):
    sizes = dict(backend=BACKEND, threads=2)
    workers = parallel_transforms(shape, frames, coils, deterministic=deterministic, **sizes)
    return nufft_workspace_bytes(
        shape, samples, coils, frames=frames, workers=workers, tolerance=1e-3, itemsize=8, **sizes
    )[0]
small = NUFFT((8, 9, 10), trajectory(3, 50), backend=BACKEND)
small.adjoint(small(torch.zeros(8, 9, 10, dtype=torch.complex64)))
spectrum = toeplitz_spectrum((8, 9, 10), trajectory(3, 50), backend=BACKEND)
maps = torch.zeros(3, 8, 9, 10, dtype=torch.complex64)
SenseNormal(Toeplitz(spectrum, (8, 9, 10)), maps, 2)(maps[0])
"""

NUFFT_VOLUME = """
k, y = trajectory(3, 3_000_000), torch.randn(2, 3_000_000, dtype=torch.complex64)
measured = built(lambda: NUFFT((180, 170, 200), k, coils=2, backend=BACKEND, threads=2), y)
predicted = nufft_bytes((180, 170, 200), 3_000_000, 2)
"""
NUFFT_DETERMINISTIC = """
k, y = trajectory(3, 200_000), torch.randn(4, 200_000, dtype=torch.complex64)
measured = built(
    lambda: NUFFT(
        (160, 150, 170), k, coils=4, backend=BACKEND, threads=2, deterministic=True
    ), y
)
predicted = nufft_bytes((160, 150, 170), 200_000, 4, deterministic=True)
"""
NUFFT_SERIES = """
k, y = trajectory(16, 2, 1_500_000), torch.randn(16, 1, 1_500_000, dtype=torch.complex64)
measured = built(lambda: NUFFT((200, 180), k, coils=1, backend=BACKEND, threads=2), y)
predicted = nufft_bytes((200, 180), 1_500_000, 1, frames=16)
"""
SPECTRUM = """
shape, k = (120, 128, 100), trajectory(3, 3_000_000)
measured = grown(lambda: toeplitz_spectrum(shape, k, backend=BACKEND, threads=2))
predicted = toeplitz_spectrum_workspace_bytes(
    shape, 3_000_000, backend=BACKEND, itemsize=8, threads=2
)
"""
SENSE = """
shape = (192, 180, 200)
spectrum, maps = torch.rand(padded_shape(shape)), torch.randn(2, *shape, dtype=torch.complex64)
x = torch.randn(shape, dtype=torch.complex64)
measured = built(lambda: SenseNormal(Toeplitz(spectrum, shape, threads=2), maps, 2), x)
predicted = Tiling(shape, padded_shape(shape), 8, host=True).workspace_bytes(2, 1, threads=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("case", "excess", "backend"),
    [
        *((NUFFT_VOLUME, 1.5, backend) for backend in BACKENDS),
        # Its threads need not reach their peaks at the same time.
        *((NUFFT_DETERMINISTIC, 2.0, backend) for backend in BACKENDS),
        *((NUFFT_SERIES, 1.25, backend) for backend in BACKENDS),
        *((SPECTRUM, 1.6, backend) for backend in BACKENDS),
        (SENSE, 1.25, "finufft"),
    ],
    ids=[
        *(f"{case}-{backend}" for case in CASES for backend in BACKENDS),
        "sense",
    ],
)
def test_peak_is_predicted(tmp_path, case, excess, backend):
    pytest.importorskip(backend)
    program = f"BACKEND = {backend!r}\n{MEASURE}{case}print(measured, predicted)"
    status, output = forked("kronufft", cwd=tmp_path, code=program)
    assert status == 0, output
    measured, predicted = map(int, output.split())
    assert measured > 50e6, "too small to say anything"
    assert measured <= predicted <= excess * measured
