"""Conjugate gradients and normal equations against dense linear algebra."""

import numpy as np
import pytest
import torch
from adjointness import random_complex

from pipeline.errors import ConfigError
from pipeline.operators.inner import inner_product
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.normal import NormalEquations

SHAPE = (3, 4)


def system(problems=(), size=12, seed=0):
    """Return Hermitian positive definite matrices and right-hand sides."""
    matrix = random_complex(*problems, size + 4, size, seed=seed)
    return matrix.mH @ matrix, random_complex(*problems, *SHAPE, seed=seed + 1)


def equations(matrix, b, energy=0.0):
    def gram(x):
        return (matrix @ x.reshape(*matrix.shape[:-1], 1)).reshape(x.shape)

    return NormalEquations(b, gram, energy)


def solved(matrix, b, regularization=0.0):
    shifted = matrix + regularization * torch.eye(12, dtype=matrix.dtype)
    return torch.linalg.solve(shifted, b.reshape(*matrix.shape[:-1], 1)).reshape(b.shape)


@pytest.mark.parametrize("problems", [(), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("regularization", [0.0, 2.5])
def test_solves_independent_problems(problems, regularization):
    matrix, b = system(problems)
    b = b * torch.logspace(-8, 8, max(1, int(np.prod(problems)))).reshape(*problems, 1, 1)
    solution = conjugate_gradient(
        equations(matrix, b), regularization=regularization, iterations=40, image_axes=2
    )
    expected = solved(matrix, b, regularization)
    error = torch.linalg.vector_norm(solution.image - expected, dim=(-2, -1))
    assert (error <= 1e-8 * torch.linalg.vector_norm(expected, dim=(-2, -1))).all()
    assert solution.residuals.shape == (41, *problems)
    assert solution.residuals.dtype == torch.float64
    assert (solution.residuals[0] == 1).all()
    assert (solution.residuals[-1] < 1e-9).all()


def test_iterates_are_those_of_scipy():
    from scipy.sparse.linalg import cg

    matrix, b = system()
    for iterations in (1, 3, 6):
        ours = conjugate_gradient(equations(matrix, b), iterations=iterations, image_axes=2)
        theirs, _ = cg(matrix.numpy(), b.flatten().numpy(), maxiter=iterations, rtol=0)
        np.testing.assert_allclose(ours.image.flatten().numpy(), theirs, rtol=1e-9)


def test_a_problem_that_converged_rests():
    hard, b = system((2,))
    matrix = hard.clone()
    matrix[0] = torch.eye(12)  # solved by a single step
    solution = conjugate_gradient(equations(matrix, b), iterations=30, residual=1e-6, image_axes=2)
    assert solution.iterations[0] == 1
    assert 1 < solution.iterations[1] < 30
    torch.testing.assert_close(solution.image[0], b[0])
    assert (solution.residuals[1:, 0] < 1e-12).all()
    alone = conjugate_gradient(equations(hard[1], b[1]), iterations=30, residual=1e-6, image_axes=2)
    torch.testing.assert_close(solution.image[1], alone.image)
    assert len(solution.residuals) == len(alone.residuals)


def test_a_prior_is_part_of_the_operator():
    matrix, b = system((2,))
    other, _ = system(seed=5)
    normal = equations(matrix, b)
    solution = conjugate_gradient(
        normal,
        prior=lambda x: (other @ x.reshape(2, 12, 1)).reshape(x.shape),
        iterations=60,
        image_axes=2,
    )
    torch.testing.assert_close(solution.image, solved(matrix + other, b))


def test_it_stops_where_the_image_hardly_changes():
    """In the norm of the operator; what is still to come is of the size of the last step."""
    matrix, b = system((3,))
    solution = conjugate_gradient(equations(matrix, b), iterations=60, change=0.02, image_axes=2)
    assert (solution.iterations < 14).all()
    error = (solution.image - solved(matrix, b)).reshape(3, 12, 1)
    image = solution.image.reshape(3, 12, 1)
    squares = [(x.mH @ matrix @ x).real.flatten() for x in (error, image)]
    assert (squares[0] < 0.05**2 * squares[1]).all()


def test_residuals_are_those_of_the_image():
    matrix, b = system((3,))
    solution = conjugate_gradient(
        equations(matrix, b), regularization=0.7, iterations=5, image_axes=2
    )
    x = solution.image.reshape(3, 12, 1)
    left = b.reshape(3, 12, 1) - matrix @ x - 0.7 * x
    relative = torch.linalg.vector_norm(left, dim=(1, 2)) / torch.linalg.vector_norm(b, dim=(1, 2))
    torch.testing.assert_close(solution.residuals[-1], relative)


@pytest.mark.parametrize("residual", [0.0, 1e-3])
def test_zero_data_gives_a_zero_image(residual):
    matrix, b = system((2,))
    b[0] = 0
    solution = conjugate_gradient(
        equations(matrix, b), iterations=30, residual=residual, image_axes=2
    )
    assert (solution.image[0] == 0).all()
    assert solution.iterations[0] == 0
    assert torch.isfinite(solution.residuals).all()
    assert torch.isfinite(solution.image.real).all()
    nothing = conjugate_gradient(
        equations(matrix, torch.zeros_like(b)), iterations=9, residual=residual, image_axes=2
    )
    assert (nothing.image == 0).all()


def test_no_data_at_all_under_a_singular_system():
    b = random_complex(*SHAPE)
    solution = conjugate_gradient(NormalEquations(b, torch.zeros_like), iterations=5, image_axes=2)
    assert (solution.image == 0).all()
    assert torch.isfinite(solution.residuals).all()


def test_the_operator_may_return_its_argument():
    b = random_complex(*SHAPE)
    solution = conjugate_gradient(
        NormalEquations(b, lambda x: x), iterations=3, regularization=1.0, image_axes=2
    )
    torch.testing.assert_close(solution.image, b / 2)


def test_reports_every_iteration():
    matrix, b = system((2,))
    seen = []
    solution = conjugate_gradient(
        equations(matrix, b), iterations=4, image_axes=2, report=lambda *args: seen.append(args)
    )
    assert [number for number, _ in seen] == [1, 2, 3, 4]
    np.testing.assert_allclose([r for _, r in seen], solution.residuals[1:].max(-1).values)


def test_arguments_stay_as_they_were():
    matrix, b = system()
    kept = b.clone()
    conjugate_gradient(equations(matrix, b), iterations=3, image_axes=2)
    assert torch.equal(b, kept)


def test_no_iterations():
    matrix, b = system()
    solution = conjugate_gradient(equations(matrix, b), iterations=0, image_axes=2)
    assert (solution.image == 0).all()
    assert solution.residuals.tolist() == [1.0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"iterations": -1}, "-1"),
        ({"residual": -0.5}, "-0.5"),
        ({"regularization": -2.0}, "-2.0"),
        ({"image_axes": 3}, "b has 2 axes"),
        ({"image_axes": 0}, "image_axes 0"),
    ],
)
def test_refuses_wrong_settings(setting, message):
    with pytest.raises(ConfigError, match=message):
        conjugate_gradient(equations(*system()), **({"iterations": 1, "image_axes": 2} | setting))


