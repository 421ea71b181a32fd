"""A planar near-field scan, row by row: positions of Tx and Rx, exact sums, the same points."""

import numpy as np
import pytest
from acquisitions import config_of, dataset_in
from scipy.io import savemat
from stage_runs import files_in

from pipeline.config.sources import IngestSettings
from pipeline.in_process import run
from pipeline.rf.raw import RfRawData
from pipeline.stages.ingest import ingest
from pipeline.storage.publish import open_published

FREQUENCIES = np.linspace(26e9, 34e9, 10)
POINTS = np.array([[0.01, -0.02, 0.30], [-0.03, 0.01, 0.33]])
AMPLITUDES = np.array([1.0, -0.8j])
MAPPING = {
    "y": {"name": "y", "axes": ["freq", "pulse", "pulse"]},
    "frequencies": {"name": "f", "axes": ["1", "freq"]},
    "transmitter": {"name": "tx", "axes": ["coordinate", "pulse", "pulse"]},
    "receiver": {"name": "rx", "axes": ["coordinate", "pulse", "pulse"]},
}
SCENE = {"shape": [18, 14, 10], "spacing": [0.005, 0.005, 0.01], "origin": [0, 0, 0.32]}


@pytest.fixture
def scan(tmp_path):
    """Antennas 2 cm apart that move over 20 x 16 places; return the folder."""
    x, y = (np.arange(20) - 9.5) * 0.012, (np.arange(16) - 7.5) * 0.012
    middle = np.stack(np.meshgrid(x, y, [0.0], indexing="ij"), axis=-1)[:, :, 0]
    apart = np.array([0.01, 0, 0])
    tx, rx = middle - apart, middle + apart
    ways = sum(np.linalg.norm(site[..., None, :] - POINTS, axis=-1) for site in (tx, rx))
    k = 2 * np.pi * FREQUENCIES / 299_792_458.0
    data = np.exp(-1j * k[:, None, None, None] * ways) @ AMPLITUDES
    savemat(
        tmp_path / "scan.mat",
        {"y": data, "f": FREQUENCIES, "tx": np.moveaxis(tx, -1, 0), "rx": np.moveaxis(rx, -1, 0)},
    )
    details = {"scene": SCENE, "arrays": MAPPING}
    source = str(tmp_path / "scan.mat")
    ingest(
        settings=IngestSettings.model_validate(
            {"kind": "rf", "format": "arrays", "source": source, "details": details}
        ),
        dataset="scan",
        raw=tmp_path / "raw.json",
        receipt=tmp_path / "ingest.json",
    )
    raw = RfRawData.open(tmp_path / "raw.json")
    np.testing.assert_allclose(
        raw.pulse_measurements(0, slice(30, 50)), data.reshape(10, -1).T[30:50], rtol=1e-5
    )
    np.testing.assert_allclose(raw.paths(0).receiver, rx.reshape(-1, 3))
    return tmp_path


@pytest.mark.parametrize("algorithm", ["matched-filter", "fista"])
def test_points_of_a_planar_scan(scan, algorithm):
    settings = {"sparsity": 0.1, "iterations": 20} if algorithm == "fista" else {}
    run(
        config_of(algorithm=algorithm, **settings), dataset_in(scan, "rf"), "test", scan.parent,
        first="calibrate", until="merge",
    )  # fmt: skip
    stored = open_published(files_in(scan).image)
    image = np.abs(stored["image"][0])
    for point, amplitude in zip(POINTS, AMPLITUDES, strict=True):
        brightest = np.unravel_index(image.argmax(), image.shape)
        place = (np.array(stored.attrs["affine"]) @ [*brightest, 1])[2::-1]
        np.testing.assert_allclose(place, point, atol=1e-9)
        assert image[brightest] == pytest.approx(abs(amplitude), abs=0.25)
        image[tuple(slice(max(0, at - 2), at + 3) for at in brightest)] = 0
