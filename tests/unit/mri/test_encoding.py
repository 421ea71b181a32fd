"""An encoding of several terms against dense matrices, alone and in a whole job."""

from functools import partialmethod

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, relative_error
from stage_runs import reconstructed

from pipeline.config.transforms import NufftSettings, TransformChoice
from pipeline.engine.machine import Machine, Transforms
from pipeline.mri.measurement import MriMeasurement
from pipeline.mri.model.encoding import Encoding, RightHandSide, Sampling, Term
from pipeline.operators.sense import SenseNormal

COILS, SAMPLES, TILE = 3, 90, 40


def transforms_of(shape, fft="auto"):
    nufft, choice = NufftSettings(tolerance=1e-10), TransformChoice(fft=fft)
    return Transforms(shape, Machine(False, 2, 16, nufft, choice=choice))


def terms_of(shape, count):
    """Return terms of random factors of voxels; those of the samples come with the sampling."""
    voxels = random_complex(count, *shape, seed=3).numpy()
    return [Term(lambda frame, readouts: np.ones(0), each) for each in voxels]


def sampled(shape, terms, images):
    generator = torch.Generator().manual_seed(1)
    leading = () if images is None else (images,)
    k = torch.rand(*leading, len(shape), SAMPLES, generator=generator, dtype=torch.float64)
    w = torch.rand(*leading, SAMPLES, generator=generator, dtype=torch.float64)
    factors = random_complex(*leading, terms, SAMPLES, seed=2) if terms else None
    return Sampling((2 * k - 1) * torch.pi, w, factors)


def tiles_of(sampling):
    for first in range(0, SAMPLES, TILE):
        part = slice(first, first + TILE)
        factors = None if sampling.factors is None else sampling.factors[..., part]
        yield part, Sampling(sampling.trajectory[..., part], sampling.weights[..., part], factors)


def dense_encodings(sampling, terms, maps):
    """Return the matrix of each image, ``(coil sample, voxel)``, and its weights."""
    trajectories = sampling.trajectory.reshape(-1, *sampling.trajectory.shape[-2:])
    for image, trajectory in enumerate(trajectories):
        fourier = torch.from_numpy(dense_matrix(maps.shape[1:], trajectory.numpy()))
        one_coil = fourier
        if terms:
            factors = sampling.factors.reshape(-1, len(terms), SAMPLES)[image]
            one_coil = sum(
                factor[:, None] * fourier * torch.from_numpy(term.voxels).flatten()
                for factor, term in zip(factors, terms, strict=True)
            )
        matrix = torch.cat([one_coil * each.flatten() for each in maps])
        yield matrix, sampling.weights.reshape(-1, SAMPLES)[image].repeat(len(maps))


@pytest.mark.parametrize("fft", ["ducc0", "torch"])
@pytest.mark.parametrize("images", [None, 2], ids=["one trajectory", "own trajectories"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(9, 12), (5, 6, 8)], ids=str)
def test_normal_equations_match_dense_ones(shape, count, images, fft):
    if fft != "torch":
        pytest.importorskip(fft)
    terms, maps = terms_of(shape, count), random_complex(COILS, *shape, seed=4)
    encoding = Encoding(transforms_of(shape, fft), "cpu", terms)
    sampling = sampled(shape, count, images)
    x = random_complex(2, *shape, seed=5)
    y = random_complex(2, COILS, SAMPLES, seed=6)
    dense = list(dense_encodings(sampling, terms, maps)) * (2 if images is None else 1)

    right = RightHandSide(encoding, 2, "cpu", one_coil=False)
    kernels = {}
    for part, tile in tiles_of(sampling):
        for coils in (slice(0, 2), slice(2, COILS)):
            right.add(tile, y[:, coils, part].clone(), maps[coils])
        for name, spectrum in encoding.kernels(tile):
            kernels[name] = kernels.get(name, 0) + spectrum.reshape(
                -1, *spectrum.shape[-len(shape) :]
            )
    assert len(kernels) == max(1, count**2)
    normal = SenseNormal(encoding.normal(kernels), maps)
    explicit = SenseNormal(encoding.explicit_normal(sampling), maps)
    for image, (matrix, weights) in enumerate(dense):
        measured = weights * y[image].flatten()
        b = (matrix.mH @ measured).reshape(shape)
        product = (matrix.mH @ (weights * (matrix @ x[image].flatten()))).reshape(shape)
        assert relative_error(right.b[image], b.numpy()) < 1e-8
        energy = torch.vdot(y[image].flatten(), measured).real
        torch.testing.assert_close(right.energy[image], energy)
        assert relative_error(explicit(x)[image], product.numpy()) < 1e-8
        assert relative_error(normal(x)[image], product.numpy()) < 2e-6  # kernels are good to 1e-6
    assert_adjoint(normal, rtol=1e-9)


@pytest.mark.parametrize("own_trajectory", [False, True], ids=["shared", "own"])
def test_a_job_of_two_terms(tmp_path, monkeypatch, own_trajectory):
    """Factors are read with their samples, in tiles and shards, and kernels add up by name."""
    shape, readouts, samples = (8, 9), 23, 6
    generator = np.random.default_rng(7)
    ramp = generator.uniform(0, 1, (2, readouts, samples))
    field = np.exp(2j * generator.uniform(-1, 1, shape))
    terms = [
        Term(lambda frame, part: ramp[frame % 2, part], field),
        Term(lambda frame, part: 1 - ramp[frame % 2, part], field.conj()),
    ]
    if not own_trajectory:  # then the factors are those of one frame, too
        ramp[1] = ramp[0]
    patched = partialmethod(MriMeasurement.__init__, terms=terms)
    write_acquisition(
        tmp_path,
        shape=shape,
        coils=5,
        readouts=readouts,
        samples=samples,
        frames=2,
        own_trajectory=own_trajectory,
    )
    settings = {"algorithm": "cg-sense", "iterations": 8, "regularization": 0.3}
    plain, _ = reconstructed(tmp_path, **settings)
    monkeypatch.setattr(MriMeasurement, "__init__", patched)
    whole, _ = reconstructed(tmp_path, **settings)
    assert relative_error(plain, whole) > 0.1
    assert relative_error(reconstructed(tmp_path, shards=3, **settings)[0], whole) < 1e-5
    assert relative_error(reconstructed(tmp_path, normal="explicit", **settings)[0], whole) < 2e-3
