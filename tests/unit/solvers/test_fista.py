"""FISTA against closed forms and conditions of optimality; debiasing against dense solutions."""

import pytest
import torch
from adjointness import random_complex
from allocations import Allocations
from dense_problems import dense_problem

from pipeline.algorithms.fista import fista_bytes
from pipeline.algorithms.penalised import debias_bytes
from pipeline.errors import ConfigError
from pipeline.operators import inner
from pipeline.solvers.debiasing import debias
from pipeline.solvers.fista import fista
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.penalties.l1 import L1
from pipeline.solvers.penalties.l21 import GroupSparsity
from pipeline.solvers.penalties.tv import TotalVariation
from pipeline.solvers.penalties.wavelet import WaveletSparsity
from pipeline.solvers.proximal import soft_threshold, total_variation_proximal


def assert_lasso_optimal(normal, image, weight, tolerance):
    """Assert that ``b - G x`` is a subgradient of ``weight |x|_1`` at the image."""
    gradient = (normal.b - normal.gram(image)) / weight
    nonzero = image != 0
    assert nonzero.any()
    assert not nonzero.all()
    torch.testing.assert_close(gradient[nonzero], torch.sgn(image[nonzero]), atol=tolerance, rtol=0)
    assert (gradient[~nonzero].abs() <= 1 + tolerance).all()


def test_a_unitary_system_is_solved_by_a_threshold():
    unitary, _ = torch.linalg.qr(random_complex(12, 12))
    b = unitary.mH @ random_complex(12, seed=1)
    solution = fista(NormalEquations(b, lambda x: x), L1(0.8, 1), iterations=30, lipschitz=1.0)
    torch.testing.assert_close(solution.image, soft_threshold(b, 0.8), atol=1e-5, rtol=1e-5)
    assert solution.iterations <= 15


@pytest.mark.parametrize("single", [False, True])
def test_a_diagonal_system_has_a_closed_form(single):
    dtype = torch.complex64 if single else torch.complex128
    diagonal = torch.tensor([0.5, 1.0, 2.0, 8.0], dtype=dtype.to_real())
    b = random_complex(3, 4, dtype=dtype)
    solution = fista(
        NormalEquations(b, lambda x: diagonal * x), L1(0.6, 1), iterations=500, change=1e-12
    )
    expected = soft_threshold(b, 0.6) / diagonal
    torch.testing.assert_close(solution.image, expected)
    assert solution.image.dtype == dtype


@pytest.mark.parametrize("seed", range(3))
def test_random_problems_satisfy_the_conditions_of_optimality(seed):
    problem = dense_problem(30, (6, 10), nonzero=5, noise=0.01, seed=seed)
    solution = fista(problem.normal, L1(0.05, 2), iterations=3000, change=1e-12)
    assert_lasso_optimal(problem.normal, solution.image, 0.05, 1e-6)
    usual = fista(problem.normal, L1(0.05, 2), iterations=3000, bound_evaluations=4)
    assert usual.residuals[-1] <= 1e-5
    assert usual.iterations == len(usual.residuals) < 60
    assert usual.evaluations == usual.iterations + 4
    assert_lasso_optimal(problem.normal, usual.image, 0.05, 1e-2)


def test_problems_are_independent_and_rest():
    problem = dense_problem(30, (5, 8), problems=(2, 2), nonzero=4, noise=0.01)
    normal = problem.normal
    weights = torch.tensor([[0.02, 0.05], [0.1, 100.0]], dtype=torch.float64)
    together = fista(normal, L1(weights, 2), iterations=500)
    assert together.iterations.unique().numel() > 2
    assert together.residuals.shape == (int(together.iterations.max()), 2, 2)
    assert (together.image[1, 1] == 0).all()  # the weight is above the largest correlation
    for index in ((0, 0), (0, 1), (1, 0)):
        matrix = problem.matrix[index]
        alone = fista(
            NormalEquations(
                normal.b[index],
                lambda x, a=matrix: (a.mH @ (a @ x.flatten())).reshape(x.shape),
            ),
            L1(weights[index], 2),
            iterations=500,
        )
        torch.testing.assert_close(together.image[index], alone.image)
        assert together.iterations[index] == alone.iterations


