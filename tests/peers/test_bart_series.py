"""Series and penalties against `pics`: the same data, maps and objective, both until converged.

BART's transform is ours divided by the square root of the number of voxels V, so its images are
ours times that, and its weights of penalties ours divided by it. Samples lie on the grid, others in
each frame: those that are zero are missing.
"""

import numpy as np
import pytest
from acquisitions import write_acquisition
from bart_commands import AVAILABLE, bart, read_cfl, write_cfl
from exact import dense_matrix, relative_error
from stage_runs import reconstructed

from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import fourier_transform, moving_ellipsoid, shepp_logan

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="neither bartorch nor bart is installed")

SHAPE, COILS, READOUTS, SAMPLES, FRAMES = (32, 32), 4, 46, 10, 5
VOXELS = 32 * 32
SERIES = {"series": {"basis": "frames"}, "weights": "none", "tolerance": 1e-6, "converged": 1e-6}


class Scan:
    """A body with a part that moves and grows, five times, by exact k-space with noise."""

    def __init__(self, folder, **arrays):
        array = coils_around(SHAPE, COILS)
        random = np.random.default_rng(4)
        self.folder, self.maps = folder, array.maps()
        self.maps /= np.linalg.norm(self.maps, axis=0)
        grid = np.stack(np.meshgrid(*[np.arange(-16, 16)] * 2, indexing="ij"), -1).reshape(-1, 2)
        near = np.exp(-np.linalg.norm(grid, axis=1) / 12)  # the centre is sampled more densely
        self.places = np.stack(
            [
                np.sort(random.choice(VOXELS, READOUTS * SAMPLES, False, near / near.sum()))
                for _ in range(FRAMES)
            ]
        )
        self.k = grid[self.places] * np.pi / 16
        self.y = np.stack(
            [
                fourier_transform(
                    (*shepp_logan(2), moving_ellipsoid(2, 0.5 * frame)),
                    SHAPE, k, array.shifts, array.coefficients,
                )
                for frame, k in enumerate(self.k)
            ]
        )  # fmt: skip
        self.y += random.normal(size=(*self.y.shape, 2)) @ [0.7, 0.7j]
        write_acquisition(
            folder, shape=SHAPE, coils=COILS, readouts=READOUTS, samples=SAMPLES, frames=FRAMES,
            trajectory=self.k.reshape(FRAMES, READOUTS, SAMPLES, 2),
            measured=self.y.reshape(FRAMES, COILS, READOUTS, SAMPLES),
            sensitivities=self.maps[:, None], **arrays,
        )  # fmt: skip

    def ours(self, **settings):
        """Return our images and the receipt."""
        images, receipt = reconstructed(self.folder, **settings)
        return images[:, 0], receipt

    def pics(self, *options, order=range(FRAMES)):
        """Return BART's images, or coefficients, of frames in some order, in our scaling."""
        kspace = np.zeros((len(order), COILS, VOXELS), complex)
        for row, frame in zip(kspace, order, strict=True):
            row[:, self.places[frame]] = self.y[frame]
        # Frames are dimension 5.
        write_cfl(self.folder / "kspace", kspace.reshape(len(order), 1, COILS, 1, *SHAPE))
        write_cfl(self.folder / "maps", self.maps[:, None])
        bart(self.folder, "pics", "-w", 1, *options, "kspace", "maps", "image")
        return read_cfl(self.folder / "image") / np.sqrt(VOXELS)

    def misfit(self, images):
        """Return half the sum of squares that images leave, in double precision."""
        total = 0.0
        for image, k, y in zip(images, self.k, self.y, strict=True):
            encoded = (self.maps * image).reshape(COILS, -1) @ dense_matrix(SHAPE, k.T).T
            total += 0.5 * np.sum(np.abs(encoded - y) ** 2)
        return total


def along_series(images):
    return np.abs(np.diff(images, axis=0)).sum()


