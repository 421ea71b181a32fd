"""The unrolled network: what it is before training, that it learns, and its memory."""

import pytest
import torch
from adjointness import random_complex
from allocations import Allocations
from dense_problems import dense_problem

from pipeline.algorithms.unrolled import unrolled_bytes
from pipeline.errors import ConfigError
from pipeline.operators.base import Diagonal
from pipeline.solvers.normal import NormalEquations
from pipeline.solvers.proximal import soft_threshold
from pipeline.solvers.unrolled import ComplexConvolution, UnrolledProximalGradient

SHAPE = (6, 7)


def network(layers=3, **settings):
    torch.manual_seed(0)
    settings = {"image_axes": 2, "channels": 3, "dtype": torch.complex128} | settings
    return UnrolledProximalGradient(layers, **settings)


def perturbed(net):
    """Return the network with parameters other than those training begins with."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def test_untrained_it_is_iterative_soft_thresholding():
    problem = dense_problem(30, SHAPE, problems=(2,), nonzero=5)
    normal = problem.normal
    bounds = torch.tensor([9.0, 8.0], dtype=torch.float64)
    x = torch.zeros_like(normal.b)
    step = 0.9 / bounds[:, None, None]
    size = normal.b.abs().amax((1, 2), keepdim=True) / bounds[:, None, None]
    for _ in range(4):
        x = soft_threshold(x - step * (normal.gram(x) - normal.b), 0.05 * size)
    found = network(4, step=0.9, threshold=0.05)(normal, bounds)
    torch.testing.assert_close(found, x)


def test_scale_and_phase_pass_through():
    problem = dense_problem(30, SHAPE, nonzero=5)
    net = perturbed(network())
    normal = problem.normal
    expected = net(normal)
    assert torch.linalg.vector_norm(expected) > 0
    for factor in (1e5, 0.3j):
        found = net(NormalEquations(factor * normal.b, normal.gram))
        torch.testing.assert_close(found, factor * expected)
    stronger = net(NormalEquations(7 * normal.b, lambda x: 7 * normal.gram(x)))
    torch.testing.assert_close(stronger, expected)
    assert (net(NormalEquations(0 * normal.b, normal.gram)) == 0).all()


def test_gradients_of_parameters_and_data():
    problem = dense_problem(8, (3, 2), nonzero=3)
    net = perturbed(network(2, channels=2, kernel_size=1))
    gram = problem.normal.gram

    def reconstruct(b, *parameters):
        named = dict(zip(dict(net.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(net, named, (NormalEquations(b, gram), 8.0))

    # The scale that normalises scenes is a constant, so keep it: the largest number stays put.
    b = problem.normal.b.clone()
    largest = b.abs().argmax()
    rest = torch.arange(6) != largest

    def of_the_rest(values, *parameters):
        full = b.flatten().index_put((rest,), values).reshape(3, 2)
        return reconstruct(full, *parameters)

    inputs = (b.flatten()[rest].detach().requires_grad_(), *net.parameters())
    assert torch.autograd.gradcheck(of_the_rest, inputs)


def test_checkpointing_changes_no_gradient():
    problem = dense_problem(30, SHAPE, nonzero=5)
    results = []
    for checkpointing in (False, True):
        net = perturbed(network(checkpointing=checkpointing))
        net(problem.normal).abs().square().sum().backward()
        results.append([parameter.grad for parameter in net.parameters()])
    for without, with_checkpoints in zip(*results, strict=True):
        torch.testing.assert_close(with_checkpoints, without)


@pytest.mark.parametrize(
    ("channels", "rate"), [(0, 0.3), pytest.param(2, 0.03, marks=pytest.mark.slow)]
)
def test_it_learns(channels, rate):
    """Sparse scenes from fewer measurements than voxels: a few dozen steps halve the error."""
    net = network(4, channels=channels, dtype=torch.complex64)
    known, unseen = (
        dense_problem(32, (6, 8), problems=(12,), nonzero=3, noise=0.02, seed=seed).to(
            torch.complex64
        )
        for seed in (0, 50)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)

    def error(problem):
        return (net(problem.normal, 6.0) - problem.truth).abs().square().sum((1, 2)).mean()

    before = [error(problem).item() for problem in (known, unseen)]
    for _ in range(60):
        optimizer.zero_grad()
        error(known).backward()
        optimizer.step()
    assert error(known).item() < 0.5 * before[0]
    assert error(unseen).item() < 0.8 * before[1]


@pytest.mark.parametrize("shape", [(9,), (5, 6), (4, 3, 5)], ids=str)
def test_complex_convolution_is_torchs_own(shape):
    axes = len(shape)
    convolution = ComplexConvolution(3, 2, axes, 3, torch.complex128)
    x = random_complex(4, 2, *shape)
    own = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
    expected = own[axes - 1](x, convolution.weight, padding=1)
    torch.testing.assert_close(convolution(x), expected)


def saved_bytes(net, normal):
    """Return the bytes that the forward pass keeps for the backward one."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(normal, 1.0).abs().square().sum()
    total = sum(kept.values())
    loss.backward()
    return total


