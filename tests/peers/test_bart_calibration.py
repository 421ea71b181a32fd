"""Whitening, compression, coil maps and gradient delays against BART."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from acquisitions import complex_normal, write_attributes
from bart_commands import AVAILABLE, bart, read_cfl, write_cfl
from calibrating import calibrated_in
from coil_measurements import measure, true_maps
from stage_runs import reconstructed

from pipeline.geometry.axes import as_volume
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibration.delays import gradient_delays
from pipeline.mri.calibration.espirit import trust
from pipeline.mri.calibration.noise_samples import noise_covariance
from pipeline.mri.calibration.whitening import whitening_matrix
from pipeline.mri.generators.radial import golden_radial, kooshball
from pipeline.storage.publish import published_store

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="neither bartorch nor bart is installed")


class Scan(NamedTuple):
    """The Cartesian scan of an object that was also measured along spokes, and where it is."""

    kspace: np.ndarray
    inside: np.ndarray


def measured(folder, shape, spokes, coils):
    """Write exact samples of the phantom along spokes, and those of a Cartesian scan for BART."""
    k = (golden_radial if len(shape) == 2 else kooshball)(spokes, 2 * max(shape))
    lines = [2 * np.pi * (np.arange(size) - size // 2) / size for size in shape]
    lattice = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    with published_store(folder / "raw.json") as group:
        write_attributes(group, shape, (1e-3,) * len(shape))
        group.attrs["pattern"] = "radial"
        along = measure(shape, [k], coils=coils)
        for name, values in (("trajectory", k), ("kspace", along.signals[0])):
            stored = ARRAYS.create(group, name, (1, *values.shape))
            stored[0] = values.astype(stored.dtype)
    everywhere = measure(shape, [lattice.reshape(1, -1, len(shape))], coils=coils)
    kspace = everywhere.signals[0].reshape(coils, *shape)
    write_cfl(folder / "cartesian", kspace.reshape(coils, *as_volume(shape)))
    return Scan(kspace, true_maps(shape, coils)[1])


def calibrated(folder, **settings):
    return calibrated_in(folder, dataset="phantom", threads=2, consistency=False, **settings)


def test_whitened_samples_have_the_same_products(tmp_path):
    """Roots of the inverse covariance differ by a rotation, and products of samples do not."""
    generator = np.random.default_rng(0)
    mixture = complex_normal(generator, (5, 5)) + 2 * np.eye(5)
    noise = mixture @ complex_normal(generator, (5, 300))
    samples = complex_normal(generator, (5, 20))
    write_cfl(tmp_path / "noise", noise.reshape(5, 1, 1, 300))
    write_cfl(tmp_path / "samples", samples.reshape(5, 1, 1, 20))
    bart(tmp_path, "whiten", "samples", "noise", "white")
    theirs = read_cfl(tmp_path / "white")
    covariance = noise_covariance(noise)
    ours = whitening_matrix(covariance, "scan") @ samples
    # Ours keep the size of the noise; BART's noise is one, of N - 1 samples where we have N.
    scale = np.trace(covariance).real / 5 * (300 - 1) / 300
    products = theirs.conj().T @ theirs
    np.testing.assert_allclose(
        ours.conj().T @ ours / scale * (299 / 300) ** 2,
        products,
        atol=1e-4 * np.abs(products).max(),
    )


def test_compressed_coils_hold_as_much(tmp_path):
    scan = measured(tmp_path, (48, 52), 61, 8)
    bart(tmp_path, "cc", "-p", 3, "-A", "-S", "cartesian", "compressed")
    whole = np.linalg.norm(scan.kspace) ** 2
    theirs = np.linalg.norm(read_cfl(tmp_path / "compressed")) ** 2 / whole
    mixing = calibrated(tmp_path, coil_maps="none", virtual_coils=3).mixing()
    ours = np.linalg.norm(np.tensordot(mixing, scan.kspace, axes=1)) ** 2 / whole
    assert mixing.shape == (3, 8)
    # BART's are the best for exactly these samples.
    assert theirs - 0.002 <= ours <= theirs + 1e-5


def test_coils_compressed_at_each_position_hold_as_much_and_more(tmp_path):
    """Than BART's, and than those of the whole image; so images have less of an error."""
    shape, coils, virtual = (44, 48), 8, 3
    cycles = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), axis=-1)
    k = 2 * np.pi * cycles / np.array(shape)
    kspace = measure(shape, [k], coils=coils, noise=0.001).signals[0]
    write_cfl(tmp_path / "cartesian", kspace.reshape(coils, *as_volume(shape)))
    bart(tmp_path, "cc", "-p", virtual, "-G", "-r", "48:24:1", "cartesian", "compressed")
    theirs = np.linalg.norm(read_cfl(tmp_path / "compressed")) ** 2 / np.linalg.norm(kspace) ** 2
    lines = np.unique([*range(0, 44, 2), *range(10, 34)])
    maps = true_maps(shape, coils)[0]
    with published_store(tmp_path / "raw.json") as group:
        write_attributes(group, shape, (1e-3, 1e-3))
        group.attrs["pattern"] = "cartesian"
        for name, values in (
            ("trajectory", k[None, lines]),
            ("kspace", kspace[None, :, lines]),
            ("sensitivities", maps.reshape(coils, 1, *shape)),
        ):
            stored = ARRAYS.create(group, name, values.shape)
            stored[...] = values.astype(stored.dtype)
    images, energies = {}, {}
    for how, count in (("svd", "all"), ("svd", virtual), ("geometric", virtual)):
        mixing = calibrated(tmp_path, virtual_coils=count, compression=how).mixing()
        images[how, count], _ = reconstructed(
            tmp_path, algorithm="cg-sense", iterations=30, residual=1e-4, weights="none",
            regularization=0.0,
        )  # fmt: skip
        if count == virtual:
            # Over the whole scan, of its images along the readouts.
            along = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=2)), axes=2)
            mixed = np.einsum("xvc,crx->vrx", np.broadcast_to(mixing, (48, virtual, coils)), along)
            energies[how] = np.linalg.norm(mixed) ** 2 / np.linalg.norm(along) ** 2
    assert theirs - 0.002 <= energies["geometric"] <= theirs + 0.002
    assert 1 - energies["geometric"] < 0.5 * (1 - energies["svd"])
    whole = images["svd", "all"]
    errors = {
        how: np.linalg.norm(images[how, virtual] - whole) / np.linalg.norm(whole)
        for how in ("svd", "geometric")
    }
    assert errors["geometric"] < 0.5 * errors["svd"]


