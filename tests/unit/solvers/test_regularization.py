"""Weights by noise and by discrepancy against statistics and dense solutions."""

import pytest
import torch
from adjointness import random_complex
from dense_problems import dense_problem

from pipeline.errors import ConfigError, DataError
from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.fista import fista
from pipeline.solvers.noise import Noise
from pipeline.solvers.penalties.l1 import L1
from pipeline.solvers.regularization import discrepancy, noise_weight, wiener_weight


def test_noise_alone_seldom_exceeds_its_weight():
    generator = torch.Generator().manual_seed(0)
    samples, voxels, noise = 64, 4000, 0.3
    matrix = torch.randn(samples, voxels, dtype=torch.complex128, generator=generator)
    matrix /= torch.linalg.vector_norm(matrix, dim=0) / 2  # squared norms of 4
    draws = noise * torch.randn(samples, 200, dtype=torch.complex128, generator=generator)
    largest = (matrix.mH @ draws).abs().amax(0)
    weight = noise_weight(noise, 4.0, voxels)
    assert 0.9 < float(largest.median() / weight) < 1.1
    with pytest.raises(ConfigError, match=r"noise -1\.0"):
        noise_weight(-1.0, 4.0, voxels)


def tikhonov(problem, axes=2):
    def solve(weight):
        return conjugate_gradient(
            problem.normal, regularization=weight, iterations=200, residual=1e-12, image_axes=axes
        )

    return solve


@pytest.mark.parametrize("start", [1e-6, 1.0, 1e6])
def test_the_misfit_is_the_target(start):
    problem = dense_problem(40, (5, 6), problems=(3,), noise=0.2)
    problem.data[1] *= 1e3  # so that the weights differ by much more than the tolerance
    goal = 0.2 * 40**0.5 * torch.tensor([1.0, 1e3, 1.5], dtype=torch.float64)
    found = discrepancy(problem.normal, tikhonov(problem), target=goal, start=start, image_axes=2)
    misfit = (problem.matrix @ found.solution.image.reshape(3, 30, 1)).squeeze(-1) - problem.data
    norms = torch.linalg.vector_norm(misfit, dim=-1)
    torch.testing.assert_close(found.misfit, norms)
    assert ((norms / goal - 1).abs() <= 0.05).all()
    assert found.solutions < 20
    assert found.evaluations > found.solutions
    for index in range(3):  # the weights are those with which the images were found
        dense = problem.matrix[index].mH @ problem.matrix[index]
        dense = dense + found.weight[index] * torch.eye(30, dtype=torch.float64)
        expected = torch.linalg.solve(dense, problem.normal.b[index].flatten())
        torch.testing.assert_close(found.solution.image[index].flatten(), expected)


def test_sparse_solutions_too():
    problem = dense_problem(40, (60,), nonzero=4, noise=0.05)

    def solve(weight):
        return fista(problem.normal, L1(weight, 1), iterations=500)

    goal = 0.05 * 40**0.5
    found = discrepancy(problem.normal, solve, target=goal, start=0.1, image_axes=1)
    assert abs(float(found.misfit) / goal - 1) <= 0.05
    assert found.weight.shape == ()
    assert found.solutions <= 8


def test_says_what_is_wrong_with_the_noise_level():
    problem = dense_problem(40, (5, 6), noise=0.2)
    options = {"start": 1.0, "image_axes": 2}
    with pytest.raises(DataError, match="zero image would do"):
        discrepancy(problem.normal, tikhonov(problem), target=1e3, **options)
    with pytest.raises(DataError, match=r"should be 1e-05, but was 0\.\d+ .*more iterations"):
        discrepancy(problem.normal, tikhonov(problem), target=1e-5, **options)
    with pytest.raises(ConfigError, match=r"start 0\.0"):
        discrepancy(problem.normal, tikhonov(problem), target=1.0, start=0.0, image_axes=2)


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    problem = dense_problem(40, (5, 6), noise=0.2)
    results = [
        discrepancy(p.normal, tikhonov(p), target=1.3, start=1.0, image_axes=2)
        for p in (problem, problem.to("cuda"))
    ]
    torch.testing.assert_close(results[1].solution.image.cpu(), results[0].solution.image)
    torch.testing.assert_close(results[1].weight.cpu(), results[0].weight)


def test_wieners_weight_is_the_variance_of_noise_over_that_of_voxels():
    generator = torch.Generator().manual_seed(3)
    matrix = random_complex(400, 50, seed=4)
    diagonal = float(matrix.abs().square().sum(0).mean())
    x = 0.7 * random_complex(200, 50, seed=5)
    noise = 2.0 * torch.randn(200, 400, dtype=torch.complex128, generator=generator)
    energy = (x @ matrix.T + noise).abs().square().sum(1).mean()
    known = Noise(
        torch.tensor(2.0 * diagonal**0.5, dtype=torch.float64),
        torch.tensor(2.0 * 400**0.5, dtype=torch.float64),
    )
    found = wiener_weight(known, energy, torch.tensor(diagonal, dtype=torch.float64), 50)
    assert float(found) == pytest.approx(2.0**2 / float(x.abs().square().mean()), rel=0.1)
