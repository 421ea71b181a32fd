"""Orthogonal matching pursuit against the textbook's algorithm on the matrix itself."""

import pytest
import torch
from adjointness import random_complex
from allocations import Allocations
from dense_problems import dense_problem

from pipeline.algorithms.omp import orthogonal_matching_pursuit_bytes
from pipeline.errors import ConfigError
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.omp import orthogonal_matching_pursuit


def textbook(matrix, data, atoms, normalise=False):
    """Return image, support and residual norms of the algorithm as it is taught."""
    residual, support, norms = data, [], [torch.linalg.vector_norm(data)]
    image = torch.zeros(matrix.shape[1], dtype=matrix.dtype)
    lengths = torch.linalg.vector_norm(matrix, dim=0) if normalise else 1.0
    for _ in range(atoms):
        support.append(int(((matrix.mH @ residual).abs() / lengths).argmax()))
        picked = matrix[:, support]
        solved = torch.linalg.lstsq(picked, data[:, None]).solution[:, 0]
        residual = data - picked @ solved
        norms.append(torch.linalg.vector_norm(residual))
    image[support] = solved
    return image, support, torch.stack(norms)


@pytest.mark.parametrize("cheap_entries", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_atoms_are_those_of_the_textbook(cheap_entries, normalise):
    problem = dense_problem(20, (6, 10), nonzero=8, noise=0.1)
    scale = torch.linspace(0.2, 2, 60, dtype=torch.float64)
    problem.matrix.mul_(scale)
    expected, support, norms = textbook(problem.matrix, problem.data, 9, normalise)
    dense = problem.matrix.mH @ problem.matrix
    normal = problem.normal
    kept = normal.b.clone()
    solution = orthogonal_matching_pursuit(
        normal,
        atoms=9,
        image_axes=2,
        diagonal=dense.diagonal().real.reshape(6, 10) if normalise else None,
        entries=(lambda rows, column: dense[rows, column]) if cheap_entries else None,
    )
    assert set(solution.image.flatten().nonzero().flatten().tolist()) == set(support)
    torch.testing.assert_close(solution.image.flatten(), expected)
    torch.testing.assert_close(solution.residuals, norms / norms[0])
    assert solution.evaluations == (9 if cheap_entries else 18)
    assert torch.equal(normal.b, kept)


def test_recovers_the_support_and_stops_at_the_noise():
    problem = dense_problem(60, (8, 12), nonzero=7, noise=0.01)
    normal = problem.normal
    solution = orthogonal_matching_pursuit(
        normal, atoms=30, residual=1.3 * 0.01 * 60**0.5, image_axes=2
    )
    assert solution.iterations == 7
    assert torch.equal(solution.image != 0, problem.truth != 0)
    misfit = problem.matrix @ solution.image.flatten() - problem.data
    expected = torch.linalg.vector_norm(misfit) / torch.linalg.vector_norm(problem.data)
    torch.testing.assert_close(solution.residuals[-1], expected)


def test_single_precision_resolves_the_noise():
    problem = dense_problem(60, (8, 12), nonzero=7, noise=0.01).to(torch.complex64)
    solution = orthogonal_matching_pursuit(
        problem.normal, atoms=30, residual=1.3 * 0.01 * 60**0.5, image_axes=2
    )
    assert solution.image.dtype == torch.complex64
    assert torch.equal(solution.image != 0, problem.truth != 0)


def test_problems_are_independent_and_rest():
    problem = dense_problem(60, (8, 12), problems=(2, 2), nonzero=5, noise=0.01)
    problem.truth[0, 1] = 0
    problem.data[0, 1] = 0
    targets = torch.tensor([[0.1, 0.1], [1.2, 0.1]], dtype=torch.float64)
    together = orthogonal_matching_pursuit(problem.normal, atoms=9, residual=targets, image_axes=2)
    assert together.iterations[0, 1] == 0
    assert (together.image[0, 1] == 0).all()
    assert together.iterations[1, 0] < together.iterations[0, 0] == 5
    for index in ((0, 0), (1, 0), (1, 1)):
        count = int(together.iterations[index])
        expected, _, norms = textbook(problem.matrix[index], problem.data[index], count)
        torch.testing.assert_close(together.image[index].flatten(), expected)
        assert (norms[:-1] > targets[index]).all()
        assert norms[-1] <= targets[index]


def test_ends_where_atoms_depend_on_each_other():
    """Only three directions exist, so a fourth atom has nothing to add."""
    matrix = random_complex(3, 1).expand(3, 8) * 0
    matrix = torch.cat([torch.eye(3, dtype=torch.complex128)] * 3, dim=1)
    data = random_complex(3)
    normal = NormalEquations(matrix.mH @ data, lambda x: matrix.mH @ (matrix @ x))
    solution = orthogonal_matching_pursuit(normal, atoms=6, image_axes=1)
    assert solution.iterations == 3
    torch.testing.assert_close(matrix @ solution.image, data)
    assert (solution.residuals == 0).all()  # no energy was given


def test_reports_and_refuses():
    seen = []
    problem = dense_problem(20, (6, 10), nonzero=8, noise=0.1)
    solution = orthogonal_matching_pursuit(
        problem.normal, atoms=3, image_axes=2, report=lambda *values: seen.append(values)
    )
    assert [number for number, _ in seen] == [1, 2, 3]
    assert [value for _, value in seen] == solution.residuals[1:].tolist()
    silent = NormalEquations(problem.normal.b, problem.normal.gram)
    with pytest.raises(ConfigError, match="no energy"):
        orthogonal_matching_pursuit(silent, atoms=3, residual=0.1, image_axes=2)
    with pytest.raises(ConfigError, match="atoms -1"):
        orthogonal_matching_pursuit(silent, atoms=-1, image_axes=2)
    with pytest.raises(ConfigError, match="b has 2 axes"):
        orthogonal_matching_pursuit(silent, atoms=1, image_axes=3)


def test_memory_is_as_predicted():
    b = random_complex(20, 30, 40, dtype=torch.complex64)
    diagonal = torch.linspace(0.1, 1, 40)
    predicted = orthogonal_matching_pursuit_bytes(b.shape, 20, itemsize=8)
    with Allocations() as measured:
        orthogonal_matching_pursuit(
            NormalEquations(b, lambda x: diagonal * x), atoms=20, image_axes=3
        )
    assert 0.8 * predicted < measured.peak <= 1.001 * predicted


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    problem = dense_problem(60, (8, 12), problems=(2,), nonzero=5, noise=0.01)
    here, there = (
        orthogonal_matching_pursuit(p.normal, atoms=9, residual=0.1, image_axes=2)
        for p in (problem, problem.to("cuda"))
    )
    assert there.image.is_cuda
    torch.testing.assert_close(there.image.cpu(), here.image)
