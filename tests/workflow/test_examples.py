"""The worked examples on measured data, where KRONUFFT_DATA names the folder that holds it."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from exact import back_projection
from examples import Example

from pipeline.engine.budget import Budget
from pipeline.metrics.tables import read_table
from pipeline.rf.formats.gotcha import gotcha_files, read_gotcha
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT
from pipeline.storage.publish import open_published

BUDGET = Budget("scan", 600)

DATA = os.environ.get("KRONUFFT_DATA", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not DATA, reason="KRONUFFT_DATA does not name a folder with the measured data"
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns where each reconstruction of an example's datasets lies, by the example's name."""

    def results(name):
        example = Example(name, tmp_path_factory.mktemp(name), data_root=str(Path(DATA).resolve()))
        return {dataset: example.run(dataset, until="merge") for dataset in example.datasets}

    return results


def image(files):
    return np.abs(open_published(files.image)["image"][:])


def test_brain_agrees_with_the_images_that_came_with_it(tmp_path):
    example = Example("brain-radial", tmp_path, data_root=str(Path(DATA).resolve()))
    made = example.run("brain-radial", until="measure")
    for name, frame, least in (
        ("cg-sense", 5, 0.96),
        ("as-published", 5, 0.98),
        ("cg-sense-all", 0, 0.98),
    ):
        table = read_table(made[name].metrics)
        images = table[table["kind"] == "image"].set_index("frame")
        assert images.loc[frame, "correlation"] >= least


def test_brain_from_nothing_but_its_samples(tmp_path):
    """Maps from the centre of k-space, four virtual coils of five, spokes moved by their delays.

    The reference of 34 spokes is half noise, which only its own maps repeat: docs/calibration.md.
    """
    example = Example("brain-radial", tmp_path, data_root=str(Path(DATA).resolve()))
    made = example.run("brain-radial-espirit", until="measure")
    for name, frame, least in (("as-published", 5, 0.95), ("cg-sense-all", 0, 0.975)):
        table = read_table(made[name].metrics)
        images = table[table["kind"] == "image"].set_index("frame")
        assert images.loc[frame, "correlation"] >= least
    one, every = image(made["cg-sense"])[5], image(made["cg-sense-all"])[0]
    assert np.corrcoef(one.ravel(), every.ravel())[0, 1] >= 0.97


def test_lungs_stand_out_alike_on_both_matrices(run):
    made = run("lung-radial-3d")["lung-radial-3d"]
    coarse, fine = (image(made[name])[0] for name in ("gridding", "gridding-128"))
    assert (coarse.shape, fine.shape) == ((64, 64, 64), (128, 128, 128))
    # The same object at the same places: every second voxel of the finer matrix is the coarser.
    assert np.corrcoef(fine[::2, ::2, ::2].ravel(), coarse.ravel())[0, 1] > 0.95
    # The brightest voxels are the trachea and the main bronchi, near the middle of the chest.
    brightest = np.argwhere(coarse > 0.6 * coarse.max())
    assert (np.abs(brightest.mean(axis=0) - 32) < 10).all()


def test_a_sequence_gives_the_trajectory_that_the_file_has(run):
    """But for the first 5 us, in which the program of the file has its gradients jump."""
    made = run("spiral-mrd")
    stored, played = (
        open_published(made[name]["gridding"].raw)["trajectory"][:] * 220 / (2 * np.pi)
        for name in ("clean", "clean-by-sequence")
    )
    np.testing.assert_allclose(played, stored, atol=0.02)  # cycles per field of view, of 110


def test_spirals_look_like_the_images_of_their_laboratory(run):
    made = run("spiral-mrd")
    for dataset, name in (
        ("clean", "clean"), ("chemical-shift", "CS"), ("susceptibility", "Susc70Mhz"),
        ("clean-by-sequence", "clean"),
    ):  # fmt: skip
        with h5py.File(Path(DATA) / f"jemris-spiral/reco_spiralout_{name}_slc30.h5") as file:
            good = np.abs(file["images/image_1/data"][0, 0, 0])
        found = made[dataset]
        # Gridding is what the laboratory does; the other image is of means over voxels.
        for reconstruction, least in (("gridding", 0.98), ("cg-sense", 0.998)):
            magnitude = image(found[reconstruction])[0, 0]
            assert np.corrcoef(magnitude.ravel(), good.ravel())[0, 1] > least


def test_a_phantom_of_a_siemens_scanner_is_the_inverse_fft_of_its_file(run):
    twixtools = pytest.importorskip("twixtools")
    made = run("twix-gre")["gre"]
    scan = twixtools.read_twix(str(Path(DATA) / "twix/gre.dat"), parse_pmu=False, verbose=False)[-1]
    kspace = np.fft.ifftshift(np.stack([each.data for each in scan["mdb"]], 1), axes=(1, 2))
    coils = np.fft.fftshift(np.fft.ifft2(kspace), axes=(1, 2))[:, :, 80:240]
    good = np.linalg.norm(coils, axis=0)
    # The other is of means over voxels, and its noise is less.
    for name, least in (("gridding", 0.998), ("cg-sense", 0.99)):
        assert np.corrcoef(image(made[name])[0, 0].ravel(), good.ravel())[0, 1] > least


