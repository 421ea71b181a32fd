"""Kronecker products against dense ones, their order against brute force, memory as stated."""

import itertools
import math

import pytest
import torch
from adjointness import assert_adjoint, random_complex
from hypothesis import given, settings
from hypothesis import strategies as st
from profiling import peak_bytes

from pipeline.errors import ShapeError
from pipeline.operators.base import Diagonal
from pipeline.operators.contraction import (
    contraction_flops,
    contraction_order,
)
from pipeline.operators.kronecker import Kronecker

# Rows, columns; in each order of contraction, and with axes of one element.
SIZES = [
    ((5,), (7,)),
    ((9,), (4,)),
    ((3, 5), (8, 7)),
    ((5, 3), (7, 8)),
    ((6, 5), (4, 9)),
    ((2, 1), (6, 5)),
    *[(rows, (6, 7, 8)) for rows in itertools.permutations((2, 3, 4))],
    *[(rows, (6, 7, 5)) for rows in itertools.permutations((1, 3, 9))],
    ((2, 6, 3, 4), (5, 3, 4, 6)),
    ((1, 2, 1, 3), (4, 1, 3, 5)),
]
BLOCKS = [(), (3,), (2, 3)]
DTYPES = [torch.complex64, torch.complex128]
ALLOWED = {torch.complex64: 1e-5, torch.complex128: 1e-12}


def random_factors(outputs, inputs, blocks=(), dtype=torch.complex128):
    sizes = zip(outputs, inputs, strict=True)
    return [random_complex(*blocks, m, n, dtype=dtype, seed=i) for i, (m, n) in enumerate(sizes)]


def dense_matrix(factors):
    """Return all blocks' Kronecker products below each other."""
    flat = [factor.reshape(-1, *factor.shape[-2:]) for factor in factors]
    rows = []
    for block in zip(*flat, strict=True):
        product = block[0]
        for factor in block[1:]:
            product = torch.kron(product, factor)
        rows.append(product)
    return torch.cat(rows)


def relative_difference(found, truth):
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


@pytest.mark.parametrize(
    ("dtype", "tile_bytes"),
    [(torch.complex64, None), (torch.complex128, None), (torch.complex128, 3000)],
    ids=["single", "double", "double in tiles"],
)
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), SIZES, ids=str)
def test_matches_dense(outputs, inputs, blocks, dtype, tile_bytes):
    factors = random_factors(outputs, inputs, blocks, dtype)
    operator = Kronecker(factors, tile_bytes=tile_bytes)
    assert operator.domain == inputs
    assert operator.codomain == (*blocks, *outputs)
    dense = dense_matrix(factors)
    for batch in [(), (4,), (2, 3)]:
        x = random_complex(*batch, *operator.domain, dtype=dtype, seed=11)
        y = random_complex(*batch, *operator.codomain, dtype=dtype, seed=12)
        flat_x, flat_y = x.reshape(-1, dense.shape[1]), y.reshape(-1, dense.shape[0])
        forward, adjoint = operator(x), operator.adjoint(y)
        truth = (flat_x @ dense.T).reshape(forward.shape)
        assert relative_difference(forward, truth) <= ALLOWED[dtype]
        truth = (flat_y @ dense.conj()).reshape(adjoint.shape)
        assert relative_difference(adjoint, truth) <= ALLOWED[dtype]
    assert_adjoint(operator, batch=(3,), rtol=ALLOWED[dtype])


def test_two_factors_are_in_row_major_order():
    """The column-major identity on row-major arrays passes every dot test; this one it fails."""
    first, second = random_factors((4, 4), (6, 6))
    x = random_complex(6, 6, seed=3)
    truth = (torch.kron(first, second) @ x.flatten()).reshape(4, 4)
    torch.testing.assert_close(Kronecker([first, second])(x), truth)
    torch.testing.assert_close(first @ x @ second.T, truth)
    swapped = second @ x @ first.T
    assert relative_difference(swapped, truth) > 0.5
    torch.testing.assert_close(swapped.flatten(), torch.kron(second, first) @ x.flatten())


@given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_order_is_the_cheapest(sizes):
    outputs, inputs = zip(*sizes, strict=True)
    modes = range(len(sizes))
    costs = {
        order: contraction_flops(outputs, inputs, order) for order in itertools.permutations(modes)
    }
    best = contraction_flops(outputs, inputs)
    assert best == costs[contraction_order(outputs, inputs)] == min(costs.values())
    # The adjoint goes backwards, at the same cost, which is the cheapest for it.
    backwards = contraction_order(outputs, inputs)[::-1]
    assert contraction_flops(inputs, outputs, backwards) == best
    assert contraction_flops(inputs, outputs) == best


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
    blocks=st.sampled_from([(), (1,), (3,)]),
    batch=st.integers(1, 4),
    tile_bytes=st.sampled_from([1, 500, 2000, 10**6]),
)
@settings(max_examples=50, deadline=None)
def test_any_sizes(sizes, blocks, batch, tile_bytes):
    outputs, inputs = zip(*sizes, strict=True)
    factors = random_factors(outputs, inputs, blocks)
    operator = Kronecker(factors, tile_bytes=tile_bytes)
    x = random_complex(batch, *inputs, seed=7)
    truth = (x.reshape(batch, -1) @ dense_matrix(factors).T).reshape(batch, *operator.codomain)
    torch.testing.assert_close(operator(x), truth)
    assert_adjoint(operator, batch=(batch,), rtol=1e-12)


