"""Penalties on images of a series ``(image, *shape)``, against SVDs and lines one by one."""

import pytest
import torch
from adjointness import random_complex

from pipeline.errors import ConfigError
from pipeline.solvers.penalties.l1 import L1
from pipeline.solvers.penalties.llr import LocalLowRank
from pipeline.solvers.penalties.tv import TotalVariation
from pipeline.solvers.penalties.wavelet import WaveletSparsity
from pipeline.solvers.proximal import total_variation_proximal
from pipeline.solvers.several import Several

SHAPE = (4, 11, 9)  # images, rows, columns: blocks of 8 x 8 reach beyond the border
WEIGHTS = (0.5, 0.7)
STEP = torch.tensor([1.0, 2.0], dtype=torch.float64)


def problems(seed=1):
    return random_complex(len(WEIGHTS), *SHAPE, seed=seed)


def blocks_of(x):
    """Yield the blocks of one problem, ``(voxel, image)``; what lies beyond the border is zero."""
    for rows in (slice(0, 8), slice(8, 16)):
        for columns in (slice(0, 8), slice(8, 16)):
            yield (rows, columns), x[:, rows, columns].flatten(1).T


def test_locally_low_rank_shortens_the_singular_values_of_each_block():
    penalty = LocalLowRank(torch.tensor(WEIGHTS), 3)
    x = problems()
    found, value = penalty.shrink_(x.clone(), STEP), penalty.value(x)
    for one, left, weight, step, total in zip(x, found, WEIGHTS, STEP, value, strict=True):
        norms = 0.0
        for (rows, columns), block in blocks_of(one):
            u, sizes, v = torch.linalg.svd(block, full_matrices=False)
            norms += sizes.sum()
            expected = (u * torch.relu(sizes - weight * step)) @ v
            part = left[:, rows, columns].flatten(1).T
            torch.testing.assert_close(part, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(total, weight * norms)


def test_blocks_move_from_call_to_call_and_alike_in_every_solve():
    penalty = LocalLowRank(0.5, 3)
    x, kept, again = problems(), {}, {}
    first, second = (penalty.proximal(x.clone(), STEP, kept) for _ in range(2))
    torch.testing.assert_close(first, penalty.shrink_(x.clone(), STEP))
    assert not torch.allclose(first, second)
    penalty.proximal(x.clone(), STEP, again)
    assert torch.equal(penalty.proximal(x.clone(), STEP, again), second)


@pytest.mark.parametrize("axes", [(-3,), (-2, -1), (-3, -2, -1)], ids=["series", "space", "both"])
def test_total_variation_along_some_axes_denoises_each_line_or_plane(axes):
    x = problems()
    penalty = TotalVariation(0.3, 3, axes, iterations=200)
    found = penalty.proximal(x.clone(), STEP, {})
    options = {"iterations": 200, "change": 0.0}
    if axes == (-3,):
        part = total_variation_proximal(x[1, :, 3, 4].clone(), 0.6, 1, **options)
        torch.testing.assert_close(found[1, :, 3, 4], part)
    elif axes == (-2, -1):
        part = total_variation_proximal(x[1, 2].clone(), 0.6, 2, **options)
        torch.testing.assert_close(found[1, 2], part)
    differences = [torch.diff(x, dim=axis, append=x.narrow(axis, -1, 1)) for axis in axes]
    length = torch.stack(differences).abs().square().sum(0).sqrt()
    torch.testing.assert_close(penalty.value(x), 0.3 * length.sum((1, 2, 3)))


def test_wavelets_of_a_series_are_those_of_its_images():
    x = random_complex(1, 3, 16, 24, seed=2)
    together = WaveletSparsity(0.2, 3, (-2, -1))
    apart = WaveletSparsity(0.2, 2)
    torch.testing.assert_close(together.transform(x), apart.transform(x[0])[None])
    torch.testing.assert_close(together.value(x), apart.value(x[0]).sum()[None])
    shrunk = together.shrink_(together.transform(x), STEP[:1])
    torch.testing.assert_close(shrunk[0], apart.shrink_(apart.transform(x[0]), STEP[:1].expand(3)))


def test_several_penalties_are_the_sum_of_each():
    parts = [
        L1(0.1, 3),
        TotalVariation(0.2, 3, (-3,)),
        TotalVariation(0.3, 3, (-2, -1)),
        LocalLowRank(0.4, 3),
    ]
    penalty, x = Several(parts), problems()
    u = penalty.transform(x)
    assert u.shape == (2, 5, *SHAPE)
    w = random_complex(*u.shape, seed=3)
    adjoint = penalty.transform_adjoint(w)
    torch.testing.assert_close(
        torch.vdot(w.flatten(), u.flatten()), torch.vdot(adjoint.flatten(), x.flatten())
    )
    torch.testing.assert_close(penalty.transform_normal(x), penalty.transform_adjoint(u))
    torch.testing.assert_close(penalty.value(x), sum(part.value(x) for part in parts))
    shrunk = penalty.shrink_(w.clone(), STEP)
    torch.testing.assert_close(shrunk[:, 0], parts[0].shrink_(w[:, 0].clone(), STEP))
    torch.testing.assert_close(shrunk[:, 2:4], parts[2].shrink_(w[:, 2:4].clone(), STEP))
    torch.testing.assert_close(shrunk[:, 4], parts[3].shrink_(w[:, 4].clone(), STEP))


def test_a_low_rank_needs_a_series():
    with pytest.raises(ConfigError, match="LocalLowRank: found image_axes 1"):
        LocalLowRank(0.1, 1)
