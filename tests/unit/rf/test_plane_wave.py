"""The collapsed normal operator against dense matrices, factors one by one, and the NUFFT's."""

import math

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import relative_error
from profiling import peak_bytes

from pipeline.errors import ShapeError
from pipeline.operators.base import Diagonal
from pipeline.operators.kronecker import Kronecker
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.rf.model import plane_wave_memory
from pipeline.rf.model.plane_wave import plane_wave_spectrum
from pipeline.rf.model.plane_wave_memory import plane_wave_spectrum_workspace_bytes

# Padded lengths are 2N - 1 (shape 8: 15) or more, odd or even.
CASES = [((9, 12), (5, 7)), ((8, 13), (4, 1)), ((6, 9, 8), (3, 5, 2)), ((7, 5, 10), (4, 3, 1))]
BLOCKS = [(), (4,), (2, 3)]


def random_waves(rows, blocks=(), seed=3):
    """Return wavenumbers of each axis and squared gains."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    wavenumbers = [(2 * torch.rand(*blocks, m, **options) - 1) * torch.pi for m in rows]
    return wavenumbers, 0.1 + torch.rand(blocks, **options)


def factors_of(shape, wavenumbers, dtype=torch.complex128):
    voxels = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    return [
        torch.exp(-1j * k[..., None] * n).to(dtype)
        for k, n in zip(wavenumbers, voxels, strict=True)
    ]


def explicit_normal(shape, wavenumbers, weights, dtype=torch.complex128):
    """Return ``sum_b w_b A_b^H A_b`` by forward and adjoint of every block."""
    kronecker = Kronecker(factors_of(shape, wavenumbers, dtype))
    values = weights.reshape(*weights.shape, *(1 for _ in shape)).to(dtype)
    return kronecker.H @ Diagonal(values, kronecker.codomain) @ kronecker


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.complex64, 1e-6), (torch.complex128, 1e-13)], ids=str
)
def test_matches_all_blocks_one_by_one(shape, rows, blocks, dtype, allowed):
    wavenumbers, weights = random_waves(rows, blocks)
    spectrum = plane_wave_spectrum(shape, [(wavenumbers, weights)], dtype=dtype)
    assert spectrum.dtype == dtype.to_real()
    assert tuple(spectrum.shape) == padded_shape(shape)
    collapsed = Toeplitz(spectrum, shape)
    x = random_complex(2, *shape)
    truth = explicit_normal(shape, wavenumbers, weights)(x)
    assert relative_error(collapsed(x.to(dtype)), truth.numpy()) <= allowed
    assert_adjoint(collapsed)


@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_matches_dense(shape, rows):
    wavenumbers, weights = random_waves(rows, (3,))
    dense = 0
    for block, weight in enumerate(weights.numpy()):
        matrix = np.ones((1, 1))
        for k, n in zip(wavenumbers, shape, strict=True):
            matrix = np.kron(matrix, np.exp(-1j * np.outer(k[block], np.arange(n) - n // 2)))
        dense = dense + weight * matrix.conj().T @ matrix
    parts = [([k[some] for k in wavenumbers], weights[some]) for some in (slice(1), slice(1, 3))]
    spectrum = plane_wave_spectrum(shape, parts, dtype=torch.complex128)
    x = random_complex(*shape)
    found = Toeplitz(spectrum, shape)(x).flatten().numpy()
    assert relative_error(found, dense @ x.flatten().numpy()) <= 1e-13


@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_is_the_nufft_of_the_outer_grid(shape, rows):
    wavenumbers, weights = random_waves(rows, (2,))
    grids = [torch.cartesian_prod(*(k[b] for k in wavenumbers)).T for b in range(2)]
    spectrum = toeplitz_spectrum(
        shape,
        torch.cat(grids, dim=1),
        weights.repeat_interleave(math.prod(rows)),
        tolerance=1e-10,
        dtype=torch.complex128,
    )
    x = random_complex(*shape)
    truth = Toeplitz(spectrum, shape)(x).numpy()
    found = plane_wave_spectrum(shape, [(wavenumbers, weights)], dtype=torch.complex128)
    assert relative_error(Toeplitz(found, shape)(x), truth) <= 1e-8


def test_equal_weights_and_single_precision_wavenumbers():
    shape, rows = CASES[0]
    wavenumbers, _ = random_waves(rows, (4,))
    rounded = [k.to(torch.float32) for k in wavenumbers]
    found = plane_wave_spectrum(shape, [(rounded, None)])
    truth = plane_wave_spectrum(shape, [([k.double() for k in rounded], torch.ones(4))])
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_chunks_make_no_difference(shape, rows, monkeypatch):
    wavenumbers, weights = random_waves(rows, (3, 5))
    whole = plane_wave_spectrum(shape, [(wavenumbers, weights)], dtype=torch.complex128)
    monkeypatch.setattr(
        plane_wave_memory, "_CHUNK", 2 * plane_wave_memory._block_bytes(shape, rows)
    )
    assert plane_wave_memory.blocks_at_once(shape, rows, 15) == 2
    parts = plane_wave_spectrum(shape, [(wavenumbers, weights)], dtype=torch.complex128)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12 * float(whole.abs().max()))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("chunk", [2**15, 2**26])
@pytest.mark.parametrize(
    ("shape", "rows"), [((20, 28), (40, 3)), ((12, 9, 11), (4, 3, 2))], ids=str
)
def test_memory_is_within_the_prediction(shape, rows, chunk, dtype, monkeypatch):
    monkeypatch.setattr(plane_wave_memory, "_CHUNK", chunk)
    wavenumbers, weights = random_waves(rows, (60,))
    predicted = plane_wave_spectrum_workspace_bytes(shape, rows, 60, itemsize=dtype.itemsize)
    peak, spectrum = peak_bytes(plane_wave_spectrum, shape, [(wavenumbers, weights)], dtype=dtype)
    assert peak - spectrum.nbytes <= predicted
    assert predicted <= 3 * (peak - spectrum.nbytes)


@pytest.mark.parametrize(
    ("wavenumbers", "weights", "message"),
    [
        ([], None, "one real tensor"),
        ([torch.ones(3)], None, "each axis"),
        ([torch.ones(3), torch.ones(3).cfloat()], None, "real"),
        ([torch.ones(2, 3), torch.ones(4, 3)], None, "same block axes"),
        ([torch.ones(2, 3), torch.ones(2, 4)], torch.ones(3), "weights"),
        ([torch.ones(2, 3), torch.ones(2, 4)], torch.ones(2).cfloat(), "real"),
    ],
)
def test_arguments_must_fit(wavenumbers, weights, message):
    with pytest.raises(ShapeError, match=message):
        plane_wave_spectrum((4, 5), [(wavenumbers, weights)])


@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_device_agrees_with_the_cpu(shape, rows):
    wavenumbers, weights = random_waves(rows, (2, 3))
    options = {"dtype": torch.complex128}
    here = plane_wave_spectrum(shape, [(wavenumbers, weights)], **options)
    there = plane_wave_spectrum(
        shape, [([k.cuda() for k in wavenumbers], weights.cuda())], **options
    )
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here)
