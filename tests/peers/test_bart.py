"""The whole chain against the Berkeley Advanced Reconstruction Toolbox, where it is installed.

BART makes the phantom, the trajectory, the multi-coil k-space (in closed form) and the coil maps,
and reconstructs them with `pics`; we ingest the same files. Both minimise

    1/2 sum_c |A S_c x - y_c|^2 + lambda/2 |x|^2

but BART's transform is ours divided by the square root of the number of voxels V. Its lambda is
therefore ours, which is relative to the M samples, times M / V, and its image is ours times the
square root of V. `pics -w 1` keeps it from scaling the data by an estimate of its own.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from bart_commands import AVAILABLE, BEFORE_1, THREADS, bart, read_cfl, write_cfl

from pipeline.config.datasets import Dataset
from pipeline.config.file import Config, load_config
from pipeline.in_process import run
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, shepp_logan
from pipeline.mri.generators.winding import spiral
from pipeline.operators.nufft import NUFFT
from pipeline.storage.publish import open_published

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="neither bartorch nor bart is installed")

RECONSTRUCTION = "cg-sense"


class Scan(NamedTuple):
    """An acquisition in BART's files `kspace`, `trajectory` and `maps`."""

    folder: Path
    shape: tuple[int, ...]
    samples: int

    @property
    def voxels(self) -> int:
        return int(np.prod(self.shape))


def make_scan(folder: Path, *, size: int, axes: int, spokes: int, coils: int) -> Scan:
    """Measure the Shepp-Logan phantom along spokes, twice as densely as the field of view asks."""
    dimensions = ("-3",) if axes == 3 else ()
    bart(folder, "traj", *dimensions, "-r", "-x", 2 * size, "-y", spokes, "fine")
    bart(folder, "scale", 0.5, "fine", "trajectory")
    return measured_scan(folder, size=size, axes=axes, coils=coils, samples=2 * size * spokes)


def measured_scan(folder: Path, *, size: int, axes: int, coils: int, samples: int) -> Scan:
    """Measure the phantom along the `trajectory` of a folder."""
    dimensions = ("-3",) if axes == 3 else ()
    bart(folder, "phantom", *dimensions, "-k", "-s", coils, "-t", "trajectory", "kspace")
    bart(folder, "phantom", *dimensions, "-S", coils, "-x", size, "unscaled")
    # As BART makes them, their root sum of squares is about 1e5.
    bart(folder, "normalize", 8, "unscaled", "maps")
    return Scan(folder, (size,) * axes, samples)


def reconstructed_by_bart(scan: Scan, *, regularization: float, iterations: int) -> np.ndarray:
    """Return BART's image in our scaling."""
    weight = regularization * scan.samples / scan.voxels
    options = ("-l2", "-r", weight, "-i", iterations, "-w", 1, "-t", "trajectory")
    bart(scan.folder, "pics", *options, "kspace", "maps", "image")
    return read_cfl(scan.folder / "image") / np.sqrt(scan.voxels)


def reconstructed_by_us(scan: Scan, *, regularization: float, iterations: int) -> np.ndarray:
    """Run every stage from ingest to merge and return the image."""
    config, dataset = settings_of(scan, regularization=regularization, iterations=iterations)
    files = run(config, dataset, RECONSTRUCTION, scan.folder / "results", until="merge")
    for receipt in files.folder.glob("receipts/reconstruct-*.json"):
        # Iterates of both would agree at any iteration; converged they are the minimum.
        assert json.loads(receipt.read_text())["residuals"][0][-1] < 5e-3
    return np.asarray(open_published(files.image)["image"][0]).reshape(scan.shape)


def settings_of(scan: Scan, *, regularization: float, iterations: int) -> tuple[Config, Dataset]:
    config = load_config(
        {
            "data_root": str(scan.folder),
            "compute": {"device": "cpu", "threads": THREADS},
            "output": {"ome_zarr": False, "nifti": False},
            "sources": {
                "phantom": {
                    "shape": list(scan.shape),
                    "bart": {
                        "kspace": "kspace",
                        "trajectory": "trajectory",
                        "sensitivities": "maps",
                    },
                }
            },
            "reconstructions": {
                RECONSTRUCTION: {
                    "algorithm": "cg-sense",
                    "weights": "none",
                    "regularization": regularization,
                    "iterations": iterations,
                }
            },
        }
    )
    dataset = Dataset(
        dataset="phantom",
        kind="mri",
        format="bart",
        source=".",
        reconstructions=(RECONSTRUCTION,),
    )
    return config, dataset


