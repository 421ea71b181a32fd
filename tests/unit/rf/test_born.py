"""The Born sum against hand calculation and closed forms: it is the truth for everything else."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from adjointness import assert_adjoint, random_complex
from rf_scenes import mills_cross, planar
from scipy.special import hankel2

from pipeline.errors import DataError, ShapeError
from pipeline.rf.geometry.antennas import Pair, wavenumbers
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model import born
from pipeline.rf.model.born import Born, simulate

FREQUENCIES = np.array([2e9, 2.3e9, 3.1e9])
SCENE = Scene((3, 4, 2), (0.05, 0.04, 0.03), (0.1, -0.2, 0.05))
CENTRES = np.array([[0.3, -0.1, -1.5], [-0.4, 0.2, -1.7]])
PAIRS = {
    "crossed": mills_cross((3, 5), 0.4, 2.0, (0.1, 0.2)),
    "planar": planar((2, 3), (4, 1), 0.1, CENTRES),
    "paired": Pair(*(np.random.default_rng(1).uniform(1, 2, (2, 6, 3))), paired=True),
}


def dense(pair, scene, *, dimensions=3):
    """Return the matrix ``(freq, m1, m2, voxel)``, one entry after the other."""
    voxels = scene.positions()[:, :dimensions]
    k = wavenumbers(FREQUENCIES)
    result = np.zeros((k.size, *pair.measurement_shape, len(voxels)), complex)
    for m1, m2 in np.ndindex(*pair.measurement_shape):
        if pair.paired:
            tx, rx = pair.tx[m1], pair.rx[m1]
        else:
            (_, t2), (r1, r2) = pair.grids
            tx = pair.tx[(m1 // r1) * t2 + m2 // r2]
            rx = pair.rx[(m1 % r1) * r2 + m2 % r2]
        legs = [np.linalg.norm(voxels - x[:dimensions], axis=1) for x in (tx, rx)]
        for f in range(k.size):
            result[f, m1, m2] = pair.gain
            for leg in legs:
                field = (
                    np.exp(-1j * k[f] * leg) / (4 * np.pi * leg)
                    if dimensions == 3
                    else -0.25j * hankel2(0, k[f] * leg)
                )
                result[f, m1, m2] *= field
    return result


def test_one_voxel_by_hand():
    """3 m and 4 m at a wavelength of 0.8 m: 8.75 turns, so the phase is +90 degrees."""
    pair = Pair([[0.0, 0, -3]], [[4.0, 0, 0]])
    field = simulate([[0.0, 0, 0]], [2.0], pair, [299_792_458.0 / 0.8])
    assert field.shape == (1, 1, 1)
    np.testing.assert_allclose(field, 2j / ((4 * np.pi) ** 2 * 12), rtol=1e-12)
    k = 2 * np.pi / 0.8
    with_k2 = simulate([[0.0, 0, 0]], [2.0], pair, [299_792_458.0 / 0.8], born_k2=True)
    np.testing.assert_allclose(with_k2, field * k**2)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_matches_dense(name, dimensions):
    pair = PAIRS[name]
    operator = Born(SCENE, [pair], FREQUENCIES, dimensions=dimensions)
    image = random_complex(2, *SCENE.shape)
    truth = np.einsum(
        "fabn,in->ifab", dense(pair, SCENE, dimensions=dimensions), image.reshape(2, -1).numpy()
    )
    np.testing.assert_allclose(operator(image)[:, 0], truth, rtol=1e-9)
    assert_adjoint(operator)
    assert_adjoint(operator, batch=(2, 3))


def test_several_pairs_gain_and_spectrum():
    other = mills_cross((3, 5), 0.3, 2.5)
    loud = Pair(other.tx, other.rx, gain=2 - 1j)
    spectrum = np.array([1.0, 2j, 0.5])
    operator = Born(SCENE, [PAIRS["crossed"], loud], FREQUENCIES, spectrum=spectrum)
    image = random_complex(*SCENE.shape)
    assert operator.codomain == (2, 3, 3, 5)
    truth = np.stack(
        [dense(pair, SCENE) @ image.numpy().ravel() for pair in (PAIRS["crossed"], loud)]
    )
    np.testing.assert_allclose(operator(image), truth * spectrum[:, None, None], rtol=1e-10)
    assert_adjoint(operator)


def test_tiles(monkeypatch):
    """Memory is bounded: tiles of a few voxels, of one frequency, give the same sum."""
    pair, image = PAIRS["planar"], random_complex(*SCENE.shape)
    whole = Born(SCENE, [pair], FREQUENCIES)
    measured, back = whole(image), whole.adjoint(random_complex(*whole.codomain))
    for tile in (1, 16 * 10 * 7, 16 * 10 * 24 * 2):
        monkeypatch.setattr(born, "_TILE_BYTES", tile)
        tiled = Born(SCENE, [pair], FREQUENCIES)
        torch.testing.assert_close(tiled(image), measured)
        torch.testing.assert_close(tiled.adjoint(random_complex(*whole.codomain)), back)


MEASURE = """
import ctypes, gc, numpy as np, torch
from rf_scenes import mills_cross
from pipeline.rf.model.born import Born
from pipeline.rf.geometry.scene import Scene
def resident(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))
def grown(work):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as peaks:
        peaks.write("5")
    start = resident("VmRSS")
    result = work()
    return resident("VmHWM") - start - result.nbytes
