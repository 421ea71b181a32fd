"""The convolution form of the normal operator against the dense ``A^H W A``."""

import math

import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, DependencyError, ShapeError
from pipeline.operators import fourier, nufft_choice, toeplitz_memory
from pipeline.operators.tiling import Tiling
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.operators.toeplitz_memory import kernel_pieces, padded_shape

SHAPES = [(19,), (12, 15), (13, 10), (6, 9, 8), (7, 5, 10), (1, 6, 7)]  # odd, even, prime, flat
LIBRARIES = ["ducc0", "mkl", "scipy", "torch"]
SAMPLES = 120


def library(name):
    if name not in ("mkl", "torch"):
        pytest.importorskip(name)
    return name


def measured(shape, *, frames=(), dtype=torch.float64, seed=5):
    """Return a trajectory and positive weights."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.rand(*frames, len(shape), SAMPLES, generator=generator, dtype=torch.float64)
    w = torch.rand(*frames, SAMPLES, generator=generator, dtype=torch.float64)
    return ((2 * k - 1) * torch.pi).to(dtype), w.to(dtype)


def dense_normal(shape, trajectory, weights):
    matrix = dense_matrix(shape, trajectory.numpy())
    return matrix.conj().T @ (weights.numpy()[:, None] * matrix)


@pytest.mark.parametrize("fft", LIBRARIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance", "allowed"),
    [(torch.complex64, 1e-6, 3e-6), (torch.complex128, 1e-10, 1e-9)],
    ids=["single", "double"],
)
def test_matches_dense(fft, shape, dtype, tolerance, allowed):
    trajectory, weights = measured(shape, dtype=dtype.to_real())
    spectrum = toeplitz_spectrum(shape, trajectory, weights, tolerance=tolerance, dtype=dtype)
    assert spectrum.dtype == dtype.to_real()
    operator = Toeplitz(spectrum, shape, fft=library(fft), threads=2)
    x = random_complex(2, *shape, dtype=dtype)
    truth = x.reshape(2, -1).numpy() @ dense_normal(shape, trajectory, weights).T
    assert relative_error(operator(x).reshape(2, -1).numpy(), truth) <= allowed
    assert_adjoint(operator, batch=(3,))


@pytest.mark.parametrize("backend", ["ducc0", "finufft"])
def test_single_precision_kernel_from_any_backend(backend):
    pytest.importorskip(backend)
    shape = (6, 9, 8)
    trajectory, weights = measured(shape, dtype=torch.float32)
    spectrum = toeplitz_spectrum(shape, trajectory, weights, backend=backend)
    x = random_complex(*shape, dtype=torch.complex64)
    truth = dense_normal(shape, trajectory, weights) @ x.flatten().numpy()
    assert relative_error(Toeplitz(spectrum, shape)(x).flatten().numpy(), truth) <= 5e-6


def test_single_precision_kernel_without_ducc0(monkeypatch):
    monkeypatch.setattr(nufft_choice, "usable", lambda name: name == "finufft")
    shape = (12, 15)
    trajectory, weights = measured(shape, dtype=torch.float32)
    spectrum = toeplitz_spectrum(shape, trajectory, weights)  # FINUFFT reaches 1e-6 in double only
    assert spectrum.dtype == torch.float32
    x = random_complex(*shape, dtype=torch.complex64)
    truth = dense_normal(shape, trajectory, weights) @ x.flatten().numpy()
    assert relative_error(Toeplitz(spectrum, shape)(x).flatten().numpy(), truth) <= 5e-6


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 11), min_size=2, max_size=3),
    frames=st.integers(1, 3),
    coils=st.integers(1, 4),
    fft=st.sampled_from(["mkl", "scipy", "torch"]),
    cache=st.sampled_from([2**10, 2**12, 2**20]),
)
def test_any_shape_in_any_pieces(shape, frames, coils, fft, cache):
    kernel = torch.rand(frames, *padded_shape(shape), dtype=torch.float64)
    x = random_complex(frames, coils, *shape)
    sizes, axes = padded_shape(shape), tuple(range(-len(shape), 0))
    truth = torch.fft.ifftn(
        torch.fft.fftn(x, s=sizes, dim=axes) * kernel[:, None], dim=axes, norm="forward"
    )[(..., *(slice(n) for n in shape))]
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("_HOST_CACHE", "_HOST_TILE", "_DEVICE_SLAB"):
            patch.setattr(f"pipeline.operators.tiling.{limit}", cache)
        found = Toeplitz(kernel, shape, coils=coils, fft=fft, threads=2)(x)
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("shape", [(12, 15), (6, 9, 8)], ids=str)
def test_kernel_in_pieces_is_the_same(shape, monkeypatch):
    trajectory, weights = measured(shape)
    options = {"tolerance": 1e-10, "dtype": torch.complex128}
    whole = toeplitz_spectrum(shape, trajectory, weights, **options)
    pieces = 2 ** (len(shape) - 1)
    assert kernel_pieces(shape, 2.0, 16) == 1
    monkeypatch.setattr(toeplitz_memory, "_GRID_LIMIT", 1)
    assert kernel_pieces(shape, 2.0, 16) == pieces
    parts = toeplitz_spectrum(shape, trajectory, weights, **options)
    # Entries at a distance of N may differ, so it is the operators that must agree.
    x = random_complex(*shape)
    found, truth = (Toeplitz(s, shape)(x).numpy() for s in (parts, whole))
    assert relative_error(found, truth) < 1e-9


@pytest.mark.parametrize("fft", LIBRARIES)
@pytest.mark.parametrize("coils", [None, 3])
@pytest.mark.parametrize("shape", [(9, 12), (5, 6, 8)], ids=str)
def test_frames_have_kernels_of_their_own(fft, coils, shape):
    frames = 4
    trajectory, weights = measured(shape, frames=(frames,))
    spectrum = toeplitz_spectrum(shape, trajectory, weights, tolerance=1e-9, dtype=torch.complex128)
    assert spectrum.shape == (frames, *padded_shape(shape))
    operator = Toeplitz(spectrum, shape, coils=coils, fft=library(fft), threads=3)
    x = random_complex(2, *operator.domain)
    found = operator(x).reshape(2, frames, coils or 1, -1)
    images = x.reshape(2, frames, coils or 1, -1)
    for frame in range(frames):
        dense = dense_normal(shape, trajectory[frame], weights[frame])
        truth = images[:, frame].numpy() @ dense.T
        assert relative_error(found[:, frame].numpy(), truth) < 1e-8
    assert_adjoint(operator, batch=(2,))


@pytest.mark.parametrize("fft", LIBRARIES)
@pytest.mark.parametrize("shape", [(40, 300), (30, 28, 26)], ids=str)
def test_pieces_and_threads_do_not_change_a_bit(fft, shape, monkeypatch):
    trajectory, weights = measured(shape, dtype=torch.float32)
    spectrum = toeplitz_spectrum(shape, trajectory, weights)
    x = random_complex(3, *shape, dtype=torch.complex64)
    results = {
        Toeplitz(spectrum, shape, fft=library(fft), threads=threads)(x).numpy().tobytes()
        for threads in (1, 2, 2, 5)
    }
    assert len(results) == 1
    monkeypatch.setattr("pipeline.operators.tiling._HOST_CACHE", 2**15)
    monkeypatch.setattr("pipeline.operators.tiling._DEVICE_SLAB", 2**15)
    monkeypatch.setattr("pipeline.operators.tiling._HOST_TILE", 1)
    small = Toeplitz(spectrum, shape, fft=fft)
    assert small.convolution.tiling.columns() < math.prod(shape[1:])
    whole = torch.frombuffer(bytearray(results.pop()), dtype=torch.complex64).reshape(x.shape)
    allowed = 1e-6 * float(whole.abs().max())
    torch.testing.assert_close(small(x), whole, rtol=0, atol=allowed)


def test_buffers_serve_applications_of_any_size_and_at_once():
    from concurrent.futures import ThreadPoolExecutor

    shape = (12, 15)
    trajectory, weights = measured(shape, dtype=torch.float32)
    operator = Toeplitz(toeplitz_spectrum(shape, trajectory, weights), shape, threads=2)
    inputs = [random_complex(n, *shape, dtype=torch.complex64, seed=n) for n in (1, 7, 2, 5)] * 5
    alone = [operator(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(operator, inputs), alone, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_spectrum_is_that_of_a_positive_operator():
    shape = (8, 9)
    trajectory, weights = measured(shape)
    operator = Toeplitz(
        toeplitz_spectrum(shape, trajectory, weights, tolerance=1e-9, dtype=torch.complex128),
        shape,
    )
    columns = operator(torch.eye(72, dtype=torch.complex128).reshape(72, *shape)).reshape(72, 72)
    torch.testing.assert_close(columns.mH, columns, rtol=0, atol=1e-10)
    assert torch.linalg.eigvalsh(columns).min() > -1e-7


def test_no_weights_means_ones():
    shape = (8, 9)
    trajectory, weights = measured(shape)
    options = {"tolerance": 1e-9, "dtype": torch.complex128}
    torch.testing.assert_close(
        toeplitz_spectrum(shape, trajectory, **options),
        toeplitz_spectrum(shape, trajectory, torch.ones_like(weights), **options),
    )


def test_gradients():
    shape = (4, 5)
    trajectory, weights = measured(shape)
    spectrum = toeplitz_spectrum(
        shape, trajectory, weights, tolerance=1e-10, dtype=torch.complex128
    )
    operator = Toeplitz(spectrum, shape)
    assert torch.autograd.gradcheck(operator, random_complex(*shape).requires_grad_())


@pytest.mark.parametrize("shape", [(12, 15), (64, 80), (40, 50, 60), (7, 5, 10)], ids=str)
def test_tiling_covers_and_fits(shape):
    tiling = Tiling(shape, padded_shape(shape), 8, True)
    assert 1 <= tiling.columns() <= tiling.row
    assert 1 <= tiling.planes() <= tiling.padded[0]
    assert tiling.columns() * tiling.padded[0] * 8 <= max(2**20, 16 * tiling.padded[0] * 8)


def test_lengths_are_fast_and_long_enough():
    for size in range(1, 400):
        (length,) = padded_shape((size,))
        assert length >= 2 * size - 1
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1


def test_refuses_wrong_shapes():
    trajectory, weights = measured((8, 9))
    with pytest.raises(ShapeError, match=r"\(119,\).*\(120,\)"):
        toeplitz_spectrum((8, 9), trajectory, weights[1:])
    with pytest.raises(ShapeError, match="real ones"):
        toeplitz_spectrum((8, 9), trajectory, weights * 1j)
    spectrum = toeplitz_spectrum((8, 9), trajectory, weights)
    with pytest.raises(ShapeError, match=r"\(15, 18\).*\(8, 10\).*\(15, 20\)"):
        Toeplitz(spectrum, (8, 10))
    with pytest.raises(ShapeError, match=r"\(8, 10\).*\(8, 9\)"):
        Toeplitz(spectrum, (8, 9))(torch.zeros(8, 10, dtype=torch.complex64))


def test_fft_libraries_are_checked(monkeypatch):
    with pytest.raises(ConfigError, match="'fftw'"):
        fourier.provider("fftw", torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"scipy works on the CPU only, found cuda"):
        fourier.provider("scipy", torch.device("cuda"))
    monkeypatch.setattr(fourier, "find_spec", lambda name: None)
    for intel, found in ((True, "mkl"), (False, "scipy")):
        monkeypatch.setattr(fourier, "_made_by_intel", lambda intel=intel: intel)
        assert fourier.provider("auto", torch.device("cpu")) == found
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    with pytest.raises(DependencyError, match="built without MKL"):
        fourier.provider("mkl", torch.device("cpu"))
    with pytest.raises(DependencyError, match=r"kronufft\[ducc\]"):
        fourier.provider("ducc0", torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(9, 12), (20, 24, 30)], ids=str)
def test_device_agrees_with_the_cpu(shape):
    trajectory, weights = measured(shape, frames=(2,), dtype=torch.float32)
    spectrum = toeplitz_spectrum(shape, trajectory, weights)
    x = random_complex(2, 3, *shape, dtype=torch.complex64)
    here = Toeplitz(spectrum, shape, coils=3)(x)
    there = Toeplitz(spectrum.cuda(), shape, coils=3)(x.cuda())
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4)
    made_there = toeplitz_spectrum(shape, trajectory.cuda(), weights.cuda())
    torch.testing.assert_close(
        Toeplitz(made_there, shape, coils=3)(x.cuda()).cpu(), here, rtol=1e-4, atol=1e-3
    )


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("shape", "coils", "frames"), [((96, 80), 7, 5), ((52, 60), 12, 24), ((40, 52, 44), 6, 1)]
)
def test_memory_of_a_product_on_a_device_is_as_predicted(shape, coils, frames):
    spectrum = torch.rand(frames, *padded_shape(shape), device="cuda")
    maps = random_complex(coils, *shape, dtype=torch.complex64).cuda()
    images = random_complex(frames, *shape, dtype=torch.complex64).cuda()
    convolution, total = Toeplitz(spectrum, shape).convolution, torch.empty_like(images)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    convolution.combine(images, maps, None, out=total)
    tiling = convolution.tiling
    predicted = tiling.workspace_bytes(tiling.coils_at_once(coils), frames, 1)
    taken = torch.cuda.max_memory_allocated() - before
    assert 0.5 * predicted <= taken <= 1.1 * predicted
