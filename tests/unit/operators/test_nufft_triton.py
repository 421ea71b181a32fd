"""The NUFFT of Triton against the exact sum: where there is no GPU, by Triton's interpreter."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, exact_adjoint, exact_forward, random_trajectory, relative_error

from pipeline.errors import ConfigError
from pipeline.operators import nufft_memory
from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_backends import plan_class
from pipeline.operators.nufft_memory import nufft_workspace_bytes
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum

pytest.importorskip("triton")
pytestmark = pytest.mark.gpu
PRETENDED = not torch.cuda.is_available()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.complex64, 1e-1),
        (torch.complex64, 1e-3),
        (torch.complex64, 3e-6),
        (torch.complex128, 1e-6),
        (torch.complex128, 1e-9),
        (torch.complex128, 1e-12),
    ],
    ids=lambda value: str(value).removeprefix("torch."),
)
@pytest.mark.parametrize("shape", [(23,), (16, 21), (5, 11, 14)], ids=str)
def test_reaches_the_tolerance(shape, dtype, tolerance):
    if len(shape) == 3 and tolerance < 1e-6:
        pytest.skip("the interpreter takes seconds; kernels are the same along each axis")
    trajectory = random_trajectory(shape, 15, dtype=dtype.to_real())
    k = trajectory.numpy()
    operator = NUFFT(
        shape, trajectory.cuda(), coils=3, tolerance=tolerance, backend="triton", dtype=dtype
    )
    x = random_complex(3, *shape, dtype=dtype)
    x[1], x[2] = 1, 0
    x[2].view(-1)[0] = 1  # the voxel in the corner, where the kernel is corrected most
    y = random_complex(3, 15, dtype=dtype, seed=1)
    forward, adjoint = operator(x.cuda()).cpu().numpy(), operator.adjoint(y.cuda()).cpu().numpy()
    for coil in range(3):
        assert relative_error(forward[coil], exact_forward(x[coil].numpy(), k)) <= tolerance
        exact = exact_adjoint(y[coil].numpy(), k, shape)
        assert relative_error(adjoint[coil], exact) <= tolerance
    assert_adjoint(operator, rtol=1e-6 if dtype == torch.complex64 else 1e-14)


def test_in_single_precision_the_error_does_not_grow_with_the_matrix():
    shape, dtype = (30000,), torch.complex64
    trajectory = random_trajectory(shape, 40, dtype=torch.float32)
    x = random_complex(*shape, dtype=dtype)
    found = NUFFT(shape, trajectory.cuda(), tolerance=3e-6, backend="triton")(x.cuda())
    assert relative_error(found.cpu().numpy(), exact_forward(x.numpy(), trajectory.numpy())) < 1e-6


@pytest.mark.parametrize("oversampling", [1.25, 1.5, 2.0])
def test_any_oversampling_has_a_kernel(oversampling):
    shape, dtype = (20, 27), torch.complex128
    trajectory = random_trajectory(shape, 30)
    x = random_complex(*shape)
    for tolerance in (1e-2, 1e-4, 1e-6):
        operator = NUFFT(
            shape, trajectory.cuda(), tolerance=tolerance, backend="triton", dtype=dtype,
            oversampling=oversampling,
        )  # fmt: skip
        exact = exact_forward(x.numpy(), trajectory.numpy())
        assert relative_error(operator(x.cuda()).cpu().numpy(), exact) <= tolerance


def test_refuses_what_no_kernel_reaches():
    trajectory = random_trajectory((8, 9), 5).cuda()
    with pytest.raises(ConfigError, match=r"triton.*1e-09.*1\.25; raise"):
        NUFFT(
            (8, 9), trajectory, tolerance=1e-9, backend="triton", oversampling=1.25,
            dtype=torch.complex128,
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"triton.*torchkbnufft"):
        NUFFT((8, 9), trajectory, backend="triton", kernel_width=6)


def test_frames_and_many_coils(monkeypatch):
    """More coils than one program has, and more than one call may have."""
    shape, frames, coils = (10, 13), 2, 11
    trajectory = random_trajectory(shape, 7, frames=(frames,))
    options = {"tolerance": 1e-5, "backend": "triton", "dtype": torch.complex128}
    operator = NUFFT(shape, trajectory.cuda(), coils=coils, **options)
    x = random_complex(2, frames, coils, *shape)
    found = operator(x.cuda()).cpu().numpy()
    for index in np.ndindex(2, frames, coils):
        exact = exact_forward(x[index].numpy(), trajectory[index[1]].numpy())
        assert relative_error(found[index], exact) <= 1e-5
    assert_adjoint(operator, batch=(2,))
    monkeypatch.setattr(nufft_memory, "_GROUPED", 5 * 16 * 20 * 27)
    groups = NUFFT(shape, trajectory.cuda(), coils=coils, **options)
    assert groups._plans[0][0].group == 5
    torch.testing.assert_close(groups(x.cuda()).cpu().numpy(), found, rtol=1e-12, atol=1e-12)
    assert_adjoint(groups)


def test_samples_at_the_edges_and_beyond_the_period():
    shape = (6, 9)
    edges = torch.tensor([-1.0, -1e-16, 0.0, 1e-16, 1.0, 1.0 - 1e-16, 3.3])
    trajectory = torch.cartesian_prod(edges.double(), edges.double()).T * torch.pi
    operator = NUFFT(
        shape, trajectory.cuda(), tolerance=1e-9, backend="triton", dtype=torch.complex128
    )
    x = random_complex(*shape)
    exact = exact_forward(x.numpy(), trajectory.numpy())
    assert relative_error(operator(x.cuda()).cpu().numpy(), exact) <= 1e-9


def test_kernel_of_a_toeplitz_operator():
    shape = (7, 10)
    trajectory = random_trajectory(shape, 40)
    weights = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectrum = toeplitz_spectrum(
        shape, trajectory.cuda(), weights.cuda(), backend="triton", dtype=torch.complex128
    )
    x = random_complex(*shape)
    matrix = dense_matrix(shape, trajectory.numpy())
    exact = matrix.conj().T @ (weights.numpy() * (matrix @ x.numpy().ravel()))
    assert relative_error(Toeplitz(spectrum, shape)(x.cuda()).cpu().numpy().ravel(), exact) < 5e-6


@pytest.mark.parametrize(
    ("shape", "samples", "coils", "dtype"),
    [((60, 75), 20, 6, torch.complex64), ((30, 27), 20000, 1, torch.complex128)],
    ids=["grids", "samples"],
)
def test_memory_is_predicted(monkeypatch, shape, samples, coils, dtype):
    """Without a GPU what sorting takes inside is not seen; a work area of cuFFT's is pretended."""
    if PRETENDED:
        monkeypatch.setattr(plan_class("triton"), "_launch", lambda *arguments, **options: None)
    trajectory = random_trajectory(shape, samples, dtype=dtype.to_real()).cuda()
    x = random_complex(coils, *shape, dtype=dtype).cuda()
    y = random_complex(coils, samples, dtype=dtype).cuda()
    working, resident = nufft_workspace_bytes(
        shape, samples, coils, backend="triton", tolerance=1e-3, itemsize=dtype.itemsize
    )
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    plan = plan_class("triton")(shape, trajectory, 1e-3, dtype, threads=1)
    kept = torch.cuda.memory_allocated() - before
    assert resident <= kept <= resident + 5000  # and small tables, each in blocks of 512
    plan.forward(x, y)
    plan.adjoint(y, x)
    assert 0.5 * working < torch.cuda.max_memory_allocated() - before <= 1.01 * working


