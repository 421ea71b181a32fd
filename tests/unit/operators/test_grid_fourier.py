"""Transforms at Cartesian samples against the exact sum, and their normal operators."""

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, exact_adjoint, exact_forward, relative_error

from pipeline.errors import ShapeError
from pipeline.operators.grid_fourier import GridFourier, grid_spectrum
from pipeline.operators.sense import SenseNormal
from pipeline.operators.toeplitz import Toeplitz
from pipeline.solvers.circulant_preconditioners import CirculantPreconditioner

SHAPES = [(16, 21), (15, 12), (8, 11, 6), (9, 6, 10)]  # all sizes differ; odd and even
SAMPLES = 90


def on_grid(shape, *, frames=(), seed=3):
    """Return samples [rad/voxel] at whole cycles per field of view, some of them at one place."""
    generator = torch.Generator().manual_seed(seed)
    cycles = [
        torch.randint(-(size // 2), (size + 1) // 2, (*frames, SAMPLES), generator=generator)
        for size in shape
    ]
    k = torch.stack(
        [2 * torch.pi * each.double() / n for each, n in zip(cycles, shape, strict=True)], -2
    )
    k[..., -9:] = k[..., :9]
    return k


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_computes_the_exact_sums(shape, dtype):
    k = on_grid(shape)
    operator = GridFourier(shape, k.to(dtype.to_real()), dtype=dtype)
    x, y = random_complex(*shape, dtype=dtype), random_complex(SAMPLES, dtype=dtype, seed=1)
    allowed = 1e-6 if dtype == torch.complex64 else 1e-13
    exact = exact_forward(x.numpy(), k.numpy())
    assert relative_error(operator(x).numpy(), exact) < allowed
    exact = exact_adjoint(y.numpy(), k.numpy(), shape)
    assert relative_error(operator.adjoint(y).numpy(), exact) < allowed
    assert_adjoint(operator, batch=(2,))


def test_frames_and_coils_are_transformed_each_by_itself():
    shape, k = (12, 9), on_grid((12, 9), frames=(3,))
    operator = GridFourier(shape, k, coils=2, dtype=torch.complex128)
    assert_adjoint(operator, batch=(2,))
    x = random_complex(2, *operator.domain)
    for frame in range(3):
        exact = exact_forward(x[1, frame, 1].numpy(), k[frame].numpy())
        assert relative_error(operator(x)[1, frame, 1].numpy(), exact) < 1e-12
    with pytest.raises(ShapeError, match=r"matrix \(12, 9, 4\)"):
        GridFourier((12, 9, 4), k)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("fft", ["auto", "torch"])
def test_the_normal_operator_is_an_unpadded_convolution(shape, fft):
    k = on_grid(shape)
    weights = torch.rand(SAMPLES, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    spectrum = grid_spectrum(shape, k, weights, dtype=torch.complex128)
    assert spectrum.shape == shape
    operator = Toeplitz(spectrum, shape, fft=fft)
    matrix = dense_matrix(shape, k.numpy())
    x = random_complex(*shape)
    expected = matrix.conj().T @ (weights.numpy() * (matrix @ x.numpy().ravel()))
    assert relative_error(operator(x).numpy().ravel(), expected) < 1e-12

    maps = random_complex(3, *shape, seed=5)
    found = SenseNormal(operator, maps)(x).numpy().ravel()
    expected = sum(
        one.conj() * (matrix.conj().T @ (weights.numpy() * (matrix @ (one * x.numpy().ravel()))))
        for one in maps.numpy().reshape(3, -1)
    )
    assert relative_error(found, expected) < 1e-12


def test_a_circulant_preconditioner_inverts_it():
    shape = (8, 11)
    y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    k = torch.from_numpy(2 * np.pi * np.stack([y.ravel() / 8, x.ravel() / 11]))
    weights = 0.5 + torch.rand(88, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    spectrum = grid_spectrum(shape, k, weights, dtype=torch.complex128)
    found = CirculantPreconditioner(spectrum, shape)(
        Toeplitz(spectrum, shape)(random_complex(*shape))
    )
    torch.testing.assert_close(found, random_complex(*shape))


def test_frames_have_spectra_of_their_own():
    shape, k = (6, 9), on_grid((6, 9), frames=(2,))
    both = grid_spectrum(shape, k, dtype=torch.complex128)
    for frame in range(2):
        torch.testing.assert_close(
            both[frame], grid_spectrum(shape, k[frame], dtype=torch.complex128)
        )
    assert both.sum() == 2 * SAMPLES
