import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.config.base import canonical_json, load_yaml, parse_settings
from pipeline.config.datasets import load_datasets, stage_settings
from pipeline.config.file import load_config
from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.errors import DataError
from pipeline.mri.formats.acquisition import MriAcquisition
from pipeline.mri.generators.radial import golden_radial
from pipeline.mri.ingest import _times
from pipeline.mri.raw import RawData
from pipeline.stages.ingest import ingest

SHAPE = (10, 12)
AXES = {
    "kspace": ["frame", "coil", "readout", "sample"],
    "trajectory": ["frame", "readout", "sample", "axis"],
    "weights": ["readout", "sample"],
    "noise": ["coil", "sample"],
    "sensitivities": ["coil", "y", "x"],
    "reference": ["frame", "y", "x"],
}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(10)

    def random(*shape):
        return rng.standard_normal((*shape, 2)).view(np.complex128)[..., 0]

    return {
        "kspace": random(3, 2, 5, 8),
        "trajectory": np.stack([golden_radial(5, 8, frame=frame) for frame in range(3)]),
        "weights": rng.uniform(0, 1, (5, 8)),
        "noise": random(2, 100),
        "sensitivities": random(2, *SHAPE),
        "reference": random(3, *SHAPE),
    }


class Ingested:
    """Runs ingest on arrays in an HDF5 file."""

    def __init__(self, folder):
        self.folder = folder
        self.marker = folder / "results" / "raw.json"
        self.receipt = folder / "results" / "receipts" / "ingest.json"

    def __call__(self, arrays, trajectory=None, **details):
        with h5py.File(self.folder / "scan.h5", "w") as file:
            for name, values in arrays.items():
                file[name] = values
        mapping = {name: {"name": name, "axes": AXES[name]} for name in arrays}
        mapping["trajectory"].update(trajectory or {})
        settings = IngestSettings(
            kind="mri",
            format="arrays",
            source=str(self.folder / "scan.h5"),
            details={"shape": SHAPE, **details, "arrays": mapping},
        )
        ingest(settings=settings, dataset="scan", raw=self.marker, receipt=self.receipt)
        return RawData.open(self.marker)


@pytest.fixture
def ingested(tmp_path):
    return Ingested(tmp_path)


def test_everything_arrives(ingested, arrays):
    raw = ingested(arrays, voxel_size=(2e-3, 1e-3))
    assert (raw.frames, raw.coils, raw.readouts, raw.samples) == (3, 2, 5, 8)
    assert raw.shape == SHAPE
    assert raw.voxel_size == (2e-3, 1e-3)
    assert raw.own_trajectory
    for frame in range(3):
        np.testing.assert_allclose(raw.kspace(frame), arrays["kspace"][frame], rtol=1e-6)
        np.testing.assert_allclose(raw.trajectory(frame), arrays["trajectory"][frame], rtol=1e-6)
        np.testing.assert_allclose(raw.weights(frame), arrays["weights"], rtol=1e-6)
    np.testing.assert_allclose(raw.noise(), arrays["noise"], rtol=1e-6)
    np.testing.assert_allclose(raw.sensitivities()[:, 0], arrays["sensitivities"], rtol=1e-6)
    np.testing.assert_allclose(raw.reference()[:, 0], arrays["reference"], rtol=1e-6)
    receipt = json.loads(ingested.receipt.read_text())
    assert receipt["phases"]["read"]["bytes"] > receipt["phases"]["write"]["bytes"] > 0
    assert receipt["arrays"]["kspace"] == [3, 2, 5, 8]


def test_reference_that_frames_share(ingested, arrays):
    raw = ingested({**arrays, "reference": arrays["reference"][:1]})
    np.testing.assert_allclose(
        raw.reference(slice(1, 3))[:, 0], arrays["reference"][[0, 0]], rtol=1e-6
    )


def test_edges_are_wrapped(ingested, arrays):
    k = arrays["trajectory"] / (2 * np.pi)
    k[0, 0, 0], k[1, 2, 3] = (0.5, -0.5), (0.5 * (1 + 1e-7), -0.5 * (1 + 1e-7))
    raw = ingested({**arrays, "trajectory": k}, trajectory={"units": "cycles_per_voxel"})
    np.testing.assert_allclose(raw.trajectory(0)[0, 0], [-np.pi, -np.pi], rtol=1e-6)
    np.testing.assert_allclose(raw.trajectory(1)[2, 3], [-np.pi, np.pi], rtol=1e-6)
    every = np.stack([raw.trajectory(frame) for frame in range(3)])
    assert every.min() >= np.float32(-np.pi)
    assert every.max() < np.float32(np.pi)


