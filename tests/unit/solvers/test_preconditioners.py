"""Preconditioners against Chan's formula, dense Frobenius minima, and what they are for."""

import math
from dataclasses import replace

import pytest
import torch
from adjointness import random_complex
from allocations import Allocations

from pipeline.algorithms.preconditioned import (
    matrix_preconditioner_bytes,
    preconditioner_bytes,
)
from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.transforms import NufftSettings
from pipeline.engine.machine import Machine
from pipeline.engine.work import Work
from pipeline.errors import ShapeError
from pipeline.mri.model.costs import MriCosts
from pipeline.operators.sense import SenseNormal
from pipeline.operators.terms import MatrixNormal
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.circulant_preconditioners import (
    CirculantPreconditioner,
    MatrixCirculantPreconditioner,
)
from pipeline.solvers.kronecker_preconditioner import (
    KroneckerPreconditioner,
    toeplitz_preconditioner,
)
from pipeline.solvers.normal import NormalEquations

SHAPES = [(6, 5), (4, 3, 5)]


def spectrum_of(shape, samples=60, seed=0, spread=1.0, separable=False):
    """Return the spectrum of a NUFFT's normal operator, dense in the middle of k-space."""
    generator = torch.Generator().manual_seed(seed)
    double = {"dtype": torch.float64, "generator": generator}
    if separable:  # every combination of a few positions an axis
        lines = [spread * torch.randn(2 * n, **double).clamp(-3.1, 3.1) for n in shape]
        trajectory = torch.stack([g.flatten() for g in torch.meshgrid(*lines, indexing="ij")])
        trajectory = trajectory.clamp(-3.1, 3.1)
    else:
        trajectory = (spread * torch.randn(len(shape), samples, **double)).clamp(-3.1, 3.1)
    return toeplitz_spectrum(shape, trajectory, dtype=torch.complex128, tolerance=1e-10)


def dense(operator, shape):
    voxels = int(torch.tensor(shape).prod())
    unit = torch.eye(voxels, dtype=torch.complex128).reshape(voxels, *shape)
    return operator(unit).reshape(voxels, voxels).T


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_circulant_eigenvalues_are_rayleigh_quotients(shape):
    """The nearest circulant in Frobenius norm is ``F diag(F^H T F) F^H`` (Chan 1988)."""
    spectrum = spectrum_of(shape)
    matrix = dense(Toeplitz(spectrum, shape), shape)
    voxels = matrix.shape[0]
    axes = tuple(range(-len(shape), 0))
    unit = torch.eye(voxels, dtype=torch.complex128).reshape(voxels, *shape)
    fourier = torch.fft.ifftn(unit, dim=axes, norm="ortho").reshape(voxels, voxels).T
    expected = (fourier.mH @ matrix @ fourier).diagonal().real.reshape(shape)
    preconditioner = CirculantPreconditioner(spectrum, shape, regularization=0.5, floor=0)
    torch.testing.assert_close(preconditioner.eigenvalues, expected, rtol=1e-7, atol=1e-7)
    circulant = fourier @ torch.diag(expected.flatten() + 0.5).to(fourier.dtype) @ fourier.mH
    x = random_complex(2, *shape)
    torch.testing.assert_close(
        preconditioner(x).reshape(2, -1),
        torch.linalg.solve(circulant, x.reshape(2, -1).T).T,
        rtol=1e-6,
        atol=1e-6,
    )