def assert_same_image(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 0.01) -> None:
    """Allow one complex factor, which has to be near one, and so much beyond it."""
    assert ours.shape == theirs.shape
    factor = np.vdot(ours, theirs) / np.vdot(ours, ours)
    error = np.linalg.norm(theirs - factor * ours) / np.linalg.norm(theirs)
    assert error <= tolerance
    assert abs(factor - 1) <= 0.01


def test_transform_is_barts_exact_sum(tmp_path):
    size, spokes = 24, 7
    bart(tmp_path, "phantom", "-x", size, "real")
    bart(tmp_path, "scale", "0.8+0.6i", "real", "image")
    bart(tmp_path, "traj", "-r", "-x", size, "-y", spokes, "trajectory")
    bart(tmp_path, "nufft", "-s", "trajectory", "image", "kspace")  # -s: the sum, unscaled
    image, kspace = read_cfl(tmp_path / "image"), read_cfl(tmp_path / "kspace")
    # BART's component 0 is its dimension 0, our last axis.
    cycles = read_cfl(tmp_path / "trajectory").real.reshape(-1, 3)[:, 1::-1]
    trajectory = torch.from_numpy(np.ascontiguousarray(cycles.T) * 2 * np.pi / size)
    found = NUFFT(image.shape, trajectory, tolerance=1e-5)(torch.from_numpy(image))
    expected = torch.from_numpy(kspace.reshape(-1))
    if float(found.norm() / expected.norm()) > 2:  # since BART 1.0 the sum is scaled after all
        expected *= float(np.sqrt(image.size))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_radial_2d(tmp_path):
    scan = make_scan(tmp_path, size=128, axes=2, spokes=48, coils=8)
    how = {"regularization": 0.02, "iterations": 100}
    assert_same_image(reconstructed_by_us(scan, **how), reconstructed_by_bart(scan, **how))


def test_spiral_2d(tmp_path):
    size, arms, samples = 64, 12, 700
    k = spiral(arms, samples) * size / (2 * np.pi)
    components = np.zeros((arms, samples, 3))
    components[..., :2] = k[..., ::-1]
    write_cfl(tmp_path / "trajectory", components)
    scan = measured_scan(tmp_path, size=size, axes=2, coils=6, samples=arms * samples)
    how = {"regularization": 0.02, "iterations": 100}
    assert_same_image(reconstructed_by_us(scan, **how), reconstructed_by_bart(scan, **how))


@pytest.mark.parametrize("shape", [(30, 24), (21, 16), (15, 27)], ids=str)
def test_cartesian_2d(tmp_path, shape):
    """Random samples: each has one minimum, which both find. `pics` takes what is zero as missing.

    Before BART 1.0, `pics` centred its transform by the same phases on maps and samples: right, but
    for a constant factor, where they are 1 and -1. Along an axis of odd size those of the samples
    have the wrong sign, so that samples lie a voxel beside the maps: here they are moved back.
    """
    generator, coils = np.random.default_rng(5), 4
    drawn = generator.standard_normal((2, coils, *shape))
    kspace = (drawn[0] + 1j * drawn[1]) * (generator.uniform(size=shape) < 0.6)
    y, x = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    maps = np.stack([np.exp(1j * (1 + n) * x - 1j * n * y) / (1 + n * x**2) for n in range(coils)])
    maps /= np.linalg.norm(maps, axis=0)
    np.save(tmp_path / "kspace.npy", kspace.astype(np.complex64))
    np.save(tmp_path / "maps.npy", maps.astype(np.complex64))
    shifted = kspace
    for axis, size in enumerate(shape):
        if size % 2 and BEFORE_1:
            turns = np.exp(2j * np.pi * np.arange(size) / size)
            shifted = shifted * np.expand_dims(turns, 1 - axis)
    write_cfl(tmp_path / "kspace", shifted[:, None])
    write_cfl(tmp_path / "maps", maps[:, None])
    regularization, samples = 0.05, np.count_nonzero(kspace[0])
    bart(tmp_path, "pics", "-l2", "-r", regularization * samples / kspace[0].size, "-i", 100,
         "-w", 1, "kspace", "maps", "image")  # fmt: skip
    theirs = read_cfl(tmp_path / "image") / np.sqrt(kspace[0].size)

    scan = Scan(tmp_path, shape, samples)
    config, dataset = settings_of(scan, regularization=regularization, iterations=100)
    source = {
        "trajectory": {"kind": "cartesian"},
        "arrays": {
            name: {"file": f"{stored}.npy", "axes": ["coil", "y", "x"]}
            for name, stored in (("kspace", "kspace"), ("sensitivities", "maps"))
        },
    }
    config = load_config({**config.model_dump(mode="json"), "sources": {"phantom": source}})
    dataset = dataset.model_copy(update={"format": "arrays"})
    files = run(config, dataset, RECONSTRUCTION, tmp_path / "results", until="merge")
    ours = np.asarray(open_published(files.image)["image"][0]).reshape(shape)
    factor = np.vdot(ours, theirs) / np.vdot(ours, ours)
    assert abs(abs(factor) - 1) <= 1e-3
    assert np.linalg.norm(theirs - factor * ours) <= 1e-3 * np.linalg.norm(theirs)