COMPILE = """
from types import SimpleNamespace
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from pipeline.operators import nufft_triton

class Compiled:
    def __init__(self, kernel):
        self.kernel = kernel
    def __getitem__(self, grid):
        def launch(*arguments, **options):
            made = self.kernel.warmup(*arguments, grid=grid, **options).asm
            print(len(made["cubin"]) > 0, made["ptx"].count("relaxed.add.v4.f32"))
        return launch

nufft_triton._gridding = Compiled(nufft_triton._gridding)
for capability in (80, 90):
    driver.set_active(SimpleNamespace(
        get_current_device=lambda: capability,
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", capability, 32),
    ))
    for shape, coils, dtype in (((5, 6, 7), 8, torch.complex64), ((5, 6), 3, torch.complex128)):
        trajectory = torch.zeros(len(shape), 9)
        plan = nufft_triton.TritonPlan(shape, trajectory, 1e-3, dtype, threads=1)
        images = torch.zeros(coils, *shape, dtype=dtype)
        samples = torch.zeros(coils, 9, dtype=dtype)
        plan.forward(images, samples)
        plan.adjoint(samples, images)
"""


@pytest.mark.slow
def test_it_compiles_for_gpus_that_are_not_there(tmp_path):
    """To machine code, as launched; eight coils are added four numbers at a time from 9.0 on."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = ["True 0"] * 5 + ["True 4"] + ["True 0"] * 2
    assert done.stdout.splitlines() == expected, done.stderr
