"""Multiplying spatial frequencies, against dense matrices and integrals."""

import numpy as np
import pytest
import torch
from adjointness import random_complex

from pipeline.operators.circulant import Circulant, voxel_averages


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 7)], ids=str)
@pytest.mark.parametrize("frames", [(), (2,)], ids=str)
def test_is_the_dense_product(shape, frames):
    eigenvalues = torch.rand(*frames, *shape, dtype=torch.float64)
    x = random_complex(3, *frames, *shape)
    found = Circulant(eigenvalues, shape, threads=1)(x)
    matrices = [np.fft.fft(np.eye(size)) / np.sqrt(size) for size in shape]
    whole = matrices[0]
    for matrix in matrices[1:]:
        whole = np.kron(whole, matrix)
    for images, values, results in zip(
        x.reshape(3, -1, *shape).swapaxes(0, 1),
        eigenvalues.reshape(-1, *shape),
        found.reshape(3, -1, *shape).swapaxes(0, 1),
        strict=True,
    ):
        dense = whole.conj().T @ np.diag(values.numpy().ravel()) @ whole
        expected = images.reshape(3, -1).numpy() @ dense.T
        np.testing.assert_allclose(results.reshape(3, -1).numpy(), expected, atol=1e-12)


def test_voxel_averages_are_integrals_over_voxels():
    """Of a sum of waves, by Gauss's quadrature."""
    shape = (7, 9)
    coefficients = random_complex(*shape).numpy()
    waves = [2j * np.pi * np.fft.fftfreq(size) for size in shape]

    def at(offset):
        first, second = (
            np.exp(np.outer(np.arange(size) + part, wave))
            for size, part, wave in zip(shape, offset, waves, strict=True)
        )
        return first @ coefficients @ second.T

    points, weights = np.polynomial.legendre.leggauss(12)
    mean = sum(
        a * b / 4 * at((s / 2, t / 2))
        for s, a in zip(points, weights, strict=True)
        for t, b in zip(points, weights, strict=True)
    )
    found = voxel_averages(torch.from_numpy(at((0, 0))), shape)
    np.testing.assert_allclose(found.numpy(), mean, atol=1e-11)
