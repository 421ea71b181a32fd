import numpy as np
import pytest
from acquisitions import complex_normal
from mrd_files import header, readout, write_mrd

from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.config.transforms import NufftSettings
from pipeline.engine.budget import Budget
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.table import read_plan
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import whole
from pipeline.in_process import run
from pipeline.mri.formats import arrays as array_reader
from pipeline.mri.formats import mrd
from pipeline.mri.plan import ImaginedScan, models
from pipeline.mri.trajectories import wrapped
from pipeline.storage.publish import open_published

SCAN = ImaginedScan((12, 14), 8, 3, 5, 6, own_trajectory=False, slices=2)
MACHINE = Machine(False, 1, 8, NufftSettings(backend="finufft"))


@pytest.mark.parametrize("joined", [3, 8, "all"])
def test_frames_of_two_slices_are_not_joined(joined):
    settings = parse_algorithm({"algorithm": "gridding", "frames_per_image": joined})
    with pytest.raises(ConfigError, match="2 slices of 4 frames"):
        models(SCAN, None, settings, MACHINE, Rates.host(1), "who")


def test_frames_of_a_slice_are_joined():
    settings = parse_algorithm({"algorithm": "gridding", "frames_per_image": 2})
    (costs,), _ = models(SCAN, None, settings, MACHINE, Rates.host(1), "who")
    assert costs.readouts == 10


# Counted in the order of acquisition, which is not that of their places.
HEIGHTS = {0: 12.0, 1: 4.0, 2: 8.0}
SHAPE, COILS, REPETITIONS = (16, 18), 3, 2
SOLVER = {"weights": "none", "preconditioner": "none", "residual": 0, "iterations": 80,
          "regularization": 0.05}  # fmt: skip
CALIBRATION = {"calibration_width": 8, "coil_maps": "walsh", "consistency": False}


def multi_slice(path, heights=HEIGHTS, repetitions=REPETITIONS):
    """Write lines of slices in turns, of random images that are smooth."""
    generator = np.random.default_rng(2)
    taper = np.hanning(SHAPE[0] + 2)[1:-1, None] ** 4
    kspace = {
        slice_: complex_normal(generator, (repetitions, COILS, *SHAPE)) * taper
        for slice_ in heights
    }
    readouts = [
        readout(kspace[slice_][repetition, :, line], kspace_encode_step_1=line, slice=slice_,
                repetition=repetition, position=(0, 0, height))
        for repetition in range(repetitions)
        for line in range(SHAPE[0])
        for slice_, height in heights.items()
    ]  # fmt: skip
    xml = header((1, *SHAPE), fov=(3, *SHAPE), trajectory="cartesian")
    return write_mrd(path, xml, readouts), kspace


def run_slices(tmp_path, name, **source):
    config = load_config(
        {
            "data_root": str(tmp_path),
            "memory": {"block_images": 3},
            "compute": {"device": "cpu", "threads": 1},
            "output": {"ome_zarr": False, "nifti": False},
            "sources": {name: source},
            "calibration": CALIBRATION,
            "reconstructions": {"cg": {"algorithm": "cg-sense", **SOLVER}},
        }
    )
    row = Dataset(dataset=name, kind="mri", format="mrd", source="scan.h5", reconstructions=("cg",))
    files = run(config, row, "cg", tmp_path / "results", until="merge")
    maps = open_published(files.calibration)["sensitivities"][:]
    return files, maps, open_published(files.image)["image"][:]


