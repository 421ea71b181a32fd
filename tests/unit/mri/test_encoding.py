"""Encodings against dense matrices: Fourier transform alone, with off-resonance, with decay."""

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from adjointness import assert_adjoint, random_complex
from exact import dense_matrix, relative_error
from stage_runs import reconstructed

from pipeline.config.transforms import NufftSettings, TransformChoice
from pipeline.engine.machine import Machine, Transforms
from pipeline.mri.calibration.segments import Histogram, segments
from pipeline.mri.model.encoding import Encoding, RightHandSide, Sampling
from pipeline.mri.model.off_resonance import OffResonance
from pipeline.operators.sense import (
    SenseNormal,
    SoftSenseNormal,
    StreamedSenseNormal,
    sense_normal,
)
from pipeline.storage.calibration import Calibration

COILS, SAMPLES, TILE = 3, 90, 40
FIRST, LAST = -2e-3, 9e-3  # [s]
ALLOWED = 1e-4


class Stored:
    """The arrays of a calibration, in memory."""

    def __init__(self, **arrays):
        self._arrays = arrays

    def array(self, path):
        return self._arrays.get(path)


def field_of(shape, relaxes=True):
    """Return off-resonance [Hz] and relaxation [1/s]: smooth, and different at all voxels."""
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    field = 60 + 90 * np.sin(1 + sum((i + 1) * place for i, place in enumerate(places)))
    rate = 20 + 15 * np.cos(sum(places)) if relaxes else np.zeros(shape)
    return field.astype(np.float32), rate.astype(np.float32)


def calibrated(shape, relaxes=True, error=ALLOWED):
    """Return what `calibrate` stores of a field map."""
    field, rate = field_of(shape, relaxes)
    limits = [(float(each.min()), float(each.max())) for each in (field, rate)]
    histogram = Histogram.of([(field, rate)], limits, LAST - FIRST)
    arrays = {"extent": np.array([FIRST, LAST]), "field_map": field[(None,) * (3 - len(shape))]}
    if relaxes:
        arrays["relaxation"] = rate[(None,) * (3 - len(shape))]
    for name, pairs in (("samples", False), ("normal", True)):
        found = segments(histogram, FIRST, LAST, error=error, pairs=pairs)
        arrays |= {f"{name}/times": found.nodes, f"{name}/table": found.table}
    return {f"off_resonance/{name}": values for name, values in arrays.items()}


def encoding_of(shape, effect, fft="auto"):
    nufft, choice = NufftSettings(tolerance=1e-10), TransformChoice(fft=fft)
    transforms = Transforms(shape, Machine(False, 2, 16, nufft, choice=choice))
    if effect == "none":
        return Encoding(transforms, "cpu")
    return OffResonance(transforms, "cpu", Stored(**calibrated(shape, effect == "decay")))


def sampled(shape, images):
    generator = torch.Generator().manual_seed(1)
    leading = () if images is None else (images,)
    k = torch.rand(*leading, len(shape), SAMPLES, generator=generator, dtype=torch.float64)
    w, along = torch.rand(2, *leading, SAMPLES, generator=generator, dtype=torch.float64)
    return Sampling((2 * k - 1) * torch.pi, w, along)


def tiles_of(sampling):
    for first in range(0, SAMPLES, TILE):
        part = slice(first, first + TILE)
        yield (
            part,
            Sampling(
                sampling.trajectory[..., part],
                sampling.weights[..., part],
                sampling.along[..., part],
            ),
        )


def dense_encodings(sampling, effect, maps):
    """Return the matrix of each image, ``(coil sample, voxel)``, and its weights."""
    shape = maps.shape[1:]
    for image, trajectory in enumerate(sampling.trajectory.reshape(-1, len(shape), SAMPLES)):
        matrix = torch.from_numpy(dense_matrix(shape, trajectory.numpy()))
        if effect != "none":
            field, rate = field_of(shape, effect == "decay")
            times = FIRST + (LAST - FIRST) * sampling.along.reshape(-1, SAMPLES)[image].numpy()
            decay = (rate.astype(float) + 2j * np.pi * field).ravel()
            matrix = matrix * torch.from_numpy(np.exp(-np.outer(times, decay)))
        joined = torch.cat([matrix * each.flatten() for each in maps])
        yield joined, sampling.weights.reshape(-1, SAMPLES)[image].repeat(len(maps))