def test_circulant_of_one_dimension_has_chans_diagonals():
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.rand(padded_shape((7,)), generator=generator, dtype=torch.float64)
    kernel = torch.fft.ifft(spectrum, norm="forward")
    column = torch.fft.ifft(CirculantPreconditioner(spectrum, (7,)).eigenvalues)
    for lag in range(7):
        expected = ((7 - lag) * kernel[lag] + lag * kernel[lag - 7]) / 7
        torch.testing.assert_close(column[lag], expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nearest_kronecker_product_is_the_frobenius_minimum(shape):
    spectrum = spectrum_of(shape, spread=0.8)
    matrix = dense(Toeplitz(spectrum, shape), shape)
    found = KroneckerPreconditioner(spectrum, shape, regularization=0.5, floor=0)
    product = found.factors[0]
    for factor in found.factors[1:]:
        product = torch.kron(product, factor)
    torch.testing.assert_close(product, product.mH)
    left = torch.linalg.matrix_norm(matrix - product) ** 2 / torch.linalg.matrix_norm(matrix) ** 2
    assert float(left) == pytest.approx(1 - found.energy, abs=1e-8)
    if len(shape) == 2:  # the rearrangement of Van Loan and Pitsianis
        n1, n2 = shape
        rearranged = matrix.reshape(n1, n2, n1, n2).permute(0, 2, 1, 3).reshape(n1**2, n2**2)
        singular = torch.linalg.svdvals(rearranged)
        assert found.energy == pytest.approx(float(singular[0] ** 2 / (singular**2).sum()))
    x = random_complex(2, *shape)
    values = torch.linalg.eigvalsh(product)
    assert values.min() > -1e-9 * values.max()  # as of every semidefinite operator's
    system = product + 0.5 * torch.eye(len(product), dtype=torch.float64)
    expected = torch.linalg.solve(system, x.reshape(2, -1).T).T
    torch.testing.assert_close(found(x).reshape(2, -1), expected, rtol=1e-6, atol=1e-6)


def test_separable_sampling_is_a_kronecker_product():
    shape = (6, 5)
    spectrum = spectrum_of(shape, separable=True, spread=1.5)
    found = toeplitz_preconditioner(spectrum, shape, regularization=1.0, floor=0)
    assert isinstance(found, KroneckerPreconditioner)
    assert found.energy == pytest.approx(1, abs=1e-8)
    operator = Toeplitz(spectrum, shape)
    x = random_complex(*shape)
    torch.testing.assert_close(found(operator(x) + x), x, rtol=1e-6, atol=1e-6)
    other = toeplitz_preconditioner(spectrum_of(shape), shape)
    assert isinstance(other, CirculantPreconditioner)


def test_eigenvectors_that_make_no_difference_are_left_out():
    """Far fewer positions than voxels an axis, as those of antennas: most eigenvalues vanish."""
    shape = (24, 20)
    lines = [torch.linspace(-0.6, 0.6, count, dtype=torch.float64) for count in (5, 4)]
    trajectory = torch.stack([g.flatten() for g in torch.meshgrid(*lines, indexing="ij")])
    spectrum = toeplitz_spectrum(shape, trajectory, dtype=torch.complex128, tolerance=1e-10)
    found = KroneckerPreconditioner(spectrum, shape, regularization=0.5, floor=0)
    assert found.rank == 5 * 4
    matrix = dense(Toeplitz(spectrum, shape), shape)
    x = random_complex(*shape)
    system = matrix + 0.5 * torch.eye(len(matrix), dtype=torch.float64)
    expected = torch.linalg.solve(system, x.flatten()).reshape(shape)
    torch.testing.assert_close(found(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [CirculantPreconditioner, KroneckerPreconditioner])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hermitian_and_positive_definite(kind, dtype):
    shape = (6, 5)
    preconditioner = kind(spectrum_of(shape).to(dtype), shape, regularization=0.1)
    matrix = dense(lambda x: preconditioner(x.to(dtype.to_complex())).to(x.dtype), shape)
    torch.testing.assert_close(matrix, matrix.mH, rtol=1e-4, atol=1e-5)
    assert torch.linalg.eigvalsh(matrix).min() > 0
    assert preconditioner(random_complex(*shape).to(dtype.to_complex())).dtype.to_real() == dtype


def test_a_preconditioner_saves_iterations_and_changes_no_result():
    shape = (24, 20)
    spectrum = spectrum_of(shape, samples=1500, spread=1.2)
    operator = Toeplitz(spectrum, shape)
    b = operator(random_complex(3, *shape))
    normal = NormalEquations(b, operator)
    settings = {"regularization": 2.0, "iterations": 400, "residual": 1e-8, "image_axes": 2}
    plain = conjugate_gradient(normal, **settings)
    preconditioned = conjugate_gradient(
        normal,
        **settings,
        preconditioner=CirculantPreconditioner(spectrum, shape, regularization=2.0),
    )
    torch.testing.assert_close(preconditioned.image, plain.image, rtol=0, atol=1e-5)
    assert preconditioned.evaluations < 0.7 * plain.evaluations
    residual = b - operator(preconditioned.image) - 2 * preconditioned.image
    norm = torch.linalg.vector_norm
    torch.testing.assert_close(
        preconditioned.residuals[-1],
        norm(residual, dim=(1, 2)) / norm(b, dim=(1, 2)),
        rtol=1e-3,
        atol=1e-12,
    )


def smooth_maps(coils, shape):
    """Return maps whose squares sum to one, each strong at another side and of another phase."""
    lines = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape]
    axes = torch.meshgrid(*lines, indexing="ij")
    turns = torch.arange(coils, dtype=torch.float64) * 2 * torch.pi / coils
    maps = torch.stack(
        [
            torch.polar((-((axes[0] - a.cos()) ** 2) - (axes[1] - a.sin()) ** 2).exp(), a * axes[1])
            for a in turns
        ]
    )
    return maps / torch.linalg.vector_norm(maps, dim=0)


def test_a_circulant_that_knows_the_coils_is_the_mean_over_them():
    shape, maps = (6, 5), smooth_maps(3, (6, 5))
    spectrum = spectrum_of(shape)
    found = CirculantPreconditioner(spectrum, shape, regularization=0.5, maps=maps, floor=0)
    alone = CirculantPreconditioner(spectrum, shape, regularization=0.5, floor=0)
    power = torch.fft.fft2(maps).abs().square().sum(0)
    for k0, k1 in ((0, 0), (2, 1), (5, 4)):
        met = alone.eigenvalues.roll((-k0, -k1), (0, 1))  # at q the eigenvalue at k + q
        torch.testing.assert_close(found.eigenvalues[k0, k1], (power * met).sum() / power.sum())
    x = random_complex(2, *shape)
    coils = torch.fft.fft2(maps * x[:, None]) / (found.eigenvalues + 0.5)
    expected = (maps.conj() * torch.fft.ifft2(coils)).sum(1)
    torch.testing.assert_close(found(x), expected)
    scaled = CirculantPreconditioner(spectrum, shape, regularization=0.5, maps=2 * maps, floor=0)
    torch.testing.assert_close(scaled(x), alone(x))  # maps of another scale tell nothing of it


def test_a_circulant_that_knows_the_coils_saves_iterations():
    shape, maps = (24, 20), smooth_maps(5, (24, 20))
    generator = torch.Generator().manual_seed(3)
    angles = torch.rand(40, 1, generator=generator, dtype=torch.float64) * torch.pi
    radii = torch.linspace(-3.1, 3.1, 48, dtype=torch.float64)
    trajectory = torch.stack([(radii * angles.sin()).flatten(), (radii * angles.cos()).flatten()])
    spectrum = toeplitz_spectrum(shape, trajectory, dtype=torch.complex128, tolerance=1e-10)
    operator = SenseNormal(Toeplitz(spectrum, shape), maps)
    b, weight = operator(random_complex(*shape)), 0.05 * trajectory.shape[1]

    def iterations(known):
        preconditioner = CirculantPreconditioner(spectrum, shape, regularization=weight, maps=known)
        return conjugate_gradient(
            NormalEquations(b, operator),
            regularization=weight,
            iterations=200,
            residual=1e-6,
            image_axes=2,
            preconditioner=preconditioner,
        ).evaluations

    assert iterations(maps) < 0.8 * iterations(None)


def matrix_of_kernels(shape, real, samples=900):
    """Return spectra of a `MatrixNormal` of samples that are sums of three images."""
    generator = torch.Generator().manual_seed(6)
    double = {"dtype": torch.float64, "generator": generator}
    trajectory = (1.2 * torch.randn(len(shape), samples, **double)).clamp(-3.1, 3.1)
    basis = torch.randn(samples, 3, dtype=torch.complex128, generator=generator)
    basis = basis.real.to(basis.dtype) if real else basis
    # So that images are measured very differently, and much of one is in another.
    basis = basis @ torch.tensor([[2, 1, 0], [0, 1, 0.3], [0, 0, 0.2]], dtype=basis.dtype)
    pairs = [(one, other) for one in range(3) for other in range(one, 3)]
    weights = [(basis[:, one].conj() * basis[:, other]).real for one, other in pairs]
    if not real:
        apart = [(one, other) for one, other in pairs if one < other]
        weights += [(basis[:, one].conj() * basis[:, other]).imag for one, other in apart]
    options = {"dtype": torch.complex128, "tolerance": 1e-10}
    return [toeplitz_spectrum(shape, trajectory, each, **options) for each in weights]


@pytest.mark.parametrize("real", [True, False], ids=["real basis", "complex basis"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_matrix_is_inverted_at_each_frequency(shape, real):
    """Of Rayleigh quotients between images, from the dense matrix."""
    spectra = matrix_of_kernels(shape, real, samples=60)
    system = MatrixNormal(spectra, 3, lambda each: Toeplitz(each, shape))
    voxels = math.prod(shape)
    unit = torch.eye(3 * voxels, dtype=torch.complex128).reshape(-1, 3, *shape)
    matrix = system(unit).reshape(3 * voxels, 3, voxels).movedim(0, -1)
    axes = tuple(range(-len(shape), 0))
    waves = torch.eye(voxels, dtype=torch.complex128).reshape(voxels, *shape)
    waves = torch.fft.ifftn(waves, dim=axes, norm="ortho").reshape(voxels, voxels)
    matrix = matrix.reshape(3, voxels, 3, voxels)
    quotients = torch.einsum("wv,kvlu,wu->wkl", waves.conj(), matrix, waves)
    expected = torch.linalg.inv(quotients + 0.5 * torch.eye(3))
    preconditioner = MatrixCirculantPreconditioner(spectra, 3, shape, regularization=0.5, floor=0)
    x = random_complex(2, 3, *shape)
    transformed = torch.fft.fftn(x, dim=axes).reshape(2, 3, voxels)
    product = torch.einsum("wkl,blw->bkw", expected, transformed).reshape(x.shape)
    torch.testing.assert_close(
        preconditioner(x), torch.fft.ifftn(product, dim=axes), rtol=1e-7, atol=1e-7
    )


def test_a_matrix_saves_iterations_where_images_mix():
    shape = (24, 20)
    spectra, maps = matrix_of_kernels(shape, real=False), smooth_maps(4, shape)
    system = SenseNormal(MatrixNormal(spectra, 3, lambda each: Toeplitz(each, shape)), maps)
    b = system(random_complex(1, 3, *shape))
    settings = {"regularization": 20.0, "iterations": 400, "residual": 1e-6, "image_axes": 3}
    found = {}
    for name, known in {"plain": None, "alone": None, "with maps": maps}.items():
        preconditioner = None
        if name != "plain":
            preconditioner = MatrixCirculantPreconditioner(
                spectra, 3, shape, regularization=20.0, maps=known
            )
        found[name] = conjugate_gradient(
            NormalEquations(b, system), **settings, preconditioner=preconditioner
        )
    for name in ("alone", "with maps"):
        torch.testing.assert_close(found[name].image, found["plain"].image, rtol=0, atol=1e-3)
    plain, alone, with_maps = (each.evaluations for each in found.values())
    assert with_maps < alone
    assert with_maps < 0.6 * plain


def test_exact_preconditioners_need_one_iteration():
    x = random_complex(2, 3, 4)
    diagonal = torch.linspace(1, 50, 4, dtype=torch.float64)
    solution = conjugate_gradient(
        NormalEquations(diagonal * x, lambda v: diagonal * v),
        iterations=9,
        residual=1e-10,
        image_axes=2,
        preconditioner=lambda r: r / diagonal,
    )
    assert (solution.iterations == 1).all()
    torch.testing.assert_close(solution.image, x)


def test_frames_have_circulants_of_their_own():
    shape = (6, 5)
    spectra = [spectrum_of(shape, seed=seed) for seed in range(3)]
    x = random_complex(2, 3, *shape)
    together = toeplitz_preconditioner(torch.stack(spectra), shape)(x)
    for frame, spectrum in enumerate(spectra):
        alone = CirculantPreconditioner(spectrum, shape)(x[:, frame])
        torch.testing.assert_close(together[:, frame], alone)


def test_nothing_measured_changes_nothing():
    shape = (6, 5)
    spectrum = torch.zeros_like(spectrum_of(shape))
    x = random_complex(*shape)
    for kind in (CirculantPreconditioner, KroneckerPreconditioner):
        torch.testing.assert_close(kind(spectrum, shape)(x), x)


def test_refuses_a_spectrum_of_another_matrix():
    spectrum = spectrum_of((6, 5))
    with pytest.raises(ShapeError, match=r"CirculantPreconditioner.*\(7, 5\)"):
        CirculantPreconditioner(spectrum, (7, 5))
    with pytest.raises(ShapeError, match="single frame"):
        KroneckerPreconditioner(torch.stack([spectrum, spectrum]), (6, 5))


@pytest.mark.parametrize("shape", [(48, 40, 44), (200, 180)], ids=str)
@pytest.mark.parametrize("kind", [CirculantPreconditioner, KroneckerPreconditioner])
def test_memory_stays_below_the_prediction(kind, shape):
    spectrum = torch.rand(padded_shape(shape))
    resident, setup = preconditioner_bytes(
        shape, itemsize=8, kronecker=kind is KroneckerPreconditioner
    )
    with Allocations() as making:
        preconditioner = kind(spectrum, shape, regularization=0.1)
    x = random_complex(*shape, dtype=torch.complex64)
    with Allocations() as applying:
        preconditioner(x)
    kept = 2 * 4 * x.numel()  # eigenvalues and their reciprocals
    assert 0.4 * setup < making.peak <= setup
    assert 0.4 * resident < kept + applying.peak - 8 * x.numel() <= resident


@pytest.mark.parametrize("real", [True, False], ids=["real basis", "complex basis"])
def test_memory_of_a_matrix_stays_below_the_prediction(real):
    shape, images = (40, 36, 28), 3
    kernels = 6 if real else 9
    spectra = [torch.rand(padded_shape(shape)) for _ in range(kernels)]
    resident, setup = matrix_preconditioner_bytes((images, *shape), itemsize=8, kernels=kernels)
    maps = smooth_maps(2, shape).to(torch.complex64)
    with Allocations() as making:
        kept = MatrixCirculantPreconditioner(spectra, images, shape, regularization=0.1, maps=maps)
    assert 0.4 * setup < making.peak <= setup
    x = random_complex(images, *shape, dtype=torch.complex64)
    settings = parse_algorithm(
        {
            "algorithm": "cg-sense",
            "preconditioner": "circulant",
            "series": {"basis": "t2-decay", "times": [0.01, 0.02, 0.04]},
        }
    )
    machine = Machine(False, torch.get_num_threads(), 8, NufftSettings())
    model = MriCosts(2, 10, 8, shared_trajectory=True, maps=True, coefficients=images)
    work = Work.whole(shape, settings, model, machine, 1)
    plain = replace(work, settings=settings.model_copy(update={"preconditioner": "none"}))
    product = model.normal(work)["Toeplitz product"] - model.normal(plain)["Toeplitz product"]
    with Allocations() as applying:
        kept(x)
    assert resident == kernels * 4 * x[0].numel()
    assert 0.2 * product < applying.peak - x.nbytes <= product


def test_memory_of_coils_is_counted_where_their_maps_stay():
    shape, coils = (48, 40, 44), 5
    machine = Machine(False, torch.get_num_threads(), 8, NufftSettings())
    settings = parse_algorithm({"algorithm": "cg-sense", "preconditioner": "circulant"})
    model = MriCosts(coils, 10, 8, shared_trajectory=True, maps=True)
    work = Work.whole(shape, settings, model, machine, 1)
    predicted = model.normal(work)["preconditioner of coils"]
    preconditioner = CirculantPreconditioner(
        torch.rand(padded_shape(shape)), shape, maps=smooth_maps(coils, shape).to(torch.complex64)
    )
    x = random_complex(*shape, dtype=torch.complex64)
    with Allocations() as applying:
        preconditioner(x)
    assert 0.4 * predicted < applying.peak - 8 * x.numel() <= predicted
    for other in (replace(model, maps=False), replace(model, resident=False)):
        assert "preconditioner of coils" not in other.normal(replace(work, model=other))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [CirculantPreconditioner, KroneckerPreconditioner])
def test_device_agrees_with_the_cpu(kind):
    shape = (6, 5)
    spectrum, x = spectrum_of(shape), random_complex(2, *shape)
    there = kind(spectrum.cuda(), shape)(x.cuda())
    torch.testing.assert_close(there.cpu(), kind(spectrum, shape)(x))
