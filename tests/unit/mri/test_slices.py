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
from pipeline.mri.formats import mrd
from pipeline.mri.plan import ImaginedScan, models
from pipeline.run import run
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
            "reconstructions": {"cg": {"algorithm": "cg-sense", "weights": "none"}},
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