def test_memory_is_flat_in_layers_with_checkpointing_only():
    b = random_complex(2, 30, 40, dtype=torch.complex64)
    normal = NormalEquations(b, Diagonal(torch.rand(30, 40).to(b.dtype), (30, 40)))
    saved, peak = {}, {}
    for checkpointing in (False, True):
        for layers in (2, 12):
            net = network(layers, channels=8, checkpointing=checkpointing, dtype=torch.complex64)
            saved[checkpointing, layers] = saved_bytes(net, normal)
            with Allocations() as measured:
                net(normal, 1.0).abs().square().sum().backward()
            peak[checkpointing, layers] = measured.peak
            predicted = unrolled_bytes(
                b.shape, itemsize=8, layers=layers, channels=8, checkpointing=checkpointing
            )
            assert 0.7 * predicted < measured.peak <= 1.01 * predicted
    image = b.numel() * 8
    assert saved[False, 12] > 5 * saved[False, 2]
    # A checkpoint is the image that a layer began with, and nothing else.
    assert saved[True, 12] == saved[True, 2] + 10 * image
    assert saved[True, 12] - saved[True, 2] < 0.03 * (saved[False, 12] - saved[False, 2])
    assert peak[False, 12] > 4 * peak[False, 2]
    assert peak[True, 12] - peak[True, 2] <= 10.1 * image
    assert peak[True, 12] < 1.2 * peak[True, 2]


def test_inference_keeps_nothing():
    b = random_complex(2, 30, 40, dtype=torch.complex64)
    normal = NormalEquations(b, lambda x: 0.5 * x)
    peaks = []
    for layers in (2, 12):
        net = network(layers, channels=8, dtype=torch.complex64)
        with torch.no_grad(), Allocations() as measured:
            net(normal, 1.0)
        peaks.append(measured.peak)
    predicted = unrolled_bytes(b.shape, itemsize=8, layers=12, channels=8, training=False)
    assert peaks[1] <= 1.01 * predicted
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("shape", [(9,), (5, 6), (3, 4, 5)], ids=str)
def test_one_to_three_axes_and_any_batch(shape):
    problem = dense_problem(20, shape, problems=(2, 3))
    net = perturbed(network(2, image_axes=len(shape)))
    bounds = torch.full((2, 3), 20.0, dtype=torch.float64)
    together = net(problem.normal, bounds)
    assert together.shape == (2, 3, *shape)
    matrix = problem.matrix[1, 2]
    alone = NormalEquations(
        problem.normal.b[1, 2], lambda x: (matrix.mH @ (matrix @ x.flatten())).reshape(x.shape)
    )
    torch.testing.assert_close(net(alone, 20.0), together[1, 2])


def test_can_be_made_again():
    net = perturbed(network())
    again = UnrolledProximalGradient(**net.settings, dtype=torch.complex128)
    again.load_state_dict(net.state_dict())
    normal = dense_problem(30, SHAPE).normal
    torch.testing.assert_close(again(normal), net(normal))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 0}, "layers 0"),
        ({"image_axes": 4}, "image_axes 4"),
        ({"kernel_size": 4}, "kernel_size 4"),
        ({"step": 0.0}, r"step 0\.0"),
    ],
)
def test_refuses_wrong_settings(wrong, message):
    with pytest.raises(ConfigError, match=message):
        UnrolledProximalGradient(**({"layers": 2, "image_axes": 2} | wrong))
    with pytest.raises(ConfigError, match="b has 1 axes"):
        network()(NormalEquations(random_complex(5), lambda x: x), 1.0)


@pytest.mark.gpu
def test_device_agrees_with_the_cpu():
    problem, net = dense_problem(30, SHAPE, nonzero=5), perturbed(network())
    here = net(problem.normal)
    there = net.cuda()(problem.to("cuda").normal)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here)
