"""Multi-coil normal operators against dense matrices and against each other."""

import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix

from pipeline.errors import ShapeError
from pipeline.operators.base import Diagonal
from pipeline.operators.nufft import NUFFT
from pipeline.operators.sense import SenseNormal, StreamedSenseNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum

COILS, SAMPLES, FRAMES = 5, 90, 3
SHAPES = [(9, 12), (5, 6, 8)]


def measured(shape, frames=()):
    generator = torch.Generator().manual_seed(1)
    k = torch.rand(*frames, len(shape), SAMPLES, generator=generator, dtype=torch.float64)
    w = torch.rand(*frames, SAMPLES, generator=generator, dtype=torch.float64)
    return (2 * k - 1) * torch.pi, w, random_complex(COILS, *shape, seed=2)


def dense_normal(shape, trajectory, weights, maps):
    fourier = torch.from_numpy(dense_matrix(shape, trajectory.numpy()))
    system = torch.cat([fourier * sensitivity.flatten() for sensitivity in maps])
    return system.mH @ (weights.repeat(len(maps))[:, None] * system)


def spectrum_of(shape, trajectory, weights):
    return toeplitz_spectrum(shape, trajectory, weights, tolerance=1e-10, dtype=torch.complex128)


@pytest.mark.parametrize("fft", ["ducc0", "mkl", "scipy", "torch"])
@pytest.mark.parametrize("coil_batch", [None, 1, 2, COILS, 99])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normal_matches_dense(shape, coil_batch, fft):
    if fft not in ("mkl", "torch"):
        pytest.importorskip(fft)
    trajectory, weights, maps = measured(shape)
    toeplitz = Toeplitz(spectrum_of(shape, trajectory, weights), shape, fft=fft, threads=2)
    operator = SenseNormal(toeplitz, maps, coil_batch)
    x = random_complex(2, *shape, seed=4)
    truth = x.reshape(2, -1) @ dense_normal(shape, trajectory, weights, maps).T
    torch.testing.assert_close(operator(x).reshape(2, -1), truth, rtol=1e-8, atol=1e-6)
    assert_adjoint(operator)


@pytest.mark.parametrize("fft", ["ducc0", "torch"])
@pytest.mark.parametrize("coil_batch", [None, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_forms_match_dense_on_frames(shape, coil_batch, fft):
    if fft not in ("mkl", "torch"):
        pytest.importorskip(fft)
    trajectory, weights, maps = measured(shape, (FRAMES,))
    options = {"tolerance": 1e-10, "dtype": torch.complex128}
    convolution = SenseNormal(
        Toeplitz(spectrum_of(shape, trajectory, weights), shape, fft=fft), maps, coil_batch
    )
    nufft = NUFFT(shape, trajectory, **options)
    explicit = SenseNormal(nufft.H @ Diagonal(weights) @ nufft, maps, coil_batch)
    x = random_complex(2, FRAMES, *shape, seed=5)
    truth = torch.empty_like(x)
    for frame, (points, counts) in enumerate(zip(trajectory, weights, strict=True)):
        matrix = dense_normal(shape, points, counts, maps)
        truth[:, frame] = (x[:, frame].reshape(2, -1) @ matrix.T).reshape(2, *shape)
    torch.testing.assert_close(convolution(x), truth, rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(explicit(x), truth, rtol=1e-7, atol=1e-6)
    assert_adjoint(explicit, rtol=1e-9)  # forward and adjoint differ by the NUFFT's error
    assert_adjoint(convolution, batch=(2,))


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("form", ["toeplitz", "explicit"])
def test_streamed_maps_give_what_resident_ones_do(batch, form):
    shape, coils, frames = (5, 4, 6), 5, 2
    trajectory = (torch.rand(frames, 3, 40, dtype=torch.float64) - 0.5) * 6
    weights = torch.rand(frames, 40, dtype=torch.float64)
    maps = random_complex(coils, *shape, dtype=torch.complex128)
    if form == "toeplitz":
        spectrum = toeplitz_spectrum(shape, trajectory, weights, dtype=torch.complex128)
        normal = Toeplitz(spectrum, shape)
    else:
        nufft = NUFFT(shape, trajectory, tolerance=1e-9, dtype=torch.complex128)
        normal = nufft.H @ Diagonal(weights) @ nufft
    streamed = StreamedSenseNormal(normal, shape, lambda: ([each] for each in maps.split(batch)))
    x = random_complex(3, frames, *shape, dtype=torch.complex128)
    torch.testing.assert_close(streamed(x), SenseNormal(normal, maps)(x))
    assert_adjoint(streamed)


def test_input_is_left_alone():
    trajectory, weights, maps = measured((9, 12))
    operator = SenseNormal(Toeplitz(spectrum_of((9, 12), trajectory, weights), (9, 12)), maps)
    x = random_complex(9, 12)
    kept, kept_maps = x.clone(), maps.clone()
    operator(x)
    operator(x.conj())
    assert torch.equal(x, kept)
    assert torch.equal(operator.maps, kept_maps)


def test_gradients():
    trajectory, weights, maps = measured((4, 5))
    operator = SenseNormal(Toeplitz(spectrum_of((4, 5), trajectory, weights), (4, 5)), maps)
    assert torch.autograd.gradcheck(operator, random_complex(4, 5).requires_grad_())


def test_refuses_wrong_shapes():
    trajectory, weights, maps = measured((9, 12))
    toeplitz = Toeplitz(spectrum_of((9, 12), trajectory, weights), (9, 12))
    with pytest.raises(ShapeError, match=r"\(9, 12\).*\(5, 9, 11\)"):
        SenseNormal(toeplitz, maps[..., :-1])
    with pytest.raises(ShapeError, match=r"complex64.*complex128"):
        SenseNormal(toeplitz, maps.to(torch.complex64))


@pytest.mark.gpu
@pytest.mark.parametrize("coil_batch", [None, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_device_agrees_with_the_cpu(shape, coil_batch):
    trajectory, weights, maps = measured(shape, (FRAMES,))
    spectrum = spectrum_of(shape, trajectory, weights)
    x = random_complex(FRAMES, *shape)
    here = SenseNormal(Toeplitz(spectrum, shape), maps, coil_batch)(x)
    there = SenseNormal(Toeplitz(spectrum.cuda(), shape), maps.cuda(), coil_batch)(x.cuda())
    torch.testing.assert_close(there.cpu(), here)
