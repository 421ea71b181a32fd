"""Proximal operators against their definition and closed forms; differences against a matrix."""

import math

import pytest
import torch
from adjointness import random_complex
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pipeline.errors import ConfigError
from pipeline.operators import inner
from pipeline.solvers.differences import differences, differences_adjoint, differences_normal
from pipeline.solvers.penalties.l1 import L1
from pipeline.solvers.penalties.l21 import GroupSparsity
from pipeline.solvers.penalties.tv import TotalVariation
from pipeline.solvers.proximal import (
    group_soft_threshold_,
    soft_threshold,
    soft_threshold_,
    total_variation_proximal,
)


@given(magnitude=st.floats(0, 1e6), angle=st.floats(-math.pi, math.pi), threshold=st.floats(0, 1e6))
@settings(deadline=None)
def test_soft_threshold_shortens_and_keeps_the_phase(magnitude, angle, threshold):
    x = torch.polar(*(torch.tensor([value], dtype=torch.float64) for value in (magnitude, angle)))
    expected = torch.polar(
        torch.tensor([max(0.0, magnitude - threshold)], dtype=torch.float64), x.angle()
    )
    torch.testing.assert_close(soft_threshold(x, threshold), expected, atol=1e-9, rtol=1e-12)
    torch.testing.assert_close(soft_threshold_(x, threshold), expected, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float32])
def test_zeros_stay_zero_without_a_nan(dtype):
    x = torch.tensor([0, 1e-38, 3, -4], dtype=dtype)
    for threshold in (0.0, 1e-30, 1.0):
        for result in (soft_threshold(x, threshold), soft_threshold_(x.clone(), threshold)):
            assert result[0] == 0
            assert torch.isfinite(torch.view_as_real(result.to(torch.complex64))).all()
    assert torch.equal(soft_threshold(x, 0.0), x)


def test_group_soft_threshold_is_one_threshold_for_each_vector():
    x = random_complex(3, 4, 5)
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    expected = x * (1 - 1.7 / norms).clamp(min=0)
    assert 0 < (expected == 0).float().mean() < 1
    torch.testing.assert_close(group_soft_threshold_(x.clone(), 1.7, 1), expected)
    single = x[:, :1].clone()
    alone = soft_threshold(single, 0.5)
    torch.testing.assert_close(group_soft_threshold_(single, 0.5, 1), alone)


def test_gradients():
    x = random_complex(3, 4).requires_grad_()
    threshold = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_threshold, (x, threshold))


def test_gradients_are_finite_at_zero():
    x = torch.tensor([0.0, 1e-30, 1.0], dtype=torch.complex64, requires_grad=True)
    threshold = torch.tensor(0.5, requires_grad=True)
    soft_threshold(x, threshold).abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(x.grad)).all()
    assert threshold.grad == -1  # only one number is left


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 5, 3), (3, 1)], ids=str)
def test_differences_and_their_adjoint_against_a_matrix(shape):
    axes, voxels = len(shape), math.prod(shape)
    matrix = differences(
        torch.eye(voxels, dtype=torch.complex128).reshape(-1, *shape), axes, range(-axes, 0)
    )
    matrix = matrix.reshape(voxels, -1).T
    x = random_complex(2, *shape)
    u = differences(x, axes, range(-axes, 0))
    assert u.shape == (2, axes, *shape)
    torch.testing.assert_close(u.reshape(2, -1), x.reshape(2, -1) @ matrix.T)
    for axis in range(axes):
        expected = torch.diff(x, dim=axis + 1, append=x.narrow(axis + 1, shape[axis] - 1, 1))
        torch.testing.assert_close(u[:, axis], expected)
    v = random_complex(*u.shape, seed=1)
    torch.testing.assert_close(
        differences_adjoint(v, axes, range(-axes, 0)).reshape(2, -1),
        v.reshape(2, -1) @ matrix.conj(),
    )
    torch.testing.assert_close(
        differences_normal(x, range(-axes, 0)).reshape(2, -1),
        x.reshape(2, -1) @ matrix.T @ matrix.conj(),
    )
    assert torch.linalg.matrix_norm(matrix, 2) < 2 * axes**0.5


def test_total_variation_of_a_line_in_closed_form():
    """Two plateaus approach each other until they meet: threshold over length each."""
    x = torch.tensor([0.0] * 4 + [1.0] * 8, dtype=torch.complex128) * (1 + 2j)
    unit = (1 + 2j) / abs(1 + 2j)
    found = total_variation_proximal(x, 0.6, 1, iterations=5000, change=1e-13)
    expected = x + torch.tensor([0.6 / 4] * 4 + [-0.6 / 8] * 8) * unit
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
    flat = total_variation_proximal(x, 100.0, 1, iterations=5000, change=1e-13)
    torch.testing.assert_close(flat, x.mean().expand(12), atol=1e-7, rtol=0)


