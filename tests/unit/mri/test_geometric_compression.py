"""Virtual coils of each position along Cartesian readouts, against explicit sums."""

import itertools

import numpy as np
import pytest
from acquisitions import complex_normal, write_attributes
from calibrating import calibrated_in
from exact import dense_matrix
from stage_runs import reconstructed

from pipeline.errors import DataError
from pipeline.mri import corrected, readout_axis
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.geometric import aligned
from pipeline.mri.corrected import CorrectedData
from pipeline.mri.raw import RawData
from pipeline.storage.publish import published_store, read_json

SHAPE, COILS, FRAMES = (11, 8), 5, 2


def grid(axis, *, order=None, lines=slice(None)):
    """Return readouts along an axis of the matrix, ``[readout, sample, axis]`` [rad/voxel]."""
    cycles = [np.arange(size) - size // 2 for size in SHAPE]
    along = cycles[axis] if order is None else cycles[axis][order]
    across = cycles[1 - axis][lines]
    points = np.empty((len(across), len(along), 2))
    points[..., axis], points[..., 1 - axis] = along, across[:, None]
    return points * (2 * np.pi / np.array(SHAPE))


def write_scan(folder, k, pattern="cartesian"):
    generator = np.random.default_rng(2)
    arrays = {
        "trajectory": k[None],
        "kspace": complex_normal(generator, (FRAMES, COILS, *k.shape[:2])),
        "sensitivities": complex_normal(generator, (COILS, 1, *SHAPE)),
        "noise": complex_normal(generator, (COILS, COILS)) @ complex_normal(generator, (COILS, 90)),
    }
    with published_store(folder / "raw.json") as group:
        write_attributes(group, SHAPE, (1e-3, 1e-3))
        group.attrs["pattern"] = pattern
        for name, values in arrays.items():
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)


def calibrated(folder, **settings):
    settings = {"consistency": False, "coil_maps": "source", "density": "none", **settings}
    return calibrated_in(folder, compression="geometric", **settings)


def mixed_by_sums(samples, k, axis, matrices):
    """Mix samples ``[coil, readout, sample]`` at each position, with sums in place of FFTs."""
    size = SHAPE[axis]
    phases = np.outer(k[0, :, axis], np.arange(size) - size // 2)
    there = samples @ np.exp(1j * phases) / size
    return np.einsum("xvc,crx->vrx", matrices, there) @ np.exp(-1j * phases).T


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("whitening", ["auto", "none"])
def test_samples_maps_and_noise_are_mixed_at_each_position(tmp_path, monkeypatch, axis, whitening):
    k = grid(axis, order=np.roll(np.arange(SHAPE[axis])[::-1], 3), lines=slice(1, None))
    write_scan(tmp_path, k)
    found = calibrated(tmp_path, virtual_coils=3, whitening=whitening)
    matrices = found.mixing()
    assert matrices.shape == (SHAPE[axis], 3, COILS)
    assert read_json(tmp_path / "calibrate.json")["compression"] == "geometric"
    raw = RawData.open(tmp_path / "raw.json")
    expected = mixed_by_sums(raw.kspace(1), k, axis, matrices)
    # Two coils at once, and two readouts.
    monkeypatch.setattr(corrected, "_READ_BYTES", 2 * 8 * k[..., 0].size)
    monkeypatch.setattr(readout_axis, "WORKING_BYTES", 2 * 4 * 8 * (3 + 2) * SHAPE[axis])
    data = CorrectedData(raw, found)
    np.testing.assert_allclose(data.kspace(1), expected, atol=2e-5)
    part = data.kspace(1, slice(1, 2), slice(2, 5))
    np.testing.assert_allclose(part, expected[1:2, 2:5], atol=2e-5)
    maps = np.moveaxis(raw.sensitivities(), 2 + axis, 0)
    mixed = np.einsum("xvc,xcza->xvza", matrices, maps)
    np.testing.assert_allclose(
        found.sensitivities(), np.moveaxis(mixed, 0, 2 + axis), rtol=1e-4, atol=1e-5
    )
    everywhere = np.concatenate(list(matrices @ raw.noise()), axis=1)
    level = np.sqrt(np.mean(np.abs(everywhere) ** 2, axis=1))
    np.testing.assert_allclose(found.noise_level(), level, rtol=1e-4)


def test_images_are_least_squares_of_the_virtual_coils(tmp_path):
    k = grid(1, lines=[0, 2, 3, 5, 7, 9, 10])
    write_scan(tmp_path, k)
    found = calibrated(tmp_path, virtual_coils=3, whitening="none")
    images, receipt = reconstructed(
        tmp_path, algorithm="cg-sense", weights="none", iterations=80, residual=1e-6
    )
    assert receipt["coils"] == 3
    fourier = dense_matrix(SHAPE, k.reshape(-1, 2).T)
    system = np.concatenate([fourier * one.ravel() for one in found.sensitivities()])
    raw = RawData.open(tmp_path / "raw.json")
    for frame in range(FRAMES):
        samples = mixed_by_sums(raw.kspace(frame), k, 1, found.mixing()).ravel()
        expected = np.linalg.lstsq(system, samples, rcond=None)[0]
        difference = np.linalg.norm(images[frame].ravel() - expected)
        assert difference < 1e-3 * np.linalg.norm(expected)


def test_turned_combinations_span_the_same_and_vary_least():
    generator = np.random.default_rng(3)
    true = np.linalg.qr(complex_normal(generator, (6, 4)))[0].conj().T[:2]
    slowly = complex_normal(generator, (6, 6))
    slowly = (slowly - slowly.conj().T) / 20
    values, vectors = np.linalg.eigh(1j * slowly)
    steps = [vectors * np.exp(-1j * values * step) @ vectors.conj().T for step in range(9)]
    spans = np.stack([true @ step for step in steps])
    turns = np.stack([np.linalg.qr(complex_normal(generator, (2, 2)))[0] for _ in range(9)])
    found = aligned(turns @ spans, 4)
    np.testing.assert_allclose(found[4], turns[4] @ spans[4], rtol=1e-6)
    for one, other in zip(found, spans, strict=True):
        np.testing.assert_allclose(one.conj().T @ one, other.conj().T @ other, atol=1e-6)
    for one, after in itertools.pairwise(found):
        # Nearest of all turns: then their product is Hermitian, and positive.
        product = after @ one.conj().T
        np.testing.assert_allclose(product, product.conj().T, atol=1e-6)
        assert np.linalg.eigvalsh(product).min() > 0


@pytest.mark.parametrize(
    ("k", "pattern", "settings", "message"),
    [
        (grid(1), "radial", {}, "needs Cartesian samples, but these are of the pattern radial"),
        (grid(1), "cartesian", {"girf": {"file": "g.npy"}}, "calibration.girf moves them"),
        (grid(1)[:, :6], "cartesian", {}, "all sample one axis of the matrix fully"),
        (
            np.concatenate([grid(1)[:4], grid(1)[4:, ::-1]]),
            "cartesian",
            {},
            "in the same order, and these do not; set it to svd",
        ),
    ],
    ids=["radial", "moved", "part of each readout", "back and forth"],
)
def test_what_has_no_positions_along_readouts(tmp_path, k, pattern, settings, message):
    write_scan(tmp_path, k, pattern)
    with pytest.raises(DataError, match=message):
        calibrated(tmp_path, virtual_coils=3, **settings)
