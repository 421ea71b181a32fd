"""Solves mean the same whatever the sizes of operator and data, or are refused."""

import dataclasses
import math

import pytest
import torch
from dense_problems import dense_problem

from pipeline.algorithms.base import Problem
from pipeline.algorithms.registry import parse_algorithm
from pipeline.engine.solving import solve_near_one
from pipeline.errors import DataError
from pipeline.operators.toeplitz import Toeplitz, toeplitz_spectrum
from pipeline.solvers.checkpoints import NO_CHECKPOINT
from pipeline.solvers.noise import Noise
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.spectrum import Spectrum

SOLVES = {
    "least squares": {"algorithm": "tikhonov", "iterations": 12, "regularization": 0.1},
    "wiener": {"algorithm": "tikhonov", "iterations": 12, "regularization": "wiener"},
    "spectrum": {"algorithm": "cg-sense", "iterations": 12, "regularization": "wiener"},
    "discrepancy": {"algorithm": "tikhonov", "iterations": 20, "regularization": "discrepancy"},
    "fista, debiased": {
        "algorithm": "fista",
        "iterations": 25,
        "sparsity": "noise",
        "debias": True,
    },
    "fista, total variation": {"algorithm": "fista", "penalty": "tv", "iterations": 25},
    "fista, wavelets": {"algorithm": "fista", "penalty": "wavelet", "iterations": 25},
    "admm": {"algorithm": "admm", "iterations": 20, "inner_iterations": 4},
    "admm, total variation": {"algorithm": "admm", "iterations": 15, "penalty": "tv"},
    "primal-dual": {"algorithm": "primal-dual", "penalty": "tgv", "iterations": 25},
    "points": {"algorithm": "omp", "points": 7},
    "points by noise": {"algorithm": "omp", "points": 12, "residual": "noise"},
}


def outcome(settings, operator=1.0, image=1.0):
    """Solve with ``operator A`` and data of ``image`` times the same image."""
    dense = dense_problem(60, (8, 12), problems=(2,), nonzero=6, noise=0.05)
    dense = dataclasses.replace(
        dense.to(torch.complex64),
        matrix=(operator * dense.matrix).to(torch.complex64),
        data=(operator * image * dense.data).to(torch.complex64),
    )
    normal = dataclasses.replace(
        dense.normal, energy=dense.data.to(torch.complex128).abs().square().sum(-1)
    )
    level = torch.full((2,), 0.05 * operator * image, dtype=torch.float64)
    gain = torch.full((8, 12), operator**2)
    problem = Problem(
        normal,
        torch.full((2,), operator**2, dtype=torch.float64),
        2,
        Noise(level * operator, level * math.sqrt(60)),
        lambda: None,
        "test",
        spectrum=lambda: Spectrum(gain, 0.1 * gain),
        start=torch.full((2, 8, 12), 0.1 * image, dtype=torch.complex64),
    )
    return solve_near_one(parse_algorithm(settings), problem, lambda *_: None, NO_CHECKPOINT)


@pytest.mark.parametrize("settings", SOLVES.values(), ids=SOLVES)
def test_images_scale_with_operator_and_data(settings):
    expected = outcome(settings)
    for operator, image in ((6e-15, 1.0), (1e12, 1e-12), (1.0, 1e-28)):
        found = outcome(settings, operator, image)
        wanted = expected.solution.image.to(torch.complex128)
        error = torch.linalg.vector_norm(found.solution.image.to(torch.complex128) / image - wanted)
        assert error < 1e-3 * torch.linalg.vector_norm(wanted)
        assert torch.equal(found.solution.iterations, expected.solution.iterations)
        energy = (operator * image) ** 2
        torch.testing.assert_close(
            found.squared_misfit / energy, expected.squared_misfit, rtol=1e-3, atol=1e-5
        )
        torch.testing.assert_close(found.objective / energy, expected.objective, rtol=1e-3, atol=0)
        if expected.weight is not None:
            unit = operator**2 * (image if expected.weighs_lengths else 1.0)
            torch.testing.assert_close(found.weight / unit, expected.weight, rtol=1e-3, atol=0)
        for name, value in expected.of_operator.items():
            torch.testing.assert_close(
                found.of_operator[name] / operator**2, value, rtol=1e-3, atol=0
            )
        for name, value in expected.of_image.items():
            torch.testing.assert_close(found.of_image[name] / image, value, rtol=1e-3, atol=0)


@pytest.mark.parametrize("preconditioner", ["circulant", "kronecker"])
@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "tikhonov", "iterations": 5, "regularization": 0.01},
        {"algorithm": "admm", "iterations": 5, "penalty": "l1", "sparsity": 0.05},
    ],
    ids=lambda settings: settings["algorithm"],
)
def test_preconditioners_scale_with_the_operator(settings, preconditioner):
    shape = (7, 10)
    places = torch.rand(2, 300, generator=torch.Generator().manual_seed(3)) * 6 - 3
    truth = dense_problem(4, shape, nonzero=9).truth.to(torch.complex64)
    images = []
    for weight in (1.0, 4e-29, 1e24):
        gram = Toeplitz(toeplitz_spectrum(shape, places, torch.full((300,), weight)), shape)
        problem = Problem(
            NormalEquations(gram(truth)[None], gram, torch.tensor([300.0 * weight])),
            torch.tensor([300 * weight], dtype=torch.float64),
            2,
            None,
            lambda: None,
            "test",
        )
        chosen = parse_algorithm({**settings, "preconditioner": preconditioner})
        solved = solve_near_one(chosen, problem, lambda *_: None, NO_CHECKPOINT)
        images.append(solved.solution.image)
    for image in images[1:]:
        assert torch.linalg.vector_norm(image - images[0]) < 1e-3 * torch.linalg.vector_norm(truth)


def test_an_exact_solver_scales_with_the_operator():
    dense = dense_problem(60, (8, 12), nonzero=6)
    images = []
    for gain in (1.0, 4e-29, 1e24):
        gram = gain * (dense.matrix.mH @ dense.matrix)

        def solver(right, rho, gram=gram):
            shifted = gram + rho * torch.eye(96)
            return torch.linalg.solve(shifted, right.reshape(96, 1)).reshape(right.shape)

        problem = Problem(
            NormalEquations(
                gain * dense.normal.b[None], lambda x, gain=gain: gain * dense.normal.gram(x)
            ),
            torch.tensor([gain], dtype=torch.float64),
            2,
            None,
            lambda solver=solver: solver,
            "test",
        )
        chosen = parse_algorithm({"algorithm": "admm", "penalty": "l1", "iterations": 20})
        solved = solve_near_one(chosen, problem, lambda *_: None, NO_CHECKPOINT)
        images.append(solved.solution.image)
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], rtol=1e-6, atol=1e-9)


def test_what_single_precision_does_not_hold_is_refused():
    with pytest.raises(DataError, match=r"test: A\^H W y reaches .* scale the measurement"):
        outcome(SOLVES["least squares"], 6e-15, 1e-12)
