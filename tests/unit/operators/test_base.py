"""What operators compose to, against dense matrices."""

import pytest
import torch
from adjointness import assert_adjoint, random_complex

from pipeline.errors import KronufftError, ShapeError
from pipeline.operators.base import Diagonal, LinearOperator


class Dense(LinearOperator):
    """A matrix, as the simplest operator."""

    def __init__(self, matrix):
        super().__init__(matrix.shape[1:], matrix.shape[:1], dtype=matrix.dtype)
        self.matrix = matrix

    def _forward(self, x):
        return x @ self.matrix.T

    def _adjoint(self, y):
        return y @ self.matrix.conj()


A = random_complex(4, 3, seed=1)
B = random_complex(3, 5, seed=2)
C = random_complex(4, 3, seed=3)


@pytest.mark.parametrize(
    ("operator", "matrix"),
    [
        (Dense(A), A),
        (Dense(A).H, A.mH),
        (Dense(A).H.H, A),
        (Dense(A) @ Dense(B), A @ B),
        ((Dense(A) @ Dense(B)).H, (A @ B).mH),
        (Dense(A) + Dense(C), A + C),
        (
            Dense(A).H @ Dense(C) + Diagonal(torch.ones(3) + 0j),
            A.mH @ C + torch.eye(3),
        ),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("batch", [(), (2, 7)], ids=["single", "batch"])
def test_algebra_matches_dense(operator, matrix, batch):
    x = random_complex(*batch, *operator.domain, seed=9)
    torch.testing.assert_close(operator(x), x @ matrix.T)
    assert_adjoint(operator, batch=batch)


def test_composition_treats_missing_axes_as_a_batch():
    inner, outer = Diagonal(random_complex(4, 3, seed=4)), Diagonal(random_complex(2, 4, 3, seed=5))
    for operator in (outer @ inner, inner @ outer):
        assert operator.domain == operator.codomain == (2, 4, 3)
        x = random_complex(2, 4, 3)
        torch.testing.assert_close(operator(x), x * inner.values * outer.values)
        assert_adjoint(operator, batch=(2,))


def test_diagonal_broadcasts():
    weights = torch.rand(3, 1, 5, dtype=torch.float64)
    operator = Diagonal(weights, (3, 4, 5))
    x = random_complex(3, 4, 5)
    torch.testing.assert_close(operator(x), x * weights)
    assert_adjoint(operator, batch=(2,))
    with pytest.raises(ShapeError, match=r"\(3, 1, 5\).*\(3, 4, 6\)"):
        Diagonal(weights, (3, 4, 6))


# torch scripts its own decompositions when forward mode is first used, and warns of itself.
def test_gradients_of_every_order():
    operator = Dense(A) @ Dense(B)
    x = random_complex(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(operator, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(operator, x)
    loss = (operator(x).abs() ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(gradient, 2 * operator.adjoint(operator(x)))


def test_checkpointing():
    from torch.utils.checkpoint import checkpoint

    x = random_complex(5).requires_grad_()
    y = checkpoint(Dense(B), x, use_reentrant=False)
    y.abs().square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * B.mH @ (B @ x.detach()))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Dense(A)(torch.zeros(4, dtype=torch.complex128)),
        lambda: Dense(A).adjoint(torch.zeros(3, dtype=torch.complex128)),
        lambda: Dense(A)(torch.zeros((), dtype=torch.complex128)),
        lambda: Dense(A)(torch.zeros(3, dtype=torch.complex64)),
        lambda: Dense(A)(torch.zeros(3, dtype=torch.float64)),
        lambda: Dense(A) @ Dense(A),
        lambda: Dense(A) + Dense(B),
    ],
    ids=range(7),
)
def test_refuses_what_does_not_fit(wrong):
    with pytest.raises(ShapeError, match=r"\(|complex128"):
        wrong()


def test_shape_errors_are_value_errors_of_ours():
    assert issubclass(ShapeError, ValueError)
    assert issubclass(ShapeError, KronufftError)


@pytest.mark.gpu
def test_device_agrees_and_is_checked():
    here, there = Diagonal(A), Diagonal(A.cuda())
    x = random_complex(4, 3)
    torch.testing.assert_close(there(x.cuda()).cpu(), here(x))
    with pytest.raises(ShapeError, match=r"cpu.*cuda"):
        there(x)
