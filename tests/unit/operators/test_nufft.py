"""Every NUFFT backend against the exact sum."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import exact_adjoint, exact_forward, random_trajectory, relative_error

from pipeline.errors import ConfigError, DependencyError, ShapeError
from pipeline.operators import nufft_choice
from pipeline.operators.nufft import NUFFT
from pipeline.operators.nufft_accuracy import smallest_tolerance
from pipeline.operators.nufft_backends import PLANS
from pipeline.operators.nufft_choice import choose_backend
from pipeline.operators.toeplitz import kernel_dtype

SHAPES = [(23,), (16, 21), (15, 12), (8, 11, 14), (9, 7, 10)]  # all sizes differ; odd and even
HOST = ["ducc0", "finufft", "torchkbnufft"]
SAMPLES = 150
CPU = torch.device("cpu")
PRETENDED = not torch.cuda.is_available()


def trajectory_of(shape, *, samples=SAMPLES, **options):
    return random_trajectory(shape, samples, **options)


def host_backend(name):
    pytest.importorskip(name)
    return name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.complex64, 1e-2),
        (torch.complex64, 1e-3),
        (torch.complex64, 1e-4),
        (torch.complex64, 1e-5),
        (torch.complex128, 1e-4),
        (torch.complex128, 1e-7),
        (torch.complex128, 1e-10),
    ],
    ids=lambda value: str(value).removeprefix("torch."),
)
@pytest.mark.parametrize("backend", HOST)
def test_reaches_the_tolerance(backend, shape, dtype, tolerance):
    host_backend(backend)
    if backend == "torchkbnufft" and tolerance < 1e-4:
        pytest.skip("tables take seconds to fill; the limit has a test of its own")
    trajectory = trajectory_of(shape, dtype=dtype.to_real())
    k = trajectory.numpy()
    operator = NUFFT(shape, trajectory, tolerance=tolerance, backend=backend, dtype=dtype)
    x = random_complex(*shape, dtype=dtype)
    y = random_complex(SAMPLES, dtype=dtype, seed=1)
    assert relative_error(operator(x).numpy(), exact_forward(x.numpy(), k)) <= tolerance
    adjoint = exact_adjoint(y.numpy(), k, shape)
    assert relative_error(operator.adjoint(y).numpy(), adjoint) <= tolerance
    assert_adjoint(operator)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("shape", [(64, 75), (20, 27, 24)], ids=str)
@pytest.mark.parametrize("backend", HOST)
def test_reaches_the_tolerance_on_a_constant_image(backend, shape, tolerance):
    # Harder than noise: nearly all samples are small against the one at the centre.
    host_backend(backend)
    trajectory = trajectory_of(shape, samples=1000, dtype=torch.float32)
    x = torch.ones(shape, dtype=torch.complex64)
    found = NUFFT(shape, trajectory, tolerance=tolerance, backend=backend)(x)
    truth = exact_forward(x.numpy(), trajectory.numpy())
    assert relative_error(found.numpy(), truth) <= tolerance


@pytest.mark.parametrize("backend", HOST)
@pytest.mark.parametrize("coils", [None, 5])
@pytest.mark.parametrize("deterministic", [False, True])
def test_frames_have_trajectories_of_their_own(backend, coils, deterministic):
    host_backend(backend)
    shape, frames = (10, 13), 3
    trajectory = trajectory_of(shape, frames=(frames,), samples=40, dtype=torch.float64)
    operator = NUFFT(
        shape,
        trajectory,
        coils=coils,
        tolerance=1e-4,
        backend=backend,
        dtype=torch.complex128,
        threads=2,
        deterministic=deterministic,
    )
    group = () if coils is None else (coils,)
    assert operator.domain == (frames, *group, *shape)
    assert operator.codomain == (frames, *group, 40)
    x = random_complex(2, *operator.domain)
    found = operator(x)
    assert found.shape == (2, *operator.codomain)
    flat_x = x.reshape(2, frames, -1, *shape).numpy()
    flat_y = found.reshape(2, frames, -1, 40).numpy()
    for index in np.ndindex(flat_x.shape[:3]):
        truth = exact_forward(flat_x[index], trajectory[index[1]].numpy())
        assert relative_error(flat_y[index], truth) <= 1e-4
    assert_adjoint(operator, batch=(2,))


@pytest.mark.parametrize("backend", HOST)
def test_any_batch_of_one_trajectory(backend):
    host_backend(backend)
    shape = (8, 11)
    operator = NUFFT(shape, trajectory_of(shape), coils=3, backend=backend, dtype=torch.complex128)
    x = random_complex(2, 2, 3, *shape)
    one_by_one = torch.stack([operator(item) for item in x.reshape(4, 3, *shape)])
    torch.testing.assert_close(operator(x).reshape(4, 3, -1), one_by_one)
    assert_adjoint(operator, batch=(2, 2))


@pytest.mark.parametrize("backend", HOST)
def test_the_scale_of_what_is_transformed_does_not_matter(backend):
    shape = (15, 12)
    trajectory = trajectory_of(shape, dtype=torch.float32)
    k = trajectory.numpy()
    nufft = NUFFT(shape, trajectory, tolerance=1e-4, backend=host_backend(backend))
    image, samples = (
        random_complex(*size, dtype=torch.complex64, seed=4) for size in (shape, (SAMPLES,))
    )
    samples[:50] *= 1e-3
    for scale in (1e-30, 1e-20, 1e-12, 1e20):
        there = nufft(scale * image).to(torch.complex128) / scale
        assert relative_error(there.numpy(), exact_forward(image.numpy(), k)) < 1e-4
        for some in (slice(50), slice(50, None)):  # what is dim is not lost beside the bright
            few = torch.zeros_like(samples)
            few[some] = samples[some]
            back = nufft.adjoint(scale * samples) - nufft.adjoint(scale * (samples - few))
            exact = exact_adjoint(few.numpy(), k, shape)
            assert relative_error(back.to(torch.complex128).numpy() / scale, exact) < 3e-3


@pytest.mark.parametrize("backend", ["ducc0", "finufft"])
@pytest.mark.parametrize("shape", [(30, 41), (12, 17, 20)], ids=str)
def test_deterministic_repeats_bit_by_bit(backend, shape):
    host_backend(backend)
    trajectory = trajectory_of(shape, samples=20000, dtype=torch.float32)
    y = random_complex(4, 20000, dtype=torch.complex64)
    results = [
        NUFFT(shape, trajectory, coils=4, backend=backend, threads=threads, deterministic=True)
        .adjoint(y)
        .numpy()
        .tobytes()
        for threads in (1, 2, 2, 3)
    ]
    assert len(set(results)) == 1


def test_wraps_trajectories_that_leave_the_period():
    shape = (12, 15)
    trajectory = trajectory_of(shape)
    x = random_complex(*shape)
    inside = NUFFT(shape, trajectory, tolerance=1e-6, dtype=torch.complex128)(x)
    outside = NUFFT(shape, trajectory + 2 * torch.pi, tolerance=1e-6, dtype=torch.complex128)(x)
    assert relative_error(outside.numpy(), inside.numpy()) < 4e-6


def test_centre_of_k_space_is_the_sum():
    shape = (9, 12, 7)
    operator = NUFFT(shape, torch.zeros(3, 1), tolerance=1e-5, dtype=torch.complex64)
    x = random_complex(*shape, dtype=torch.complex64)
    torch.testing.assert_close(operator(x)[0], x.sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("oversampling", "kernel_width"),
    [(1.5, 6), ((2.0, 1.5), (5, 7)), (2.0, None), (None, 6)],
    ids=str,
)
def test_torchkbnufft_takes_expert_settings(oversampling, kernel_width):
    host_backend("torchkbnufft")
    shape = (16, 21)
    trajectory = trajectory_of(shape)
    operator = NUFFT(
        shape,
        trajectory,
        backend="torchkbnufft",
        oversampling=oversampling,
        kernel_width=kernel_width,
        tolerance=1e-3,
        dtype=torch.complex128,
    )
    x = random_complex(*shape)
    assert relative_error(operator(x), exact_forward(x.numpy(), trajectory.numpy())) < 2e-3
    assert_adjoint(operator)


@pytest.mark.parametrize("backend", ["ducc0", "finufft"])
def test_oversampling_is_passed_on(backend):
    host_backend(backend)
    shape = (16, 21)
    trajectory = trajectory_of(shape)
    x = random_complex(*shape)
    truth = exact_forward(x.numpy(), trajectory.numpy())
    for oversampling in (1.25, 2.0):
        operator = NUFFT(
            shape, trajectory, backend=backend, oversampling=oversampling, dtype=torch.complex128
        )
        assert relative_error(operator(x), truth) <= 1e-3


@pytest.mark.parametrize("backend", ["ducc0", "finufft"])
@pytest.mark.parametrize(
    "expert", [{"kernel_width": 6}, {"oversampling": (2.0, 1.5)}], ids=["width", "per axis"]
)
def test_refuses_expert_settings_that_a_backend_lacks(backend, expert):
    host_backend(backend)
    with pytest.raises(ConfigError, match=f"{backend}.*torchkbnufft"):
        NUFFT((8, 9), trajectory_of((8, 9)), backend=backend, **expert)


def test_refuses_a_wrong_number_of_axes_in_expert_settings():
    host_backend("torchkbnufft")
    with pytest.raises(ConfigError, match="3 numbers"):
        NUFFT((8, 9), trajectory_of((8, 9)), backend="torchkbnufft", oversampling=(2, 2, 2))


@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("ducc0", torch.complex64, 1e-7),
        ("finufft", torch.complex64, 1e-6),
        ("torchkbnufft", torch.complex128, 1e-6),
        ("ducc0", torch.complex128, 1e-14),
    ],
)
def test_refuses_tolerances_out_of_reach(backend, dtype, tolerance):
    host_backend(backend)
    assert smallest_tolerance(backend, (8, 9), dtype) > tolerance
    with pytest.raises(ConfigError, match=f"{backend}.*{tolerance:.1e}"):
        NUFFT((8, 9), trajectory_of((8, 9)), backend=backend, dtype=dtype, tolerance=tolerance)


def test_refuses_what_it_does_not_know():
    with pytest.raises(ConfigError, match=r"'nfft'.*ducc0"):
        NUFFT((8, 9), trajectory_of((8, 9)), backend="nfft")
    with pytest.raises(ConfigError, match="complex32"):
        NUFFT((8, 9), trajectory_of((8, 9)), dtype=torch.complex32)
    with pytest.raises(ShapeError, match=r"\(8, 9\)"):
        NUFFT((8, 9), trajectory_of((8, 9, 10)))
    with pytest.raises(ShapeError, match="1 to 3 axes"):
        NUFFT((3, 3, 3, 3), torch.zeros(4, 5))


def test_refuses_wrong_shapes():
    operator = NUFFT((8, 9), trajectory_of((8, 9)), coils=2)
    with pytest.raises(ShapeError, match=r"\(2, 8, 10\).*\(2, 8, 9\)"):
        operator(torch.zeros(2, 8, 10, dtype=torch.complex64))
    with pytest.raises(ShapeError, match=r"complex128.*complex64"):
        operator(torch.zeros(2, 8, 9, dtype=torch.complex128))


@pytest.mark.slow
def test_torchkbnufft_reaches_its_limit():
    host_backend("torchkbnufft")
    shape = (16, 21)
    trajectory = trajectory_of(shape)
    operator = NUFFT(
        shape, trajectory, tolerance=1e-5, backend="torchkbnufft", dtype=torch.complex128
    )
    x = random_complex(*shape)
    assert relative_error(operator(x), exact_forward(x.numpy(), trajectory.numpy())) <= 1e-5


def test_names_the_way_to_install_a_missing_backend(monkeypatch):
    monkeypatch.setattr("pipeline.operators.nufft_choice.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"ducc0 is not installed.*kronufft\[ducc\]"):
        NUFFT((8, 9), trajectory_of((8, 9)), backend="ducc0")


def test_automatic_choice_falls_back(monkeypatch):
    choose = {"tolerance": 1e-3, "dtype": torch.complex64}
    installed = {"ducc0", "finufft", "torchkbnufft"}
    monkeypatch.setattr(nufft_choice, "usable", lambda name: name in installed)
    assert choose_backend((8, 9, 10), "cpu", "auto", **choose) == "ducc0"
    installed.remove("ducc0")
    assert choose_backend((8, 9, 10), "cpu", "auto", **choose) == "finufft"
    assert choose_backend((8, 9, 10), "cuda", "auto", **choose) == "torchkbnufft"
    installed.add("triton")
    assert choose_backend((8, 9, 10), "cuda", "auto", **choose) == "triton"
    installed.add("cufinufft")
    assert choose_backend((8, 9, 10), "cuda", "auto", **choose) == "cufinufft"
    with pytest.raises(ConfigError, match=r"set compute\.device to cpu"):
        choose_backend((8, 9), "cuda", "auto", deterministic=True, **choose)


def test_what_is_planned_for_another_device_need_not_be_installed_here(monkeypatch):
    monkeypatch.setattr(nufft_choice, "usable", lambda name: name == "finufft")
    choose = {"tolerance": 1e-3, "dtype": torch.complex64, "elsewhere": True}
    assert choose_backend((8, 9, 10), "cuda", "auto", **choose) == "cufinufft"
    assert choose_backend((8, 9, 10), "cpu", "auto", **choose) == "finufft"
    assert choose_backend((8, 9, 10), "cpu", "ducc0", **choose) == "ducc0"


def test_a_device_needs_another_than_torchkbnufft_for_kernels(monkeypatch):
    """Torchkbnufft is not accurate enough, in double precision neither."""
    monkeypatch.setattr(nufft_choice, "usable", lambda name: name == "torchkbnufft")
    with pytest.raises(ConfigError, match=r"torchkbnufft reaches 1.0e-05 .* install cufinufft"):
        kernel_dtype((8, 9, 10), torch.device("cuda"))


def test_a_backend_that_does_not_load_says_why(monkeypatch):
    why = "does not load (libcudart.so.12: cannot open shared object file)"
    monkeypatch.setattr(nufft_choice, "find_spec", lambda name: True)
    monkeypatch.setattr(nufft_choice, "_why_cufinufft_fails", lambda: why)
    assert not nufft_choice.usable("cufinufft")
    with pytest.raises(DependencyError, match=r"cufinufft does not load \(libcudart.*kronufft\[cu"):
        choose_backend((8, 9), "cuda", "cufinufft", tolerance=1e-3, dtype=torch.complex64)


def test_libraries_of_cuda_are_found_where_pip_puts_them(monkeypatch, tmp_path):
    """In the folders of CUDA 12 and 13; what one needs that is nowhere is named."""
    needs = {
        "libcufinufft.so": ["libcudart.so.13", "libcufft.so.12", "libm.so.6"],
        "libcufft.so.12": ["libabsent.so.13", "libcudart.so.13"],
    }
    files = ["nvidia/cu13/lib/libcudart.so.13", "nvidia/cufft/lib/libcufft.so.12"]
    for file in [*files, "cufinufft/__init__.py", "cufinufft/libcufinufft.so"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    loaded = ["libm.so.6"]

    def load(path, mode):
        name = Path(path).name
        for other in needs.get(name, []):
            if other not in loaded:
                raise OSError(f"{other}: cannot open shared object file: No such file or directory")
        loaded.append(name)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(nufft_choice.ctypes, "CDLL", load)
    monkeypatch.setattr(nufft_choice.importlib, "import_module", loaded.append)
    why = nufft_choice._why_cufinufft_fails.__wrapped__
    assert why().startswith("does not load (libabsent.so.13: cannot open")
    needs["libcufft.so.12"].remove("libabsent.so.13")
    assert why() == ""
    assert loaded[-3:] == ["libcufft.so.12", "libcufinufft.so", "cufinufft"]


def test_cufinufft_counts_points_of_its_grid_in_32_bits():
    trajectory = torch.zeros(3, 5)
    with pytest.raises(ConfigError, match=r"\(1100, 1000, 1024\).*1\.25.*2\^31"):
        PLANS["cufinufft"]((1100, 1000, 1024), trajectory, 1e-3, torch.complex64, threads=1)


def test_triton_is_chosen_where_it_can_build(monkeypatch, tmp_path):
    """It compiles what starts its kernels, when they are first used."""
    choose = {"tolerance": 1e-6, "dtype": torch.complex128}
    monkeypatch.setattr(nufft_choice, "_why_cufinufft_fails", lambda: "does not load")
    monkeypatch.setattr(nufft_choice, "find_spec", lambda name: True)
    for file in ("Python.h", "gcc"):
        (tmp_path / file).touch(mode=0o755)
    monkeypatch.setattr(nufft_choice.sysconfig, "get_path", lambda *names: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert choose_backend((8, 9), "cuda", "auto", **choose) == "triton"
    (tmp_path / "Python.h").unlink()
    assert nufft_choice._why_missing("triton").startswith("misses Python.h in")
    (tmp_path / "gcc").unlink()
    assert nufft_choice._why_missing("triton") == "finds no C compiler"


def test_devices_are_checked():
    with pytest.raises(ConfigError, match="ducc0 works on cpu, found cuda"):
        choose_backend((8, 9), "cuda", "ducc0", tolerance=1e-3, dtype=torch.complex64)


@pytest.mark.parametrize("backend", ["ducc0", "finufft"])
def test_gradients(backend):
    host_backend(backend)
    shape = (5, 6)
    operator = NUFFT(
        shape, trajectory_of(shape, samples=7), backend=backend, tolerance=1e-9,
        dtype=torch.complex128,
    )  # fmt: skip
    x = random_complex(*shape).requires_grad_()
    y = random_complex(7).requires_grad_()
    assert torch.autograd.gradcheck(operator, x)
    assert torch.autograd.gradcheck(operator.adjoint, y)
    assert torch.autograd.gradgradcheck(operator, x)


@pytest.mark.parametrize("shape", [(9,), (5, 6), (3, 5, 4)], ids=str)
@pytest.mark.parametrize(("frames", "coils"), [((), None), ((2,), 3)], ids=["one", "frames"])
def test_gradients_of_the_trajectory(shape, frames, coils):
    trajectory = trajectory_of(shape, frames=frames, samples=7).requires_grad_()
    group = () if coils is None else (coils,)
    x = random_complex(2, *frames, *group, *shape)
    y = random_complex(2, *frames, *group, 7)
    options = {"coils": coils, "tolerance": 1e-10, "dtype": torch.complex128}

    def forward(k, x):
        return NUFFT(shape, k, **options)(x)

    def adjoint(k, y):
        return NUFFT(shape, k, **options).adjoint(y)

    # Along random directions where there are many inputs.
    check = partial(torch.autograd.gradcheck, eps=1e-5, fast_mode=coils is not None)
    assert check(forward, (trajectory, x))
    assert check(adjoint, (trajectory, y))
    assert check(lambda k: (NUFFT(shape, k, **options).H)(y), trajectory)


def test_gradients_of_the_trajectory_of_a_normal_operator_and_of_every_order():
    shape = (5, 6)
    trajectory = trajectory_of(shape, samples=7).requires_grad_()
    x = random_complex(*shape)

    def normal(k):
        operator = NUFFT(shape, k, tolerance=1e-10, dtype=torch.complex128)
        return (operator.H @ operator)(x)

    assert torch.autograd.gradcheck(normal, trajectory, eps=1e-5)
    assert torch.autograd.gradgradcheck(normal, trajectory, eps=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", ["cufinufft", "triton", "torchkbnufft"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_device_agrees_with_the_exact_sum(backend, shape, dtype):
    if backend == "torchkbnufft" and PRETENDED:
        pytest.skip("TorchScript knows nothing of a pretended device")
    host_backend(backend)
    if backend == "triton" and PRETENDED:
        pytest.skip("its interpreter takes minutes; test_nufft_triton.py has less to compute")
    trajectory = trajectory_of(shape, frames=(2,), dtype=dtype.to_real())
    operator = NUFFT(
        shape, trajectory.cuda(), coils=3, tolerance=1e-4, backend=backend, dtype=dtype
    )
    x = random_complex(*operator.domain, dtype=dtype)
    found = operator(x.cuda()).cpu().numpy()
    for frame, coil in np.ndindex(2, 3):
        truth = exact_forward(x[frame, coil].numpy(), trajectory[frame].numpy())
        assert relative_error(found[frame, coil], truth) <= 1e-4
    assert_adjoint(operator, batch=(2,))
    with torch.cuda.stream(torch.cuda.Stream()):  # plans follow the caller's stream
        torch.testing.assert_close(operator(x.cuda()).cpu().numpy(), found)
