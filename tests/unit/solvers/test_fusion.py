"""Images of pairs whose phases are unknown, against the truth."""

import torch
from dense_problems import dense_problem

from pipeline.solvers.cg import conjugate_gradient
from pipeline.solvers.fusion import non_coherent, phase_aligned
from pipeline.solvers.normal import NormalEquations


def pairs_of_one_scene(phases, noise=0.0):
    """Return the normal equations of each pair, whose data are turned by its phase."""
    parts = dense_problem(25, (4, 6), problems=(len(phases),), noise=noise)
    scene = parts.truth[0].flatten()
    data = torch.polar(torch.ones_like(phases), phases)[:, None] * (parts.matrix @ scene)
    b = (parts.matrix.mH @ data[..., None]).reshape(parts.truth.shape)
    energy = data.abs().square().sum(-1).double()
    return NormalEquations(b, parts.normal.gram, energy), scene.reshape(4, 6)


def least_squares(normal):
    return conjugate_gradient(normal, iterations=60, residual=1e-12, image_axes=2)


def test_phases_and_image_are_found_together():
    phases = torch.tensor([0.0, 0.6, -0.9, 1.1], dtype=torch.float64)
    normal, scene = pairs_of_one_scene(phases)
    found = phase_aligned(normal, least_squares, image_axes=2, rounds=200, change=1e-9)
    torch.testing.assert_close(found.phases, phases, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.solution.image, scene, atol=1e-5, rtol=0)
    coherent = phase_aligned(normal, least_squares, image_axes=2, rounds=1).solution.image
    assert torch.linalg.vector_norm(coherent - scene) > 0.3 * torch.linalg.vector_norm(scene)
    assert found.evaluations > found.rounds


def test_non_coherent_images_are_roots_of_sums_of_squares():
    images = torch.tensor([[3.0, 0.0], [4j, 1.0]], dtype=torch.complex128)[None, :, None]
    expected = torch.tensor([[[5.0, 1.0]]], dtype=torch.complex128)
    torch.testing.assert_close(non_coherent(images, 2), expected)