@pytest.mark.parametrize(
    ("shape", "spokes", "coils", "width", "patch"),
    [((64, 60), 101, 8, 24, "6:6:1"), ((24, 22, 26), 500, 4, 16, "5:5:5")],
)
def test_maps_from_spokes_are_those_of_a_cartesian_scan(
    tmp_path, shape, spokes, coils, width, patch
):
    scan = measured(tmp_path, shape, spokes, coils)
    bart(tmp_path, "ecalib", "-m", 1, "-c", 0, "-k", patch, "-r", width, "cartesian", "maps")
    theirs = read_cfl(tmp_path / "maps")
    found = calibrated(tmp_path, calibration_width=width, density="radial").sensitivities()
    ours = found.reshape(theirs.shape)
    phase = np.exp(1j * np.angle(np.sum(ours.conj() * theirs, axis=0)))
    difference = (ours * phase - theirs)[:, scan.inside]
    assert np.linalg.norm(difference) <= 0.05 * np.linalg.norm(theirs[:, scan.inside])


def test_soft_maps_are_weighted_as_barts(tmp_path):
    measured(tmp_path, (48, 44), 61, 6)
    crop = 0.7
    made = ("-m", 1, "-S", "-c", crop, "-r", 20, "cartesian", "maps", "eigenvalues")
    bart(tmp_path, "ecalib", *made)
    eigenvalues = torch.from_numpy(read_cfl(tmp_path / "eigenvalues").real.copy())
    theirs = np.linalg.norm(read_cfl(tmp_path / "maps"), axis=0).ravel()
    assert theirs.min() < 0.01
    assert theirs.max() > 0.99
    np.testing.assert_allclose(trust(eigenvalues, crop, soft=True).ravel(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "delays", [(0.3, -0.1, 0.2), pytest.param((-0.4, 0.6, 0.05), marks=pytest.mark.slow)]
)
def test_crossings_tell_barts_delays(tmp_path, delays):
    size, spokes = 96, 31
    sizes = ("-r", "-x", size, "-y", spokes)
    bart(tmp_path, "traj", *sizes, "-q", ":".join(map(str, delays)), "-O", "fine")
    bart(tmp_path, "scale", 0.5, "fine", "true")
    bart(tmp_path, "traj", *sizes, "fine")
    bart(tmp_path, "scale", 0.5, "fine", "nominal")
    bart(tmp_path, "phantom", "-k", "-s", 6, "-t", "true", "kspace")
    bart(tmp_path, "estdelay", "-R", "-r", 5, "nominal", "kspace", "found")
    theirs = read_cfl(tmp_path / "found").real
    k = read_cfl(tmp_path / "nominal").real[..., 1::-1] * 2 * np.pi / (size / 2)
    shift = gradient_delays(k, read_cfl(tmp_path / "kspace"), (size // 2,) * 2).shift
    ours = (shift[0, 0], shift[1, 1], shift[0, 1])
    np.testing.assert_allclose(ours, theirs, atol=0.05)
    np.testing.assert_allclose(ours, delays, atol=0.01)