def test_two_sets_of_maps_unfold_what_a_small_field_of_view_folds(tmp_path):
    """Every second line of an object that is half as large again as the field of view.

    The truth is the root sum of squares of all lines: it does not depend on how sets share a voxel.
    """
    object_shape, shape, coils = (66, 50), (44, 50), 8
    lines = [2 * np.pi * (np.arange(size) - size // 2) / size for size in shape]
    k = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    array = coils_around(object_shape, coils)
    signal = fourier_transform(shepp_logan(2), object_shape, k, array.shifts, array.coefficients)
    every = signal.reshape(coils, *shape)
    draw = np.random.default_rng(0).standard_normal((2, *every.shape))
    every = every + 0.002 * np.sqrt(np.mean(np.abs(every) ** 2)) * (draw[0] + 1j * draw[1])
    shifted = np.fft.ifft2(np.fft.ifftshift(every, axes=(1, 2)))
    truth = np.linalg.norm(np.fft.fftshift(shifted, axes=(1, 2)), axis=0)
    measured = np.zeros(shape)
    measured[::2] = 1
    measured[10:34] = 1
    kspace = every * measured
    np.save(tmp_path / "kspace.npy", kspace.astype(np.complex64))
    write_cfl(tmp_path / "kspace", kspace[:, None])
    weight = 0.001
    bart(tmp_path, "ecalib", "-m", 2, "-c", 0.8, "-k", "6:6:1", "-r", 24, "kspace", "maps")
    bart(tmp_path, "pics", "-l2", "-r", weight * measured.mean(), "-i", 60, "-w", 1,
         "kspace", "maps", "image")  # fmt: skip
    images = {"bart": np.linalg.norm(read_cfl(tmp_path / "image"), axis=0) / np.sqrt(truth.size)}
    scan = Scan(tmp_path, shape, 0)
    config, dataset = settings_of(scan, regularization=weight, iterations=60)
    content = config.model_dump(mode="json")
    content["sources"] = {
        "phantom": {
            "trajectory": {"kind": "cartesian"},
            "arrays": {"kspace": {"file": "kspace.npy", "axes": ["coil", "y", "x"]}},
        }
    }
    dataset = dataset.model_copy(update={"format": "arrays"})
    for sets in (1, 2, "BART's maps"):
        if sets in (1, 2):
            content["calibration"]["espirit"] |= {"sets": sets, "crop": 0.8}
        else:
            np.save(tmp_path / "maps.npy", read_cfl(tmp_path / "maps"))
            maps = {"file": "maps.npy", "axes": ["set", "coil", "y", "x"]}
            content["sources"]["phantom"]["arrays"]["sensitivities"] = maps
        results = tmp_path / f"results-{sets}"
        files = run(load_config(content), dataset, RECONSTRUCTION, results, until="merge")
        images[sets] = np.abs(open_published(files.image)["image"][0, 0])
    errors = {name: np.linalg.norm(image - truth) for name, image in images.items()}
    errors = {name: error / np.linalg.norm(truth) for name, error in errors.items()}
    assert errors[2] <= min(0.06, 1.1 * errors["bart"])
    assert errors[2] < 0.3 * errors[1]
    for name, tolerance in ((2, 0.05), ("BART's maps", 0.005)):
        difference = np.linalg.norm(images[name] - images["bart"])
        assert difference <= tolerance * np.linalg.norm(images["bart"])


@pytest.mark.slow
def test_kooshball_3d(tmp_path):
    scan = make_scan(tmp_path, size=40, axes=3, spokes=400, coils=7)
    how = {"regularization": 10.0, "iterations": 20}
    ours, theirs = reconstructed_by_us(scan, **how), reconstructed_by_bart(scan, **how)
    assert_same_image(ours, theirs, tolerance=0.02)