def test_group_sparsity_satisfies_the_conditions_of_optimality():
    """Two pairs measure scenes of their own with the same few voxels."""
    problem = dense_problem(24, (30,), problems=(2,), nonzero=4, noise=0.01)
    problem.truth[1] *= problem.truth[0] != 0
    weight = 0.2
    normal = problem.normal
    solution = fista(normal, GroupSparsity(weight, 2), iterations=3000, change=1e-12)
    gradient = normal.b - normal.gram(solution.image)
    norms = torch.linalg.vector_norm(solution.image, dim=0)
    there = norms > 0
    assert 0 < there.sum() < 30
    assert torch.equal(there, solution.image[0] != 0)
    torch.testing.assert_close(
        gradient[:, there], weight * solution.image[:, there] / norms[there], atol=1e-7, rtol=0
    )
    assert (torch.linalg.vector_norm(gradient[:, ~there], dim=0) <= weight).all()


def test_total_variation_of_the_identity_is_denoising():
    b = random_complex(5, 6)
    solution = fista(
        NormalEquations(b, lambda x: x),
        TotalVariation(0.3, 2, iterations=500, change=0),
        iterations=40,
        change=0,
        lipschitz=1.0,
    )
    torch.testing.assert_close(
        solution.image, total_variation_proximal(b, 0.3, 2, iterations=500, change=0)
    )


def test_few_steps_of_total_variation_end_where_many_do():
    """The inner iteration goes on where it was, so the outer one needs no accurate one."""
    normal = dense_problem(40, (4, 5, 6), noise=0.05).normal

    def objective(outer, **inner):
        penalty = TotalVariation(0.1, 3, **inner)
        found = fista(normal, penalty, iterations=outer, change=0).image
        return float(normal.cost(found) + penalty.value(found))

    least = objective(100, iterations=50)
    assert objective(150) == pytest.approx(least, rel=1e-6)
    assert least < objective(20) < 1.01 * least


def test_debiasing_is_least_squares_on_the_support():
    problem = dense_problem(30, (6, 10), problems=(2,), nonzero=5, noise=0.01)
    sparse = fista(problem.normal, L1(0.1, 2), iterations=500)
    solution = debias(problem.normal, sparse, image_axes=2, residual=1e-10)
    for index in range(2):
        support = sparse.image[index].flatten() != 0
        picked = problem.matrix[index][:, support]
        dense = torch.linalg.lstsq(picked, problem.data[index, :, None]).solution[:, 0]
        found = solution.image[index].flatten()
        torch.testing.assert_close(found[support], dense)
        assert (found[~support] == 0).all()
    error = [torch.linalg.vector_norm(s.image - problem.truth) for s in (sparse, solution)]
    assert error[1] < 0.3 * error[0]
    large = debias(problem.normal, sparse, image_axes=2, threshold=0.3)
    magnitude = sparse.image.abs()
    assert torch.equal(large.image != 0, magnitude > 0.3 * magnitude.amax((1, 2), keepdim=True))
    assert solution.evaluations > sparse.evaluations


def test_without_data_or_iterations():
    b = torch.zeros(3, 4, dtype=torch.complex64)
    nothing = fista(NormalEquations(b, torch.zeros_like), L1(0.1, 2), iterations=5)
    assert (nothing.image == 0).all()
    assert nothing.residuals.tolist() == [0.0]
    none = fista(dense_problem(9, (3, 4)).normal, L1(0.1, 2), iterations=0)
    assert (none.image == 0).all()
    assert none.residuals.shape == (0,)


