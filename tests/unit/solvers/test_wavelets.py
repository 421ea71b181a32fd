"""The orthonormal wavelet transform and the penalty on its details."""

import math

import numpy as np
import pytest
import torch
from adjointness import random_complex

from pipeline.solvers.penalties.wavelet import WaveletSparsity
from pipeline.solvers.wavelets import coarse_boxes, wavelets, wavelets_adjoint


@pytest.mark.parametrize("shape", [(24, 16), (9, 32), (8, 12, 10)], ids=str)
def test_the_inverse_is_the_adjoint(shape):
    axes = len(shape)
    x, u = random_complex(3, *shape), random_complex(3, *shape, seed=1)
    torch.testing.assert_close(wavelets_adjoint(wavelets(x, axes), axes), x)
    left = torch.vdot(wavelets(x, axes).flatten(), u.flatten())
    right = torch.vdot(x.flatten(), wavelets_adjoint(u, axes).flatten())
    torch.testing.assert_close(left, right)


def test_all_levels_are_those_of_pywavelets():
    """PyWavelets begins each level a voxel later, and so do its coefficients."""
    pywt = pytest.importorskip("pywt")
    x = random_complex(16, 24)
    levels = len(coarse_boxes(x.shape)) - 1
    bands = pywt.wavedecn(x.roll((1, 1), (0, 1)).numpy(), "db2", "periodization", levels)
    back = [np.roll(bands[0], -1, (0, 1))]
    back += [{name: np.roll(each, -1, (0, 1)) for name, each in of.items()} for of in bands[1:]]
    known, _ = pywt.coeffs_to_array(back)
    np.testing.assert_allclose(wavelets(x, 2).numpy(), known, atol=1e-12)


def test_ramps_have_no_details_inside():
    """Two vanishing moments: only where the ramp jumps, at the edge, are there details."""
    ramp = torch.arange(32).to(torch.complex128).expand(2, 32).clone()
    details = wavelets(ramp, 2)[:, 16:]
    assert details[:, :-1].abs().max() < 1e-12
    assert details[:, -1].abs().min() > 1


def test_a_constant_is_all_coarse():
    shape = (16, 32)
    found = wavelets(torch.full(shape, 2j, dtype=torch.complex128), 2)
    box = coarse_boxes(shape)[-1]
    expected = 2 * math.sqrt(math.prod(shape) / math.prod(box))
    torch.testing.assert_close(
        found[: box[0], : box[1]].abs(), torch.full(box, expected, dtype=torch.float64)
    )
    assert torch.linalg.vector_norm(found) == pytest.approx(2 * math.sqrt(math.prod(shape)))
    penalty = WaveletSparsity(3.0, 2)
    assert float(penalty.value(torch.ones(shape, dtype=torch.complex128))) < 1e-10


def test_the_proximal_point_is_the_minimum():
    """No random step from the proximal point lowers its objective, which is convex."""
    x, step = random_complex(2, 16, 12), torch.tensor([0.3, 0.7], dtype=torch.float64)
    penalty = WaveletSparsity(0.5, 2)

    def objective(z):
        return step * penalty.value(z) + 0.5 * (z - x).abs().square().sum((1, 2))

    best = penalty.proximal(x.clone(), step, {})
    for seed in range(20):
        moved = best + 10.0 ** -(1 + seed % 4) * random_complex(2, 16, 12, seed=seed)
        assert (objective(moved) >= objective(best)).all()


@pytest.mark.slow
def test_every_shift_has_its_turn():
    """The mean of what many steps take away is the same wherever an image stands."""
    x, step = torch.zeros(1, 16, dtype=torch.complex128), torch.ones((), dtype=torch.float64)
    x[0, 3:9] = 1 + 1j
    penalty = WaveletSparsity(0.2, 1)

    def mean(image, calls):
        kept = {}
        return sum(penalty.proximal(image.clone(), step, kept) for _ in range(calls)) / calls

    moved = mean(x.roll(1, -1), 4000).roll(-1, -1)
    apart = torch.linalg.vector_norm(mean(x, 4000) - moved)
    unshifted = penalty.proximal(x.roll(1, -1).clone(), step, {}).roll(-1, -1)
    assert apart < 0.1 * torch.linalg.vector_norm(mean(x, 1) - unshifted)