def with_value(values, index, value):
    changed = values.copy()
    changed[index] = value
    return changed


def with_nan(name, index, value=np.nan):
    return lambda arrays: {name: with_value(arrays[name], index, value)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"kspace": a["kspace"][0]}, "kspace: stored with 3 axes"),
        (lambda a: {"kspace": a["kspace"][:0]}, r"kspace is empty: shape \(0, 2, 5, 8\)"),
        (
            lambda a: {"trajectory": a["trajectory"][:, :4]},
            r"trajectory, of shape \(3, 4, 8, 2\).* has 4 along `readout`, but kspace, of shape "
            r"\(3, 2, 5, 8\), has 5",
        ),
        (
            lambda a: {"trajectory": a["trajectory"][:2]},
            "has 2 along `frame`, but kspace.* has 3",
        ),
        (
            lambda a: {"sensitivities": a["sensitivities"][:1]},
            r"sensitivities, of shape \(1, 1, 10, 12\).* has 1 along `coil`, but kspace.* has 2",
        ),
        (
            lambda a: {"sensitivities": a["sensitivities"][:, 1:]},
            r"sensitivities.* has 9 along `y`, but the image matrix is \(10, 12\)",
        ),
        (lambda a: {"weights": a["weights"] - 1}, "weights reach -0.*none below 0"),
        (lambda a: {"weights": a["weights"] + 1j}, "weights holds complex numbers"),
        (lambda a: {"kspace": 0 * a["kspace"]}, "kspace is zero throughout"),
        (lambda a: {"trajectory": 0 * a["trajectory"]}, "trajectory is zero throughout"),
        (
            with_nan("kspace", (1, 0, 4, 2)),
            "kspace has NaN at frame 1, coil 0, readout 4, sample 2",
        ),
        (
            with_nan("kspace", (2, 1, 0, 3), 1e300),
            r"kspace has infinity \(in single precision\) at frame 2, coil 1",
        ),
        (
            with_nan("trajectory", (2, 3, 1, 0), np.inf),
            "trajectory has infinity.* at frame 2, readout 3, sample 1, axis 0",
        ),
        (with_nan("sensitivities", (1, 3, 4)), "sensitivities has NaN at coil 1, z 0, y 3, x 4"),
    ],
)
def test_bad_data_is_turned_away(ingested, arrays, change, message):
    with pytest.raises(DataError, match=rf"^scan: .*{message}"):
        ingested({**arrays, **change(arrays)})
    left = [path for path in ingested.folder.rglob("*") if path.is_file()]
    assert left == [ingested.folder / "scan.h5"]  # nothing half-written


@pytest.mark.parametrize(
    ("factor", "units", "message"),
    [
        (1 / (2 * np.pi), "rad_per_voxel", "trajectory.units: cycles_per_voxel"),
        (np.array(SHAPE) / (2 * np.pi), "rad_per_voxel", "trajectory.units: cycles_per_fov"),
        (1 / 2e-3, "rad_per_voxel", "trajectory.units: rad_per_m"),
        (1 / (2e-3 * 2 * np.pi), "rad_per_voxel", "trajectory.units: cycles_per_m"),
        (180 / np.pi, "rad_per_voxel", "looks like degrees"),
        (1.0, "cycles_per_voxel", "trajectory.units: rad_per_voxel"),
        (1.0, "cycles_per_fov", None),
        (1e-30, "rad_per_voxel", "not half a cycle across the image. It looks like none"),
        (1.5, "rad_per_voxel", r"4\.71239 rad/voxel, outside \[-pi, pi\)"),
        (
            2 * np.array(SHAPE) / (2 * np.pi), "cycles_per_fov",
            r"none of the units.*a matrix of \(20, 24\) over the same field",
        ),
    ],
)  # fmt: skip
def test_units_are_suspected(ingested, arrays, factor, units, message):
    changed = {**arrays, "trajectory": arrays["trajectory"] * factor}
    details = {"trajectory": {"units": units}, "voxel_size": (2e-3, 2e-3)}
    if message is None:
        ingested(changed, **details)
        return
    with pytest.raises(DataError, match=rf"^scan: trajectory reaches .*{message}"):
        ingested(changed, **details)
    assert not ingested.marker.exists()


