import numpy as np
import pytest
import torch
from exact import exact_forward

from pipeline.engine import canary
from pipeline.errors import CanaryError
from pipeline.operators.nufft import NUFFT

SHAPE = (9, 6, 7)


def trajectory(*leading, samples=200):
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(*leading, 3, samples, generator=generator) * 2 - 1) * torch.pi


def build(points):
    return NUFFT(SHAPE, points, tolerance=1e-4)


class Wrong(NUFFT):
    """Forgets a conjugate, as a defect might."""

    def _adjoint(self, y):
        return super()._adjoint(y.conj())


class Drifting(NUFFT):
    """Is off by a percent, and its adjoint with it."""

    def _forward(self, x):
        return 1.01 * super()._forward(x)

    def _adjoint(self, y):
        return 1.01 * super()._adjoint(y)


@pytest.mark.parametrize("leading", [(), (4,)], ids=["shared", "own trajectories"])
def test_a_sound_operator_passes(leading):
    found = canary.check_operator(build, trajectory(*leading), 1e-4, "brain block 0000")
    assert found.adjoint_error < 1e-6
    assert 0 < found.forward_error < 1e-4
    assert found.backend == build(trajectory()).backend


@pytest.mark.parametrize(("kind", "check"), [(Wrong, "adjoint"), (Drifting, "forward")])
def test_wrong_arithmetic_is_found(kind, check):
    with pytest.raises(CanaryError, match=f"brain block 0000: the {check} check"):
        canary.check_operator(
            lambda points: kind(SHAPE, points, tolerance=1e-4),
            trajectory(),
            1e-4,
            "brain block 0000",
        )


def test_exact_samples_are_the_plain_sum():
    image = torch.randn(SHAPE, dtype=torch.complex128)
    points = trajectory(samples=5).double()
    expected = exact_forward(image.numpy(), points.numpy())
    np.testing.assert_allclose(canary.exact_samples(image, points).numpy(), expected)


def test_few_voxels_are_enough_where_exact_sums_take_long():
    seen = []

    def exact(image):
        seen.append(int(image.count_nonzero()))
        values = canary.exact_samples(image, trajectory()[:, :8])
        return torch.arange(8), values

    told = {"backend": "finufft", "tolerance": 1e-4, "who": "scan"}
    found = canary.check_exact(build(trajectory()), exact, voxels=50, **told)
    assert found.forward_error < 1e-4
    assert 20 < seen[0] < 100 < np.prod(SHAPE)
    with pytest.raises(CanaryError, match="forward check"):
        canary.check_exact(Drifting(SHAPE, trajectory(), tolerance=1e-4), exact, voxels=50, **told)