@pytest.mark.parametrize("fft", ["ducc0", "torch"])
@pytest.mark.parametrize("images", [None, 2], ids=["one trajectory", "own trajectories"])
@pytest.mark.parametrize("effect", ["none", "field map", "decay"])
@pytest.mark.parametrize("shape", [(9, 12), (5, 6, 8)], ids=str)
def test_normal_equations_match_dense_ones(shape, effect, images, fft):
    if fft != "torch":
        pytest.importorskip(fft)
    # What kernels are good to; segments are, within their error for all voxels alike.
    allowed = 2e-6 if effect == "none" else 3 * ALLOWED
    maps = random_complex(COILS, *shape, seed=4)
    encoding = encoding_of(shape, effect, fft)
    sampling = sampled(shape, images)
    x = random_complex(2, *shape, seed=5)
    y = random_complex(2, COILS, SAMPLES, seed=6)
    dense = list(dense_encodings(sampling, effect, maps)) * (2 if images is None else 1)

    right = RightHandSide(encoding, 2, "cpu", one_coil=False)
    kernels = {}
    for part, tile in tiles_of(sampling):
        for coils in (slice(0, 2), slice(2, COILS)):
            right.add(tile, y[:, coils, part].clone(), [maps[coils]])
        for name, spectrum in encoding.kernels(tile):
            kernels[name] = kernels.get(name, 0) + spectrum.reshape(
                -1, *spectrum.shape[-len(shape) :]
            )
    normal = encoding.normal(kernels, lambda one_coil: SenseNormal(one_coil, maps))
    explicit = SenseNormal(encoding.explicit_normal(sampling), maps)
    for image, (matrix, weights) in enumerate(dense):
        measured = weights * y[image].flatten()
        b = (matrix.mH @ measured).reshape(shape)
        product = (matrix.mH @ (weights * (matrix @ x[image].flatten()))).reshape(shape)
        assert relative_error(right.b[image], b.numpy()) < (1e-8 if effect == "none" else allowed)
        energy = torch.vdot(y[image].flatten(), measured).real
        torch.testing.assert_close(right.energy[image], energy)
        assert relative_error(explicit(x)[image], product.numpy()) < allowed
        assert relative_error(normal(x)[image], product.numpy()) < allowed
    assert_adjoint(normal, rtol=1e-9)
    assert_adjoint(encoding.explicit_normal(sampling), rtol=1e-9)


@pytest.mark.parametrize(
    ("form", "images", "effect"),
    [("toeplitz", None, "none"), ("toeplitz", 2, "decay"), ("explicit", 2, "none"),
     ("streamed", None, "decay")],
)  # fmt: skip
def test_an_image_for_each_set_of_maps_as_of_dense_equations(form, images, effect):
    """Samples are those of the sum over sets of images times maps."""
    shape = (9, 7)
    allowed = 2e-6 if effect == "none" else 3 * ALLOWED
    sets = [random_complex(COILS, *shape, seed=seed) for seed in (4, 7)]
    encoding, sampling = encoding_of(shape, effect), sampled(shape, images)
    x = random_complex(2, 2, *shape, seed=5)
    y = random_complex(2, COILS, SAMPLES, seed=6)
    each = [list(dense_encodings(sampling, effect, maps)) for maps in sets]
    dense = [
        (torch.cat([one, other], dim=1), weights)
        for (one, weights), (other, _) in zip(*each, strict=True)
    ] * (2 if images is None else 1)
    right = RightHandSide(encoding, 2, "cpu", one_coil=False, sets=2)
    for coils in (slice(0, 2), slice(2, COILS)):
        right.add(sampling, y[:, coils].clone(), [maps[coils] for maps in sets])
    spectra = {
        name: spectrum.reshape(-1, *spectrum.shape[-len(shape) :])
        for name, spectrum in encoding.kernels(sampling)
    }
    if form == "explicit":
        normal = SoftSenseNormal(encoding.explicit_normal(sampling), sets, 2)
    elif form == "streamed":
        batches = zip(*(maps.split(2) for maps in sets), strict=True)
        kept = [list(batch) for batch in batches]
        normal = StreamedSenseNormal(
            encoding.normal(spectra, lambda one_coil: one_coil), shape, lambda: iter(kept), 2
        )
    else:
        normal = encoding.normal(spectra, lambda one_coil: sense_normal(one_coil, sets))
    for image, (matrix, weights) in enumerate(dense):
        b = (matrix.mH @ (weights * y[image].flatten())).reshape(2, *shape)
        product = (matrix.mH @ (weights * (matrix @ x[image].flatten()))).reshape(2, *shape)
        assert relative_error(right.b[image], b.numpy()) < (1e-8 if effect == "none" else allowed)
        assert relative_error(normal(x)[image], product.numpy()) < allowed
    assert_adjoint(normal, rtol=1e-9)