def nuclear(images, edge=8):
    blocks = images.reshape(FRAMES, 32 // edge, edge, 32 // edge, edge).transpose(1, 3, 2, 4, 0)
    return np.linalg.svd(blocks.reshape(-1, edge**2, FRAMES), compute_uv=False).sum()


def assert_same(scan, ours, theirs, receipt, value):
    """Compare images, and what they cost: ours are no worse at the objective that both minimise."""
    assert relative_error(ours, theirs) <= 0.005
    of_ours, of_theirs = (scan.misfit(each) + value(each) for each in (ours, theirs))
    assert receipt["objective"][0] == pytest.approx(of_ours, rel=2e-3)
    assert of_ours <= 1.001 * of_theirs


def test_a_basis(tmp_path):
    random = np.random.default_rng(1)
    basis, _ = np.linalg.qr(random.normal(size=(FRAMES, 2)) + 1j * random.normal(size=(FRAMES, 2)))
    scan = Scan(tmp_path, basis=basis)
    weight = 0.02
    ours, _ = scan.ours(
        algorithm="cg-sense", regularization=weight, iterations=100, converged=1e-6,
        series={"basis": "source"}, weights="none",
    )  # fmt: skip
    write_cfl(tmp_path / "basis", basis.T[:, :, None, None, None, None, None])
    scaled = weight * FRAMES * READOUTS * SAMPLES / VOXELS
    found = scan.pics("-l2", "-r", scaled, "-i", 200, "-B", "basis")
    assert relative_error(np.tensordot(basis, found, 1), ours) <= 0.005


def test_total_variation_along_the_series(tmp_path):
    """BART joins the last frame to the first: frames to and fro have each difference twice."""
    scan = Scan(tmp_path)
    ours, receipt = scan.ours(
        algorithm="fista", penalty="tv", along="series", sparsity=0.01, iterations=400, **SERIES
    )
    (weight,) = receipt["weight"]
    to_and_fro = [*range(FRAMES), *reversed(range(FRAMES))]
    scaled = weight / np.sqrt(VOXELS)
    theirs = scan.pics("-R", f"T:32:0:{scaled}", "-i", 200, "-u", 1, order=to_and_fro)[:FRAMES]
    assert_same(scan, ours, theirs, receipt, lambda x: weight * along_series(x))


def test_locally_low_rank(tmp_path):
    scan = Scan(tmp_path)
    ours, receipt = scan.ours(
        algorithm="admm", penalty="llr", sparsity=0.02, iterations=200, **SERIES
    )
    (weight,) = receipt["weight"]
    voxels, blocks = 64, VOXELS // 64
    edge = np.sqrt(voxels) + np.sqrt(FRAMES) + np.sqrt(np.log(blocks * min(voxels, FRAMES)))
    scaled = weight / np.sqrt(VOXELS) / edge
    theirs = scan.pics("-n", "-b", 8, "-m", "-u", 1, "-R", f"L:3:3:{scaled}", "-i", 200)
    assert_same(scan, ours, theirs, receipt, lambda x: weight * nuclear(x))


@pytest.mark.slow
def test_two_penalties(tmp_path):
    scan = Scan(tmp_path)
    terms = [
        {"penalty": "l1", "sparsity": 0.01},
        {"penalty": "tv", "along": "series", "sparsity": 0.01},
    ]
    ours, receipt = scan.ours(algorithm="admm", penalties=terms, iterations=200, **SERIES)
    (unit,) = receipt["weight"]
    weight = 0.01 * unit
    scaled = weight / np.sqrt(VOXELS)
    to_and_fro = [*range(FRAMES), *reversed(range(FRAMES))]
    options = ("-R", f"I:0:{scaled}", "-R", f"T:32:0:{scaled}", "-i", 200, "-u", 1)
    theirs = scan.pics(*options, order=to_and_fro)[:FRAMES]

    def value(images):
        return weight * (np.abs(images).sum() + along_series(images))

    assert_same(scan, ours, theirs, receipt, value)


@pytest.mark.slow
def test_total_generalised_variation(tmp_path):
    """Images one by one; BART joins their borders, which tells most in the voxels beside them."""
    scan = Scan(tmp_path)
    ours, receipt = scan.ours(
        algorithm="primal-dual", penalty="tgv", sparsity=0.005, iterations=600, **SERIES
    )
    scaled = receipt["weight"][0] / np.sqrt(VOXELS)
    theirs = scan.pics("-R", f"G:3:0:{scaled}", "--alpha", "1:2", "-i", 400, "-u", 1)
    assert relative_error(ours, theirs) <= 0.02
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert relative_error(ours[inside], theirs[inside]) <= 0.01
