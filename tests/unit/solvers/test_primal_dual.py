"""The primal-dual method and total generalised variation, against other solvers and by sight."""

import math

import numpy as np
import pytest
import torch
from adjointness import random_complex
from allocations import Allocations
from dense_problems import dense_problem
from scipy.optimize import minimize

from pipeline.algorithms.registry import parse_algorithm
from pipeline.errors import ConfigError
from pipeline.operators import inner
from pipeline.solvers.admm import admm
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.penalties import penalty_class
from pipeline.solvers.penalties.l1 import L1
from pipeline.solvers.penalties.tgv import TotalGeneralizedVariation
from pipeline.solvers.penalties.tv import TotalVariation
from pipeline.solvers.primal_dual import primal_dual
from pipeline.solvers.several import Several


def penalties(weight=0.1):
    """Return penalties of volumes, also of their planes and lines."""
    return [
        L1(weight, 3),
        TotalVariation(weight, 3),
        TotalGeneralizedVariation(weight, 3),
        Several(
            [
                L1(0.5 * weight, 3),
                TotalGeneralizedVariation(weight, 3, (-3,)),
                TotalGeneralizedVariation(weight, 3, (-2, -1)),
            ]
        ),
    ]


def named(penalty):
    return type(penalty).__name__


@pytest.mark.parametrize("penalty", penalties(), ids=named)
def test_finds_the_minimum_that_admm_finds(penalty):
    problem = dense_problem(40, (2, 3, 5), noise=0.05)
    normal = problem.normal
    if penalty.unknowns > 1:
        normal = normal.with_unknowns(penalty.unknowns, 3)
    ours = primal_dual(normal, penalty, iterations=800, change=1e-7)
    theirs = admm(normal, penalty, iterations=100, absolute=1e-6, relative=1e-5)
    of_ours, of_theirs = (
        float(normal.cost(each.image) + penalty.value(each.image)) for each in (ours, theirs)
    )
    assert of_ours == pytest.approx(of_theirs, rel=2e-4)
    difference = torch.linalg.vector_norm((ours.image - theirs.image)[: problem.truth.shape[0]])
    assert difference <= 0.01 * torch.linalg.vector_norm(theirs.image)


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 5, 6)], ids=str)
def test_the_transform_of_tgv_has_its_adjoint_and_bound(shape):
    penalty = TotalGeneralizedVariation(1.0, len(shape))
    unit = torch.eye((1 + len(shape)) * math.prod(shape), dtype=torch.complex128)
    matrix = penalty.transform(unit.reshape(-1, 1 + len(shape), *shape)).flatten(1).T
    bound = float(torch.linalg.matrix_norm(matrix, 2) ** 2)
    assert 0.85 * penalty.normal_bound < bound <= penalty.normal_bound
    u = random_complex(2, penalty.components, *shape)
    expected = u.flatten(1) @ matrix.conj()
    torch.testing.assert_close(penalty.transform_adjoint(u).flatten(1), expected)


def slope(shape, steps):
    """Return an image that rises evenly along each axis, and its differences."""
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    x = torch.zeros(1 + len(shape), *shape, dtype=torch.complex128)
    x[0] = torch.from_numpy(sum(step * along for step, along in zip(steps, grid, strict=True)))
    for axis, step in enumerate(steps):
        x[1 + axis].narrow(axis, 0, shape[axis] - 1).fill_(step)
    return x


def test_what_rises_evenly_costs_nothing():
    x = slope((4, 5, 6), (1 + 2j, -0.5, 3j))
    assert float(TotalGeneralizedVariation(1.0, 3).value(x)) < 1e-12
    x[0, 2, 2, 2] += 1
    assert float(TotalGeneralizedVariation(1.0, 3).value(x)) > 1


def test_lines_against_a_quadratic_program():
    """Real lines: absolute values are bounds, which a general solver minimises with the image."""
    random, size, weight = np.random.default_rng(3), 9, 0.4
    b = np.r_[np.arange(5.0), 1 - 0.5 * np.arange(4)] + 0.3 * random.normal(size=size)
    first, second = np.diff(np.eye(size), axis=0), np.diff(np.eye(size - 1), axis=0)
    ends = np.cumsum([size, size - 1, size - 1, size - 2])

    def bounded(z):
        x, v, p, q = np.split(z, ends[:-1])
        terms = ((first @ x - v, p), (second @ v, q))
        return np.concatenate([sign * of + bound for of, bound in terms for sign in (1, -1)])

    def objective(z):
        x, _, p, q = np.split(z, ends[:-1])
        return 0.5 * np.sum((x - b) ** 2) + weight * (p.sum() + 2 * q.sum())

    begin = np.concatenate([b, first @ b, np.ones(size - 1), np.full(size - 2, 9.0)])
    known = minimize(
        objective, begin, constraints={"type": "ineq", "fun": bounded}, method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )  # fmt: skip
    phase = np.exp(0.7j)
    penalty = TotalGeneralizedVariation(weight, 1)
    normal = NormalEquations(torch.from_numpy(b * phase), lambda x: x, float(b @ b))
    lifted = normal.with_unknowns(2, 1)
    found = primal_dual(lifted, penalty, iterations=4000, change=1e-9, lipschitz=1.0)
    value = float(lifted.cost(found.image) + penalty.value(found.image))
    assert value == pytest.approx(known.fun, rel=1e-5)
    image = (found.image[0] / phase).numpy()
    np.testing.assert_allclose(image, known.x[:size], atol=2e-3)