def test_slices_lie_in_their_places_and_have_maps_of_their_own(tmp_path):
    multi_slice(tmp_path / "scan.h5")
    files, maps, images = run_slices(tmp_path, "all")
    raw = open_published(files.raw)
    assert raw.attrs["slices"] == 3
    affine = np.array(raw.attrs["affine"])
    np.testing.assert_allclose(affine[:3, 0], [4e-3, 0, 0], atol=1e-9)
    np.testing.assert_allclose((affine @ [0, 8, 9, 1])[0], 4e-3, atol=1e-9)
    # Blocks are of one slice each, though three images would fit into one.
    assert len(read_plan(files.plan).blocks) == 3
    assert maps.shape == (COILS, 3, *SHAPE)
    for place, number in enumerate((1, 2, 0)):
        one = {"select": {"slice": number}}
        _, own, expected = run_slices(tmp_path, f"only-{number}", readouts=one)
        np.testing.assert_allclose(maps[:, place], own[:, 0], atol=1e-5)
        found = images[place * REPETITIONS : (place + 1) * REPETITIONS]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(maps[:, 0] - maps[:, 1]).max() > 0.1


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ({0: 0, 1: 4, 2: 9}, r"steps of 4 to 5 mm"),
        ({0: 5, 1: 5}, r"not parallel, above each other"),
    ],
)
def test_slices_that_make_no_volume_are_told(tmp_path, heights, message):
    path, _ = multi_slice(tmp_path / "scan.h5", heights, 1)
    settings = IngestSettings(kind="mri", format="mrd", source=str(path), details=SourceSettings())
    with (
        pytest.raises(DataError, match=message),
        mrd.open_source(settings, "scan", Budget("scan", 600)),
    ):
        pass


def test_arrays_may_have_an_axis_of_slices(tmp_path):
    generator = np.random.default_rng(4)
    kspace = complex_normal(generator, (COILS, 3, 2, 5, 6))  # coil, slice, frame, readout, sample
    k = generator.uniform(-3, 3, (2, 5, 6, 2))  # of each frame, in all slices
    maps = complex_normal(generator, (COILS, 3, *SHAPE))
    np.savez(tmp_path / "scan.npz", kspace=kspace, k=k, maps=maps)
    arrays = {
        "kspace": {"name": "kspace", "axes": ["coil", "slice", "frame", "readout", "sample"]},
        "trajectory": {"name": "k", "axes": ["frame", "readout", "sample", "axis"]},
        "sensitivities": {"name": "maps", "axes": ["coil", "slice", "y", "x"]},
    }
    details = SourceSettings(shape=SHAPE, arrays=arrays)
    settings = IngestSettings(
        kind="mri", format="arrays", source=str(tmp_path / "scan.npz"), details=details
    )
    with array_reader.open_source(settings, "scan", Budget("scan", 600)) as found:
        assert found.slices == 3
        together = kspace.transpose(1, 2, 0, 3, 4).reshape(6, COILS, 5, 6)
        np.testing.assert_array_equal(whole(found.arrays["kspace"]), together)
        part = found.arrays["kspace"][slice(1, 4), slice(1, 3), slice(0, 2), slice(2, 5)]
        np.testing.assert_array_equal(part, together[1:4, 1:3, :2, 2:5])
        np.testing.assert_allclose(whole(found.arrays["trajectory"]), np.concatenate([k] * 3))
        np.testing.assert_array_equal(whole(found.arrays["sensitivities"]), maps)
    config = load_config(
        {
            "data_root": str(tmp_path),
            "compute": {"device": "cpu", "threads": 1, "precision": "double"},
            "output": {"ome_zarr": False, "nifti": False},
            "sources": {"scan": {"shape": SHAPE, "arrays": arrays}},
            "calibration": {"consistency": False, "density": "none"},
            "nufft": {"tolerance": 1e-6},
            "reconstructions": {"cg": {"algorithm": "cg-sense", **SOLVER}},
        }
    )  # fmt: skip
    row = Dataset(
        dataset="scan", kind="mri", format="arrays", source="scan.npz", reconstructions=("cg",)
    )
    files = run(config, row, "cg", tmp_path / "results", until="merge")
    images = open_published(files.image)["image"][:, 0]
    # The last frame of the last slice, by the dense problem with the maps of that slice.
    y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in SHAPE], indexing="ij")
    points = wrapped(k[1]).reshape(-1, 2).astype(np.float64)
    fourier = np.exp(-1j * points @ np.stack([y.ravel(), x.ravel()]))
    encoding = np.concatenate([fourier * one for one in maps[:, 2].reshape(COILS, -1)])
    system = encoding.conj().T @ encoding + 0.05 * 30 * np.eye(y.size)
    right = encoding.conj().T @ kspace[:, 2, 1].ravel()
    expected = np.linalg.solve(system, right).reshape(SHAPE)
    assert np.linalg.norm(images[5] - expected) < 1e-4 * np.linalg.norm(expected)