def test_textbook_orders():
    # Measurements fewer than voxels: the mode with the largest reduction first.
    assert contraction_order((32, 64), (128, 128)) == (0, 1)
    assert contraction_order((64, 32), (128, 128)) == (1, 0)
    # One range row a frequency: range first, which leaves a plane.
    assert contraction_order((32, 64, 1), (128, 128, 128)) == (2, 0, 1)
    assert contraction_flops((32, 64), (128, 128)) == 8 * (32 * 128 * 128 + 32 * 64 * 128)
    # Equal factors: backwards, which needs no copy.
    assert contraction_order((32, 32, 32), (128, 128, 128)) == (2, 1, 0)


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [((3, 5), (8, 7)), ((5, 3), (7, 8)), ((32, 64, 1), (128,) * 3), ((32, 32, 32), (128,) * 3)],
    ids=str,
)
def test_common_cases_need_no_copies(outputs, inputs):
    operator = Kronecker(random_factors(outputs, inputs, (2,), torch.complex64), tile_bytes=1)
    assert not operator.tiling().result_reordered
    assert not operator.tiling().input_reordered


@pytest.mark.parametrize("batch", [(), (5,)], ids=str)
@pytest.mark.parametrize("tile_bytes", [1, 40_000, 10**7])
@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [((9,), (20,)), ((9, 8), (20, 25)), ((4, 6, 8), (11, 12, 13)), ((8, 6, 1), (11, 12, 13))],
    ids=str,
)
def test_memory_is_as_stated(outputs, inputs, tile_bytes, batch):
    operator = Kronecker(random_factors(outputs, inputs, (7,)), tile_bytes=tile_bytes)
    images = math.prod(batch)
    stated = operator.tiling(images).workspace_bytes
    x = random_complex(*batch, *operator.domain)
    y = random_complex(*batch, *operator.codomain)
    peak, result = peak_bytes(operator._forward, x)
    assert peak - result.nbytes <= stated
    peak, image = peak_bytes(operator._adjoint, y)
    assert peak - image.nbytes == stated
    one_block = operator.tiling().block_bytes
    assert stated <= max(tile_bytes, one_block) + images * math.prod(inputs) * 16


def test_gradients():
    operator = Kronecker(random_factors((2, 3), (4, 3), (2,)), tile_bytes=1)
    x = random_complex(2, 4, 3).requires_grad_()
    y = random_complex(2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(operator, x)
    assert torch.autograd.gradcheck(operator.adjoint, y)
    assert torch.autograd.gradgradcheck(operator, x)


def test_noncontiguous_and_conjugate_arguments():
    """Torch keeps conjugation and transposition as flags, which nothing here may overlook."""
    factors = random_factors((2, 3), (5, 4), (3,))
    expected = Kronecker([factor.conj().resolve_conj() for factor in factors])
    operator = Kronecker([factor.conj() for factor in factors])
    x = random_complex(4, 5, seed=5)
    torch.testing.assert_close(operator(x.mH), expected(x.mH.resolve_conj().contiguous()))
    y = random_complex(3, 3, 2, seed=6)
    torch.testing.assert_close(
        operator.adjoint(y.mH), expected.adjoint(y.mH.resolve_conj().contiguous())
    )


def test_weighted_blocks():
    factors = random_factors((2, 3), (5, 4), (2, 6))
    weights = random_complex(2, 6, seed=9)
    kronecker = Kronecker(factors)
    operator = Diagonal(weights[..., None, None], kronecker.codomain) @ kronecker
    x = random_complex(5, 4, seed=10)
    truth = torch.einsum("pk,pkam,pkbn,mn->pkab", weights, *factors, x)
    torch.testing.assert_close(operator(x), truth)
    assert_adjoint(operator, rtol=1e-12)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], "at least one"),
        ([torch.ones(3, dtype=torch.complex64)], "rows, columns"),
        ([torch.ones(0, 2, 3, dtype=torch.complex64)], "empty"),
        ([torch.ones(2, 3)], "complex"),
        (random_factors((2,), (3,), (4,)) + random_factors((2,), (3,), (5,)), "blocks"),
        (random_factors((2,), (3,)) + random_factors((2,), (3,), (5,)), "blocks"),
        (random_factors((2,), (3,)) + random_factors((2,), (3,), dtype=DTYPES[0]), "one complex"),
        ([*random_factors((2,), (3,)), torch.ones(2, 3, device="meta").cfloat()], "one device"),
    ],
    ids=["none", "vector", "empty", "real", "blocks", "no blocks", "dtypes", "devices"],
)
def test_factors_must_fit(factors, message):
    with pytest.raises(ShapeError, match=message):
        Kronecker(factors)


def test_description():
    operator = Kronecker(random_factors((3, 6, 1), (8, 9, 10), (2, 7)))
    assert "(8, 9, 10) -> (2, 7, 3, 6, 1)" in repr(operator)


@pytest.mark.gpu
@pytest.mark.parametrize("tile_bytes", [None, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=["single", "double"])
@pytest.mark.parametrize(
    ("outputs", "inputs"), [((9, 8), (20, 25)), ((4, 6, 8), (11, 12, 13)), ((8, 6, 1), (9, 7, 13))]
)
def test_device_agrees_with_the_cpu(outputs, inputs, dtype, tile_bytes):
    factors = random_factors(outputs, inputs, (2, 5), dtype)
    here = Kronecker(factors)
    there = Kronecker([factor.cuda() for factor in factors], tile_bytes=tile_bytes)
    x = random_complex(3, *here.domain, dtype=dtype)
    y = random_complex(3, *here.codomain, dtype=dtype)
    assert relative_difference(there(x.cuda()).cpu(), here(x)) <= ALLOWED[dtype]
    assert relative_difference(there.adjoint(y.cuda()).cpu(), here.adjoint(y)) <= ALLOWED[dtype]
    assert_adjoint(there, batch=(2,), rtol=ALLOWED[dtype])