def test_total_variation_against_a_general_minimiser():
    x, weight = random_complex(3, 4), 0.4
    scale = 1e-12  # the square root's kink, rounded a little so that gradients exist

    def cost(numbers):
        z = torch.tensor(numbers, requires_grad=True)
        image = torch.view_as_complex(z.reshape(3, 4, 2))
        lengths = (differences(image, 2, (-2, -1)).abs().square().sum(0) + scale).sqrt()
        value = 0.5 * (image - x).abs().square().sum() + weight * lengths.sum()
        value.backward()
        return value.item(), z.grad.numpy()

    best = minimize(cost, torch.view_as_real(x).flatten().numpy(), jac=True, options={"gtol": 1e-9})
    found = total_variation_proximal(x, weight, 2, iterations=20000, change=1e-14)
    ours = 0.5 * (found - x).abs().square().sum() + TotalVariation(weight, 2).value(found)
    assert float(ours) <= best.fun + 1e-9
    assert abs(float(ours) - best.fun) < 1e-4


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 3, 5)], ids=str)
def test_total_variation_in_pieces_and_continued_is_the_same(shape, monkeypatch):
    """Rows that are worked on one after the other see the rows beside them as they were."""
    axes, x = len(shape), random_complex(3, *shape)
    weights = torch.tensor([0.1, 0.4, 0.0], dtype=torch.float64)
    whole = total_variation_proximal(x, weights, axes, iterations=6, change=0)
    for chunk in (1, math.prod(shape) // shape[0] * 2, 2 * math.prod(shape)):
        monkeypatch.setattr(inner, "_CHUNK_ON_CPU", chunk)
        pieces = total_variation_proximal(x, weights, axes, iterations=6, change=0)
        torch.testing.assert_close(pieces, whole)
    exact = total_variation_proximal(x, weights, axes, iterations=3000, change=1e-13)
    kept = {}
    penalty = TotalVariation(weights, axes, iterations=3)
    for _ in range(700):
        found = penalty.proximal(x.clone(), torch.ones(3, dtype=torch.float64), kept)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)


def test_each_problem_has_its_own_threshold():
    x = random_complex(3, 4, 5)
    weights = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    together = total_variation_proximal(x, weights, 2, iterations=50, change=0)
    torch.testing.assert_close(together[0], x[0])
    for index in (1, 2):
        alone = total_variation_proximal(x[index], weights[index], 2, iterations=50, change=0)
        torch.testing.assert_close(together[index], alone)
    ones = torch.ones(3, dtype=torch.float64)
    by_penalty = L1(weights, 2).proximal(x.clone(), 2 * ones, {})
    torch.testing.assert_close(by_penalty, soft_threshold(x, 2 * weights[:, None, None]))


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (L1(0.5, 2), lambda x: 0.5 * x.abs().sum((1, 2))),
        (GroupSparsity(0.5, 2), lambda x: 0.5 * x.abs().square().sum(1).sqrt().sum(1)),
    ],
)
def test_proximal_of_a_penalty_minimises_its_definition(penalty, value):
    x = random_complex(3, 4, 5)
    torch.testing.assert_close(penalty.value(x), value(x))
    step = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    def cost(z):
        return step * value(z) + 0.5 * (z - x).abs().square().sum((1, 2))

    found = penalty.proximal(x.clone(), step, {})
    for seed in range(20):
        nearby = found + 1e-3 * random_complex(*x.shape, seed=seed)
        assert (cost(nearby) >= cost(found)).all()


def test_refuses_nonsense():
    with pytest.raises(ConfigError, match=r"L1: found weight -0\.5"):
        L1(-0.5, 2)
    with pytest.raises(ConfigError, match="2 or more"):
        GroupSparsity(0.5, 1)


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    x = random_complex(2, 4, 5, 3)
    for here, there in (
        (soft_threshold(x, 0.5), soft_threshold(x.cuda(), 0.5)),
        (group_soft_threshold_(x.clone(), 0.5, 1), group_soft_threshold_(x.cuda(), 0.5, 1)),
        (total_variation_proximal(x, 0.5, 3), total_variation_proximal(x.cuda(), 0.5, 3)),
        (differences(x, 3, (-1, -3)), differences(x.cuda(), 3, (-1, -3))),
    ):
        torch.testing.assert_close(there.cpu(), here)
