"""Terms that do not meet, as pairs with a voxel phase each, and images that do, as of a basis."""

import functools
import operator

import pytest
import torch
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, relative_error

from pipeline.errors import ShapeError
from pipeline.operators.base import Diagonal
from pipeline.operators.kronecker import Kronecker
from pipeline.operators.terms import MatrixNormal, TermsNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.rf.model.plane_wave import plane_wave_spectrum

PAIRS, FREQUENCIES = 3, 4
CASES = [((9, 12), (5, 7)), ((6, 9, 8), (3, 5, 1))]


def measured(shape, rows, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(2)
    options = {"generator": generator, "dtype": torch.float64}
    blocks = (PAIRS, FREQUENCIES)
    wavenumbers = [(2 * torch.rand(*blocks, m, **options) - 1) * torch.pi for m in rows]
    weights = 0.1 + torch.rand(blocks, **options)
    phases = torch.polar(
        0.5 + torch.rand(PAIRS, *shape, **options), 7 * torch.rand(PAIRS, *shape, **options)
    )
    return wavenumbers, weights, phases.to(dtype)


def spectra_of(shape, wavenumbers, weights, dtype):
    pairs = [
        plane_wave_spectrum(shape, [([k[pair] for k in wavenumbers], of_pair)], dtype=dtype)
        for pair, of_pair in enumerate(weights)
    ]
    return torch.stack(pairs)


def collapsed(shape, wavenumbers, weights, phases, fft="auto"):
    spectra = spectra_of(shape, wavenumbers, weights, phases.dtype)
    return TermsNormal(phases, Toeplitz(spectra, shape, fft=fft, threads=2))


@pytest.mark.parametrize("fft", ["ducc0", "scipy", "torch"])
@pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.complex64, 1e-6), (torch.complex128, 1e-13)], ids=str
)
@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_matches_the_factors(shape, rows, dtype, allowed, fft):
    if fft != "torch":
        pytest.importorskip(fft)
    wavenumbers, weights, phases = measured(shape, rows)
    voxels = [torch.arange(n, dtype=torch.float64) - n // 2 for n in shape]
    pairs = []
    for pair in range(PAIRS):
        waves = zip(wavenumbers, voxels, strict=True)
        kronecker = Kronecker([torch.exp(-1j * k[pair, :, :, None] * n) for k, n in waves])
        gains = weights[pair].sqrt().reshape(-1, *(1 for _ in shape)).cdouble()
        pairs.append(
            Diagonal(gains, kronecker.codomain) @ kronecker @ Diagonal(phases[pair], shape)
        )
    system = functools.reduce(operator.add, [pair.H @ pair for pair in pairs])
    found = collapsed(shape, wavenumbers, weights, phases.to(dtype), fft)
    assert found.domain == found.codomain == shape
    for batch in [(), (2, 3)]:
        x = random_complex(*batch, *shape, seed=5)
        assert relative_error(found(x.to(dtype)), system(x).numpy()) <= allowed
    assert_adjoint(found, batch=(2,))


def test_matches_dense():
    shape, rows = CASES[0]
    wavenumbers, weights, phases = measured(shape, rows)
    single = [k[:, :1] for k in wavenumbers], weights[:, :1]
    dense = 0
    for pair in range(PAIRS):
        factors = [
            torch.exp(-1j * k[pair, 0, :, None] * (torch.arange(n, dtype=torch.float64) - n // 2))
            for k, n in zip(wavenumbers, shape, strict=True)
        ]
        matrix = torch.kron(*factors) * phases[pair].flatten()
        dense = dense + weights[pair, 0] * matrix.mH @ matrix
    x = random_complex(*shape)
    truth = (dense @ x.flatten()).reshape(shape)
    torch.testing.assert_close(collapsed(shape, *single, phases)(x), truth)


def test_gradient_and_repetition():
    shape, rows = (3, 4), (2, 3)
    wavenumbers, weights, phases = measured(shape, rows)
    several = collapsed(shape, wavenumbers, weights, phases)
    assert torch.autograd.gradcheck(several, random_complex(*shape).requires_grad_())
    x = random_complex(*shape)
    assert torch.equal(several(x), several(x))


def test_memory_does_not_depend_on_the_pairs():
    shape, rows = CASES[1]
    wavenumbers, weights, phases = measured(shape, rows)
    several = collapsed(shape, wavenumbers, weights, phases)
    several(random_complex(2, *shape))
    (buffers,) = several.toeplitz.convolution._idle
    assert buffers.t.nbytes < several.toeplitz.convolution.tiling.workspace_bytes(1, 1, threads=2)


@pytest.mark.parametrize("change", ["pairs", "shape", "dtype", "coils", "no pairs"])
def test_phases_must_fit(change):
    shape, rows = CASES[0]
    wavenumbers, weights, phases = measured(shape, rows)
    spectra = spectra_of(shape, wavenumbers, weights, torch.complex128)
    toeplitz = Toeplitz(spectra, shape, coils=2 if change == "coils" else None)
    if change == "pairs":
        phases = phases[:2]
    if change == "shape":
        phases = phases[:, :-1]
    if change == "dtype":
        phases = phases.to(torch.complex64)
    if change == "no pairs":
        toeplitz = Toeplitz(spectra[0], shape)
    with pytest.raises(ShapeError, match="TermsNormal: found factors"):
        TermsNormal(phases, toeplitz)


@pytest.mark.parametrize("fft", ["ducc0", "torch"])
@pytest.mark.parametrize("real", [True, False], ids=["real basis", "complex basis"])
@pytest.mark.parametrize("shape", [(9, 12), (5, 6, 8)], ids=str)
def test_images_that_are_measured_together_match_dense(shape, real, fft):
    if fft != "torch":
        pytest.importorskip(fft)
    images, samples = 3, 40
    k, w = torch.rand(2, len(shape), samples, dtype=torch.float64, generator=torch.manual_seed(3))
    k, w = 6 * k - 3, w[0]
    basis = random_complex(samples, images, seed=4)
    if real:
        basis.imag.zero_()
    pairs = [(one, other) for one in range(images) for other in range(one, images)]
    products = [basis[:, one].conj() * basis[:, other] for one, other in pairs]
    weights = [product.real for product in products]
    if not real:
        weights += [
            each.imag for each, (one, other) in zip(products, pairs, strict=True) if one < other
        ]
    options = {"dtype": torch.complex128, "tolerance": 1e-12}
    spectra = [toeplitz_spectrum(shape, k, w * each, **options) for each in weights]

    def toeplitz(spectrum):
        return Toeplitz(spectrum, shape, fft=fft, threads=2)

    found = MatrixNormal(spectra, images, toeplitz)
    fourier = torch.from_numpy(dense_matrix(shape, k.numpy()))
    dense = torch.cat([basis[:, [each]] * fourier for each in range(images)], dim=1)
    x = random_complex(2, images, *shape, seed=5)
    for one, product in zip(x, found(x), strict=True):
        truth = dense.mH @ (w * (dense @ one.flatten()))
        assert relative_error(product.flatten(), truth.numpy()) < 1e-11
    assert_adjoint(found)
    with pytest.raises(ShapeError, match="MatrixNormal: found 2 spectra for 3 images"):
        MatrixNormal(spectra[:2], images, toeplitz)


@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "rows"), CASES, ids=str)
def test_device_agrees_with_the_cpu(shape, rows):
    wavenumbers, weights, phases = measured(shape, rows)
    here = collapsed(shape, wavenumbers, weights, phases)
    there = collapsed(shape, [k.cuda() for k in wavenumbers], weights.cuda(), phases.cuda())
    x = random_complex(2, *shape)
    torch.testing.assert_close(there(x.cuda()).cpu(), here(x))