def test_reports_and_refuses():
    seen = []
    normal = dense_problem(9, (3, 4)).normal
    solution = fista(
        normal, L1(0.1, 2), iterations=3, change=0, report=lambda *values: seen.append(values)
    )
    assert [number for number, _ in seen] == [1, 2, 3]
    assert [change for _, change in seen] == solution.residuals.tolist()
    with pytest.raises(ConfigError, match="change -1"):
        fista(normal, L1(0.1, 2), iterations=3, change=-1)
    with pytest.raises(ConfigError, match="FISTA: found image_axes 3"):
        fista(normal, L1(0.1, 3), iterations=3)


def test_wavelets_end_where_random_shifts_are_all_that_moves():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(48, 40, dtype=torch.complex128)
    truth[9:33, 7:30], truth[15:24, 18:27] = 1 + 0.5j, 0.4
    mask = torch.rand(48, 40, generator=generator, dtype=torch.float64) < 0.9
    measured = mask * (torch.fft.fft2(truth, norm="ortho") + 0.02 * random_complex(48, 40))

    def gram(x):
        return torch.fft.ifft2(mask * torch.fft.fft2(x, norm="ortho"), norm="ortho")

    normal = NormalEquations(torch.fft.ifft2(measured, norm="ortho"), gram)
    found = fista(normal, WaveletSparsity(0.05, 2), iterations=200, change=1e-6)
    assert found.residuals[-1] > 0.01
    assert int(found.iterations) < 30
    further = fista(normal, WaveletSparsity(0.05, 2), iterations=90, change=1e-6, start=found.image)
    errors = [torch.linalg.vector_norm(each.image - truth) for each in (found, further)]
    assert errors[0] < 1.1 * errors[1]


@pytest.mark.parametrize(
    "penalty",
    [L1(0.1, 3), GroupSparsity(0.1, 3), TotalVariation(0.1, 3), WaveletSparsity(0.1, 3)],
    ids=lambda penalty: type(penalty).__name__,
)
def test_memory_is_as_predicted(penalty, monkeypatch):
    for chunk in ("_CHUNK_ON_CPU", "_CHUNK_ON_DEVICE"):
        monkeypatch.setattr(inner, chunk, 2**12)  # as small beside the images as it usually is
    b = random_complex(20, 30, 40, dtype=torch.complex64)
    diagonal = torch.linspace(0.1, 1, 40)
    normal = NormalEquations(b, lambda x: diagonal * x)
    images = penalty.proximal_images(penalty.image_axes) + penalty.restless
    predicted = fista_bytes(b.shape, itemsize=8, proximal_images=images)
    with Allocations() as measured:
        solution = fista(normal, penalty, iterations=7, change=0)
    assert 0.7 * predicted < measured.peak <= 1.001 * predicted  # but for a few scalars
    with Allocations() as measured:
        debias(normal, solution, image_axes=3, iterations=3)
    assert measured.peak <= 1.001 * debias_bytes(b.shape, itemsize=8)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "recovered"), [(0.40, True), (0.52, False)])
def test_the_published_weak_threshold(share, recovered):
    """Complex l1 recovery from half as many measurements succeeds up to s / M = 0.458."""
    voxels = 300
    problem = dense_problem(voxels // 2, (voxels,), nonzero=int(share * voxels / 2))
    solution = fista(problem.normal, L1(1e-4, 1), iterations=1500, change=1e-8)
    error = torch.linalg.vector_norm(solution.image - problem.truth)
    relative = float(error / torch.linalg.vector_norm(problem.truth))
    assert (relative < 0.05) == recovered, relative


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    problem = dense_problem(30, (2, 5, 6), problems=(3,), nonzero=5, noise=0.01)
    for penalty in (L1(0.05, 3), GroupSparsity(0.05, 3), TotalVariation(0.01, 3)):
        here, there = (
            fista(p.normal, penalty, iterations=30, change=0) for p in (problem, problem.to("cuda"))
        )
        assert there.image.is_cuda
        torch.testing.assert_close(there.image.cpu(), here.image)
        refined = [
            debias(p.normal, s, image_axes=3)
            for p, s in ((problem, here), (problem.to("cuda"), there))
        ]
        torch.testing.assert_close(refined[1].image.cpu(), refined[0].image)