def operator(*shape):
    return Born(Scene(shape, (0.1, 0.1)), [mills_cross((24, 20), 0.5, 30.0)], [2e9, 3e9])
image, small = torch.ones(200, 300, dtype=torch.complex128), operator(3, 4)
small.adjoint(small(image[:3, :4].contiguous()))
large = operator(200, 300)
data = torch.ones(large.codomain, dtype=torch.complex128)
print(grown(lambda: large(image)), grown(lambda: large.adjoint(data)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_is_that_of_a_few_tiles():
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    for grown in map(int, answer.stdout.split()):
        assert grown <= 9 * born._TILE_BYTES  # all Green's functions would be 3 times as much


def test_single_precision_has_double_phases():
    """At 10 km and 10 GHz, phases in float32 would leave no phase at all."""
    pair = mills_cross((3, 4), 10.0, 10e3)
    scene = Scene((5, 6), (0.3, 0.4))
    image = random_complex(*scene.shape)
    exact = Born(scene, [pair], [9.9e9, 10e9])(image)
    single = Born(scene, [pair], [9.9e9, 10e9], dtype=torch.complex64)(image.to(torch.complex64))
    torch.testing.assert_close(single.to(torch.complex128), exact, rtol=1e-5, atol=1e-16)


def test_far_field_is_a_fourier_transform():
    """Seen from far away, ``exp(-j k (uhat_t + uhat_r) . u)`` about the centre."""
    scene, k = Scene((4, 5), (0.1, 0.2), (1.0, 2.0)), wavenumbers(FREQUENCIES)
    directions = np.array([[0.6, 0, 0.8], [0, -0.28, 0.96]])
    tx, rx = scene.centre - 1e6 * directions
    image = random_complex(*scene.shape).numpy()
    offsets = scene.positions() - scene.centre
    plane = np.exp(-1j * k[:, None] * (offsets @ directions.sum(0))) @ image.ravel()
    field = simulate(scene.positions(), image.ravel(), Pair([tx], [rx]), FREQUENCIES)[:, 0, 0]
    field *= (4 * np.pi * 1e6) ** 2 * np.exp(2j * k * 1e6)
    np.testing.assert_allclose(field, plane, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_reciprocity(dimensions):
    pair = PAIRS["planar"]
    points, amplitudes = SCENE.positions(), random_complex(SCENE.voxels).numpy()
    swapped = Pair(pair.rx, pair.tx, tx_grid=(4, 1), rx_grid=(2, 3))
    one, other = (
        simulate(points, amplitudes, p, FREQUENCIES, dimensions=dimensions) for p in (pair, swapped)
    )
    one = one.reshape(3, 2, 4, 3, 1).transpose(0, 2, 1, 4, 3).reshape(other.shape)
    np.testing.assert_allclose(one, other, rtol=1e-10)


def test_gradient():
    operator = Born(Scene((2, 3), (0.1, 0.1)), [mills_cross((2, 2), 0.3, 1.0)], FREQUENCIES[:2])
    image = random_complex(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(operator, image)


def test_refused():
    pair = PAIRS["crossed"]
    with pytest.raises(ShapeError, match=r"\(3, 5\), \(8, 3\)"):
        Born(SCENE, [pair, PAIRS["planar"]], FREQUENCIES)
    with pytest.raises(DataError, match="found 1 dimensions"):
        Born(SCENE, [pair], FREQUENCIES, dimensions=1)
    with pytest.raises(DataError, match="scatterers of shape"):
        simulate([1.0, 2.0, 3.0], [1.0], pair, FREQUENCIES)
    with pytest.raises(DataError, match=r"antenna 1 .*infinite"):
        simulate(pair.tx[1:2], [1.0], pair, FREQUENCIES)


@pytest.mark.gpu
@pytest.mark.parametrize("dimensions", [2, 3])
def test_cuda_agrees(dimensions):
    operators = [
        Born(SCENE, [PAIRS["planar"]], FREQUENCIES, dimensions=dimensions, device=device)
        for device in ("cpu", "cuda")
    ]
    image = random_complex(*SCENE.shape)
    torch.testing.assert_close(operators[1](image.cuda()).cpu(), operators[0](image))
    assert_adjoint(operators[1])