def test_gradients_flow_through_segments():
    shape = (3, 4)
    encoding = encoding_of(shape, "decay")
    sampling = sampled(shape, None)
    kernels = {name: each[None] for name, each in encoding.kernels(sampling)}
    x = random_complex(*shape).requires_grad_()
    for operator in (
        encoding.normal(kernels, lambda one_coil: one_coil),
        encoding.explicit_normal(sampling),
    ):
        assert torch.autograd.gradcheck(operator, x)


@pytest.mark.parametrize("kind", ["spread", "two species", "decay", "one frequency"])
def test_segments_reach_the_stated_error(kind):
    """Of voxels and times drawn anew, also between the rows of the table."""
    random = np.random.default_rng(3)
    field, rate = random.normal(20, 35, 5000), np.zeros(5000)
    if kind == "two species":
        field = np.where(random.random(5000) < 0.3, -220.0, random.normal(0, 8, 5000))
    if kind == "decay":
        rate = random.uniform(10, 60, 5000)
    if kind == "one frequency":
        field[:] = 110.0
    first, last = 1e-3, 26e-3
    limits = [(each.min(), each.max()) for each in (field, rate)]
    histogram = Histogram.of([(field, rate)], limits, last - first)
    counts = []
    for error in (3e-2, 1e-3):
        for pairs in (False, True):
            found = segments(histogram, first, last, error=error, pairs=pairs)
            along = torch.from_numpy(random.random(150))
            times = first + (last - first) * along.numpy()
            sampling = Sampling(torch.empty(0), torch.empty(0), along)
            factors = [sampling.factor(column) for column in torch.from_numpy(found.table).T]
            exact, nodes = (
                np.exp(-np.outer(t, rate + 2j * np.pi * field)) for t in (times, found.nodes)
            )
            if pairs:
                other = random.permutation(5000)
                exact, nodes = (each.conj() * each[:, other] for each in (exact, nodes))
            left = np.abs(torch.stack(factors, 1).numpy() @ nodes - exact)
            size = np.mean(np.abs(exact) ** 2, axis=1).max()
            reached = float(np.sqrt(np.mean(left**2, axis=1).max() / size))
            assert reached < error
            assert found.error < error
            counts.append(len(found.nodes))
    assert counts[0] <= counts[2]
    assert counts[1] <= counts[3]
    assert kind != "one frequency" or counts == [1, 1, 1, 1]


@pytest.mark.parametrize("own_trajectory", [False, True], ids=["shared", "own"])
def test_a_job_with_a_field_map(tmp_path, monkeypatch, own_trajectory):
    """Places of samples along the tables are read in tiles and shards; kernels add up by name."""
    shape, readouts, samples = (8, 9), 23, 6
    write_acquisition(
        tmp_path,
        shape=shape,
        coils=5,
        readouts=readouts,
        samples=samples,
        frames=2,
        own_trajectory=own_trajectory,
        times=np.random.default_rng(7).uniform(FIRST, LAST, (1, readouts, samples)),
    )
    settings = {"algorithm": "cg-sense", "iterations": 8, "regularization": 0.3}
    plain, _ = reconstructed(tmp_path, **settings)
    found = calibrated(shape)
    monkeypatch.setattr(
        Calibration, "array", lambda self, path: found.get(path, self._optional(path, ()))
    )
    whole, _ = reconstructed(tmp_path, **settings)
    assert relative_error(plain, whole) > 0.1
    assert relative_error(reconstructed(tmp_path, shards=3, **settings)[0], whole) < 1e-5
    assert relative_error(reconstructed(tmp_path, normal="explicit", **settings)[0], whole) < 2e-3
