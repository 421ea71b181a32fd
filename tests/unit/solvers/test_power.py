"""The bound on the largest eigenvalue against dense ones."""

import pytest
import torch
from adjointness import random_complex
from dense_problems import dense_problem

from pipeline.errors import ConfigError
from pipeline.operators.toeplitz import Toeplitz
from pipeline.operators.toeplitz_memory import padded_shape
from pipeline.solvers.power import largest_eigenvalue


@pytest.mark.parametrize("samples", [6, 20, 80])
def test_a_tight_bound_from_above(samples):
    problem = dense_problem(samples, (5, 6), problems=(4,))
    truth = torch.linalg.eigvalsh(problem.matrix.mH @ problem.matrix)[:, -1]
    found = largest_eigenvalue(problem.normal.gram, problem.truth, image_axes=2)
    assert found.dtype == torch.float64
    assert (found >= truth * (1 - 1e-12)).all()
    assert (found <= truth * 1.03).all()


def test_a_flat_spectrum_as_of_a_toeplitz_operator():
    """Thousands of eigenvalues lie close to the largest, where plain power iteration is slow."""
    shape = (20, 24)
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.rand(padded_shape(shape), generator=generator, dtype=torch.float64)
    spectrum /= spectrum.numel()
    gram = Toeplitz(spectrum, shape)
    dense = gram(torch.eye(480, dtype=torch.complex128).reshape(480, *shape)).reshape(480, 480)
    truth = torch.linalg.eigvalsh(dense)[-1]
    found = largest_eigenvalue(gram, random_complex(*shape), image_axes=2)
    assert truth * 0.999 <= found <= 1.05 * truth


def test_easy_operators_and_repeatability():
    x = random_complex(2, 5)
    factors = torch.tensor([[3.0], [0.0]])
    found = largest_eigenvalue(lambda v: factors * v, x, image_axes=1)
    torch.testing.assert_close(found, torch.tensor([3.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(
        largest_eigenvalue(lambda v: v, x, image_axes=1), torch.ones(2, dtype=torch.float64)
    )
    gram = dense_problem(7, (5,)).normal.gram
    first, second = (largest_eigenvalue(gram, x[0], image_axes=1) for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(ConfigError, match="b has 2 axes"):
        largest_eigenvalue(gram, x, image_axes=3)


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    problem = dense_problem(20, (5, 6), problems=(2,))
    here, there = (
        largest_eigenvalue(p.normal.gram, p.truth, image_axes=2)
        for p in (problem, problem.to("cuda"))
    )
    torch.testing.assert_close(there.cpu(), here)