def test_single_precision_keeps_accurate_inner_products():
    x = random_complex(3, 2**19, dtype=torch.complex64)
    y = random_complex(3, 2**19, dtype=torch.complex64, seed=1)
    truth = (x.conj().to(torch.complex128) * y).real.sum(-1)
    found = inner_product(x, y, 1)
    scale = torch.linalg.vector_norm(x, dim=1).double() * torch.linalg.vector_norm(y, dim=1)
    assert found.dtype == torch.float64
    assert (abs(found - truth) < 1e-12 * scale).all()
    torch.testing.assert_close(inner_product(x.mT.conj(), y.mT.conj(), 2), truth.sum())


def test_cost_is_the_weighted_misfit():
    matrices = random_complex(2, 9, 12)
    data = random_complex(2, 9, seed=1)
    weights = torch.rand(9, dtype=torch.float64)
    gram = matrices.mH @ (weights[:, None] * matrices)
    b = (matrices.mH @ (weights * data).unsqueeze(-1)).reshape(2, *SHAPE)
    energy = (weights * data.abs() ** 2).sum(-1)
    x = random_complex(2, *SHAPE, seed=2)
    misfit = (matrices @ x.reshape(2, 12, 1)).squeeze(-1) - data
    truth = 0.5 * (weights * misfit.abs() ** 2).sum(-1)
    torch.testing.assert_close(equations(gram, b, energy).cost(x, 2), truth)
    torch.testing.assert_close(equations(gram, b, energy.sum()).cost(x), truth.sum())


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    matrix, b = system((3,))
    options = {"iterations": 8, "residual": 1e-9, "regularization": 0.1, "image_axes": 2}
    here = conjugate_gradient(equations(matrix, b), **options)
    there = conjugate_gradient(equations(matrix.cuda(), b.cuda()), **options)
    assert there.image.is_cuda
    torch.testing.assert_close(there.image.cpu(), here.image)
    assert torch.equal(there.iterations, here.iterations)