def test_flat_maps_are_not_those_of_a_volume(ingested, arrays):
    rng = np.random.default_rng(11)
    volume = {**arrays, "trajectory": rng.uniform(-3, 3, (3, 5, 8, 3))}
    del volume["reference"]
    with pytest.raises(DataError, match=r"sensitivities.* has 1 along `z`.* \(4, 10, 12\)"):
        ingested(volume, shape=(4, *SHAPE))


def test_a_time_of_zero_goes_before_what_the_source_says():
    source = MriAcquisition(SHAPE, (1e-3, 1e-3), {}, {}, first_sample_time=2e-3, dwell_time=1e-5)
    assert _times(source, SourceSettings()) == {"first_sample_time": 2e-3, "dwell_time": 1e-5}
    assert _times(source, SourceSettings(first_sample_time=0)) == {"dwell_time": 1e-5}


def test_failure_leaves_the_earlier_result(ingested, arrays):
    ingested(arrays)
    with pytest.raises(DataError):
        ingested({**arrays, "kspace": arrays["kspace"] * np.nan})
    np.testing.assert_allclose(
        RawData.open(ingested.marker).kspace(0), arrays["kspace"][0], rtol=1e-6
    )


def test_result_is_a_source(ingested, arrays, tmp_path):
    first = ingested(arrays)
    again = tmp_path / "again" / "raw.json"
    ingest(
        settings=IngestSettings(
            kind="mri", format="native", source=str(ingested.marker), details={}
        ),
        dataset="again",
        raw=again,
        receipt=tmp_path / "again" / "ingest.json",
    )
    second = RawData.open(again)
    np.testing.assert_array_equal(second.kspace(2), first.kspace(2))
    np.testing.assert_array_equal(second.trajectory(2), first.trajectory(2))
    np.testing.assert_array_equal(second.affine, first.affine)


MEASURE = """
import sys
from pathlib import Path
from pipeline.config.base import parse_settings
from pipeline.config.sources import IngestSettings
from pipeline.stages.ingest import ingest
out = Path(sys.argv[2])
ingest(settings=parse_settings(IngestSettings, sys.argv[1]), dataset="scan",
       raw=out / "raw.json", receipt=out / "ingest.json")
# Not ru_maxrss: that begins with the memory of the process that started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(1024 * int(status["VmHWM"].split()[0]))
"""


def peak_bytes(folder, details):
    """Return the peak memory of a process that ingests a simulation."""
    settings = IngestSettings(
        kind="mri", format="simulation", source="shepp-logan", details=details
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, canonical_json(settings), str(folder)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak memory")
def test_memory_does_not_grow_with_what_is_simulated(tmp_path):
    peaks = []
    for frames in (2, 6):  # 64 and 192 MiB of k-space
        simulation = {
            "trajectory": "golden-radial", "readouts": 512, "samples": 512,
            "coils": 8, "frames": frames, "snr_db": 20.0,
        }  # fmt: skip
        peaks.append(
            peak_bytes(tmp_path / str(frames), {"shape": (64, 64), "simulation": simulation})
        )
    # Less than what is longer: tiles are larger by then, and as large as they get.
    assert peaks[1] < peaks[0] + 80 * 2**20, [peak // 2**20 for peak in peaks]
    assert peaks[1] < 500 * 2**20


EXAMPLES = {"brain-radial": (10, 5, 34, 512), "lung-radial-3d": (1, 1, 4601, 45)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples(name, tmp_path):
    """On the measured data themselves, which are in the folder that KRONUFFT_DATA names."""
    data_root = Path(os.environ.get("KRONUFFT_DATA", ""))
    if "KRONUFFT_DATA" not in os.environ or not (data_root / name).is_dir():
        pytest.skip("KRONUFFT_DATA does not name a folder with the measured data")
    examples = Path(__file__).parents[3] / "config" / "examples"
    content = {**load_yaml(examples / f"{name}.yaml"), "data_root": str(data_root)}
    config = load_config(content)
    datasets = load_datasets(examples / f"{name}.tsv", config)
    assert config.datasets == f"config/examples/{name}.tsv"
    settings = parse_settings(
        IngestSettings, canonical_json(stage_settings(config, datasets[name], "ingest"))
    )
    ingest(
        settings=settings,
        dataset=name,
        raw=tmp_path / "raw.json",
        receipt=tmp_path / "receipt.json",
    )
    raw = RawData.open(tmp_path / "raw.json")
    assert (raw.frames, raw.coils, raw.readouts, raw.samples) == EXAMPLES[name]