def test_slopes_do_not_become_stairs():
    """A noisy roof at the best weight of each: the error, and the part of its slopes that is level.

    Between neighbours it rises by 0.07.
    """
    rows, columns = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 30), indexing="ij")
    truth = torch.from_numpy(1 - abs(rows) + 0.3j * columns)
    noise = random_complex(*truth.shape, seed=3)
    data = truth + 0.15 * noise / noise.abs().square().mean().sqrt()
    normal = NormalEquations(data, lambda x: x)

    def best(kind):
        results = []
        for weight in (0.08, 0.12, 0.2):
            penalty = kind(weight, 2)
            many = penalty.unknowns > 1
            solved = normal.with_unknowns(penalty.unknowns, 2) if many else normal
            image = primal_dual(solved, penalty, iterations=150, lipschitz=1.0).image
            image = image[0] if many else image
            error = torch.linalg.vector_norm(image - truth) / torch.linalg.vector_norm(truth)
            level = (image.diff(dim=0).abs() < 0.02).double().mean()
            results.append((float(error), float(level)))
        return min(results)

    (of_tv, stairs), (of_tgv, left) = best(TotalVariation), best(TotalGeneralizedVariation)
    assert of_tgv <= 0.6 * of_tv
    assert stairs > 0.1
    assert left < 0.04


def test_problems_rest_and_settings_are_refused():
    problem = dense_problem(30, (5, 8), problems=(2,), nonzero=4, noise=0.01)
    together = primal_dual(problem.normal, L1(torch.tensor([0.02, 100.0]), 2), iterations=300)
    assert together.iterations[0] > together.iterations[1]
    assert together.image[1].abs().max() < 1e-3
    matrix = problem.matrix[0]
    alone = primal_dual(
        NormalEquations(
            problem.normal.b[0], lambda x: (matrix.mH @ (matrix @ x.flatten())).reshape(x.shape)
        ),
        L1(0.02, 2),
        iterations=300,
    )
    torch.testing.assert_close(together.image[0], alone.image)
    nothing = NormalEquations(torch.zeros(3, 4, dtype=torch.complex64), torch.zeros_like)
    assert (primal_dual(nothing, TotalVariation(0.1, 2), iterations=5).image == 0).all()
    with pytest.raises(ConfigError, match="primal-dual: found iterations 3, change -1"):
        primal_dual(problem.normal, L1(0.1, 2), iterations=3, change=-1)


@pytest.mark.parametrize("algorithm", ["primal-dual", "admm"])
@pytest.mark.parametrize(
    "names", [("l1",), ("tv",), ("wavelet",), ("tgv",), ("l1", "tgv"), ("tgv", "tv")], ids=str
)
def test_memory_is_as_predicted(names, algorithm, monkeypatch):
    for chunk in ("_CHUNK_ON_CPU", "_CHUNK_ON_DEVICE"):
        monkeypatch.setattr(inner, chunk, 2**12)  # as small beside the images as it usually is
    terms = [{"penalty": name, "sparsity": 0.1} for name in names]
    chosen = terms[0] if len(terms) == 1 else {"penalties": terms}
    settings = parse_algorithm({"algorithm": algorithm, **chosen})
    b = random_complex(2, 16, 24, 32, dtype=torch.complex64)
    diagonal = torch.linspace(0.1, 1, b.shape[-1])
    parts = [penalty_class(name)(0.1, 3) for name in names]
    penalty = parts[0] if len(parts) == 1 else Several(parts)
    normal = NormalEquations(b, lambda x: diagonal * x)
    predicted = settings.vectors(b.shape, itemsize=8, kernels=1)
    solve, more = {
        "primal-dual": (primal_dual, {"bound_evaluations": 2}),
        "admm": (admm, {"inner_iterations": 2}),
    }[algorithm]
    with Allocations() as measured:
        if penalty.unknowns > 1:
            normal = normal.with_unknowns(penalty.unknowns, 3)
        solve(normal, penalty, iterations=2, **more)
    assert 0.87 * predicted < measured.peak <= 1.01 * predicted


@pytest.mark.gpu
@pytest.mark.parametrize("penalty", penalties(), ids=named)
def test_device_agrees_with_the_cpu(penalty):
    problem = dense_problem(40, (2, 3, 5), noise=0.05)
    found = []
    for each in (problem, problem.to("cuda")):
        normal = each.normal
        if penalty.unknowns > 1:
            normal = normal.with_unknowns(penalty.unknowns, 3)
        found.append(primal_dual(normal, penalty, iterations=30, change=0).image)
    assert found[1].is_cuda
    torch.testing.assert_close(found[1].cpu(), found[0])