def test_all_three_species_of_xenon_show_two_lungs(run):
    made = run("xenon")["xenon"]
    found, published = image(made["gridding"]), image(made["as-published"])
    assert found.shape == published.shape == (3, 32, 32, 32)
    for one in (*found, *published):
        assert np.corrcoef(one.ravel(), found[0].ravel())[0, 1] > 0.9
        # From front to back, a gap between the lungs in the plane that cuts both.
        profile = one[10:24, :, 10:24].sum(axis=(0, 2))
        left, right = profile[:16].max(), profile[16:].max()
        assert profile[14:18].min() < 0.75 * min(left, right)


def test_wavelets_remove_what_an_eighth_of_cartesian_k_space_leaves(run):
    """Undersampling noise is what the image has beside the head, which fills most of it."""
    made = run("brain8-cartesian")["brain8-cartesian"]
    levels = {}
    for name in ("gridding", "cg-sense", "wavelet"):
        found = image(made[name])[0, 0]
        beside = np.concatenate([found[:, :15], found[:, -15:]], axis=1)
        levels[name] = np.sqrt(np.mean(beside**2)) / np.sqrt(np.mean(found**2))
        # Left and right, front and back: the head lies in the middle.
        centre = np.indices(found.shape).reshape(2, -1) @ (found**2).ravel() / np.sum(found**2)
        np.testing.assert_allclose(centre, [96, 96], atol=8)
    assert levels["wavelet"] < 0.5 * levels["cg-sense"]


def correlation(found, truth):
    return np.abs(np.vdot(found, truth)) / np.linalg.norm(found) / np.linalg.norm(truth)


@pytest.fixture(scope="module")
def parking_lot(run):
    return run("gotcha")["gotcha"]


def test_the_brightest_scatterer_of_the_parking_lot_is_the_trihedral(parking_lot):
    for name in ("matched-filter", "tikhonov", "sparse"):
        scene = image(parking_lot[name])[0, 0].T
        brightest = np.array(np.unravel_index(scene.argmax(), scene.shape))
        position = 0.2 * (brightest - 250)
        np.testing.assert_allclose(position, [-15.5, 21.5], atol=0.5)


def test_the_parking_lot_is_that_of_exact_back_projection(parking_lot):
    """By plane waves alone magnitudes correlate at 0.89, complex values at 0.2."""
    history = read_gotcha(gotcha_files(Path(DATA) / "gotcha"), "gotcha", BUDGET)
    patches = [(2, 2), (490, 6), (168, 354), (246, 246), (10, 484), (488, 490)]
    rows, columns = (
        (np.array(patches)[:, axis, None, None] + np.indices((8, 8))[axis]).ravel()
        for axis in (0, 1)
    )
    x, y = 0.2 * (rows - 250), 0.2 * (columns - 250)
    exact = back_projection(
        history.measurements[(slice(None), slice(None))],
        2 * np.pi * history.frequencies / SPEED_OF_LIGHT,
        history.paths.transmitter,
        np.stack([x, y, np.zeros_like(x)], axis=-1),
    )
    stored = open_published(parking_lot["matched-filter"].image)["image"]
    found = np.asarray(stored[0, 0])[columns, rows]
    assert correlation(found, exact) > 0.9999
    # The trihedral outshines the corners, 70 m away.
    for patch in range(len(patches)):
        part = slice(64 * patch, 64 * (patch + 1))
        assert correlation(found[part], exact[part]) > 0.999


def test_cylinders_stand_at_their_published_places(run):
    """A foam disk of 80 mm, and a denser cylinder of 31 mm that touches it at x = -55.5 mm."""
    results = run("fresnel")
    axis = 0.0025 * (np.arange(97) - 48)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    disk, cylinder = np.hypot(x, y), np.hypot(x + 0.0555, y)
    inside = (disk < 0.04) | (cylinder < 0.0155)
    outside = (disk > 0.052) & (cylinder > 0.0275)  # farther than the resolution
    for target in ("foam-twin", "foam-external"):
        contrast = {}
        for name in ("plain", "matched-filter", "total-variation"):
            found = image(results[target][name])[0, 0].T
            contrast[name] = np.mean(found[inside] ** 2) / np.mean(found[outside] ** 2)
            if name == "plain":
                continue
            # Left edge of the cylinder, right edge of the disk: neither turned nor mirrored.
            profile = np.sqrt(np.mean(found[:, 46:51] ** 2, axis=1))
            edges = axis[profile > 0.35 * profile.max()][[0, -1]]
            np.testing.assert_allclose(edges, [-0.071, 0.04], atol=0.0125)
            assert abs(np.sum(found**2 * y) / np.sum(found**2)) < 0.004
        assert contrast["total-variation"] > contrast["matched-filter"] > 1.5 * contrast["plain"]
        assert contrast["matched-filter"] > 12
    # Permittivity 3 stands out from 1.45.
    found = image(results["foam-external"]["total-variation"])[0, 0].T
    assert found[cylinder < 0.0155].mean() > 1.8 * found[disk < 0.035].mean()


def test_tumours_of_breast_phantoms_stand_at_their_places(run):
    results = run("breast")
    for name, tumour in (("b0-p3", (15, 0, 35)), ("b0-p5", (15, 0, 30))):
        stored = open_published(results[name]["delay-and-sum"].image)
        scene = np.abs(stored["image"][0])
        brightest = np.unravel_index(scene.argmax(), scene.shape)
        z, y, x = 1e3 * (np.array(stored.attrs["affine"]) @ [*brightest, 1])[:3]
        # mm; voxels are of 2.5, and the other tumour, which phases are taken from, is 5 mm away.
        assert np.linalg.norm(np.subtract((x, y, z), tumour)) < 3
