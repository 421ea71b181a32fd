"""Readouts sorted into bins: what images of them are, and how bins are found."""

import numpy as np
import pytest
from acquisitions import config_of, dataset_in, write_acquisition
from calibrating import calibrated_in
from exact import dense_matrix, relative_error
from stage_runs import files_in, reconstructed

from pipeline.config.binning import BinningSettings
from pipeline.config.sources import IngestSettings
from pipeline.config.trajectories import TrajectorySettings
from pipeline.engine.table import read_plan, write_plan
from pipeline.errors import ConfigError, DataError
from pipeline.in_process import run
from pipeline.mri.binning_pictures import binning_panels
from pipeline.mri.calibration.binning import soft_bins
from pipeline.mri.formats.breathing import breathing_body, breathing_depths
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import Ellipsoid, fourier_transform
from pipeline.mri.formats.simulation import SimulatedScan
from pipeline.mri.generators.registry import GeneratedTrajectory
from pipeline.mri.raw import RawData
from pipeline.mri.trajectories import wrapped
from pipeline.stages.ingest import ingest
from pipeline.storage.archives import open_archive
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import read_json

SHAPE, COILS, READOUTS, SAMPLES, FRAMES = (6, 7), 3, 19, 8, 2
WEIGHT = 0.1


def dense_images(folder, joint):
    """Return the minimiser of each bin's weighted least squares, in double precision."""
    raw = RawData.open(folder / "raw.json")
    calibration = Calibration.open(folder / "calibration.json")
    maps = calibration.sensitivities().reshape(COILS, -1).astype(complex)
    parts = []
    for number in range(calibration.bins):
        counts = calibration.bin(number)
        counts = counts * (READOUTS / counts.sum(dtype=float))
        gram, right, total = 0, 0, 0
        for frame in range(FRAMES):
            fourier = dense_matrix(SHAPE, raw.trajectory(frame).reshape(-1, 2).T)
            encoding = np.vstack([fourier * each for each in maps])
            weights = (calibration.weights(frame) * counts[frame][:, None]).ravel().astype(float)
            total += weights.sum()
            weights = np.tile(weights, COILS)
            gram = gram + encoding.conj().T @ (weights[:, None] * encoding)
            right = right + encoding.conj().T @ (weights * raw.kspace(frame).reshape(-1))
        parts.append((gram, right, total))
    mean = np.mean([total for *_, total in parts])
    return np.array(
        [
            np.linalg.solve(gram + WEIGHT * (mean if joint else total) * np.eye(len(gram)), right)
            for gram, right, total in parts
        ]
    )


@pytest.fixture
def bins():
    random = np.random.default_rng(7)
    shape = (4, FRAMES, READOUTS)
    return random.uniform(0.1, 1, shape) * (random.uniform(size=shape) < 0.6)


@pytest.mark.parametrize("own_trajectory", [True, False])
@pytest.mark.parametrize("series", [None, {"basis": "frames"}])
def test_images_of_bins_are_weighted_least_squares(tmp_path, bins, series, own_trajectory):
    write_acquisition(
        tmp_path, shape=SHAPE, coils=COILS, readouts=READOUTS, samples=SAMPLES, frames=FRAMES,
        own_trajectory=own_trajectory, bins=bins.astype(np.float32),
    )  # fmt: skip
    settings = {
        "algorithm": "cg-sense", "iterations": 60, "regularization": WEIGHT, "converged": 1e-9,
        "precision": "double", "series": series, "frames_per_image": "bins", "tolerance": 1e-9,
        "calibration": {"binning": {}},
    }  # fmt: skip
    found, _ = reconstructed(tmp_path, **settings)
    assert found.shape == (len(bins), 1, *SHAPE)
    expected = dense_images(tmp_path, joint=series is not None)
    assert relative_error(found.reshape(len(bins), -1), expected) < 1e-5
    pieces, _ = reconstructed(tmp_path, shards=5, **settings)
    assert relative_error(pieces, found) < 1e-6
    if series is None:
        assert relative_error(one_by_one(tmp_path, settings), found) < 1e-6


def one_by_one(folder, settings):
    """Return the images of a job that has memory for one at a time."""
    files, dataset = files_in(folder), dataset_in(folder)
    run(config_of(**settings), dataset, "test", folder.parent, first="plan", until="plan")
    plan = read_plan(files.plan)
    (row,) = plan.blocks.values()
    assert row.images > 1
    blocks = [row.model_copy(update={"image_batch": 1})]
    write_plan(files.plan, [*blocks, *plan.later.values()])
    run(config_of(**settings), dataset, "test", folder.parent, first="reconstruct",
        until="reconstruct")  # fmt: skip
    with open_archive(files.block(row.block)) as group:
        return group["image"][:]


def simulated(folder, *, trajectory="kooshball", frames=1, readouts=3600, samples=4):
    """Ingest 36 s of a breathing body; return how deep its breath is at each readout."""
    shape = (20, 20, 20)
    simulation = {
        **{"trajectory": trajectory, "readouts": readouts, "samples": samples, "coils": 3},
        **{"frames": frames, "snr_db": 30, "seed": 5},
        "repetition_time": 36 / frames / readouts,
    }
    details = {"shape": shape, "simulation": simulation}
    settings = IngestSettings.model_validate(
        {"kind": "mri", "format": "simulation", "source": "breathing", "details": details}
    )
    raw, receipt = folder / "raw.json", folder / "ingest.json"
    ingest(settings=settings, dataset="scan", raw=raw, receipt=receipt)
    scan = SimulatedScan(settings.details.simulation, shape, "breathing")
    return np.concatenate([scan.depths(frame, slice(None)) for frame in range(frames)])


PLAIN = {"coil_maps": "none", "density": "none", "consistency": False}


def test_the_centre_of_kspace_tells_the_breath(tmp_path):
    depths = simulated(tmp_path)
    found = calibrated_in(tmp_path, binning={"bins": 6, "overlap": 0.5}, **PLAIN)
    signal = found.array("navigator/signal").ravel()
    assert np.corrcoef(signal, depths)[0, 1] >= 0.95  # also of the right sign
    receipt = read_json(tmp_path / "calibrate.json")
    assert receipt["navigator_hz"] == pytest.approx(0.25, abs=0.04)  # of breaths of 4 s in the mean
    weights = np.stack([found.bin(number).ravel() for number in range(found.bins)])
    assert (weights == 1).sum(axis=1).tolist() == [600] * 6
    # Readouts up to half a bin away count half in the mean; beyond both ends there are none.
    assert weights.sum(axis=1) == pytest.approx([750, 900, 900, 900, 900, 750], rel=0.01)
    assert np.all(np.diff([np.average(depths, weights=each) for each in weights]) > 0)
    labels = [
        panel.label for panel, _ in binning_panels(found, RawData.open(tmp_path / "raw.json"))
    ]
    assert [label.split()[0] for label in labels] == ["navigator", "spectrum", "readouts"]


def test_repeated_projections_tell_it_too(tmp_path):
    """The first spoke of each frame is along the axis of motion."""
    depths = simulated(tmp_path, trajectory="phyllotaxis", frames=180, readouts=8, samples=24)
    binning = {"navigator": "projections", "bins": 4}
    found = calibrated_in(tmp_path, binning=binning, **PLAIN)
    assert np.corrcoef(found.array("navigator/signal").ravel(), depths)[0, 1] >= 0.95
    assert read_json(tmp_path / "calibrate.json")["navigator_readouts"] == 180
    assert [np.count_nonzero(found.bin(number)) for number in range(4)] == [360] * 4


def beats(seconds, seed=8):
    """Return how far a heart has contracted, in beats of 0.75 to 1.05 s that differ in strength."""
    drawn = np.random.default_rng(seed)
    periods = drawn.uniform(0.75, 1.05, int(seconds.max() / 0.75) + 2)
    ends = np.cumsum(periods)
    beat = np.searchsorted(ends, seconds, side="right")
    phase = 1 - (ends[beat] - seconds) / periods[beat]
    # Of which systole is a third.
    contracted = np.sin(np.pi * np.minimum(phase / 0.45, 1)) ** 2
    return drawn.uniform(0.85, 1.15, len(periods))[beat] * contracted


@pytest.mark.parametrize("heart_first", [False, True], ids=["left", "behind the liver"])
def test_heart_and_breath_are_told_by_one_navigator(tmp_path, heart_first):
    """Exact k-space of a body that breathes, with a heart that moves with the breath and beats."""
    shape, readouts, coils, repetition = (20, 20, 20), 4800, 4, 0.0075
    settings = TrajectorySettings(kind="kooshball")
    generated = GeneratedTrajectory(settings, shape, readouts, 4, "scan")
    k = wrapped(generated(0, slice(None)))
    seconds = np.arange(readouts) * repetition
    breath, beat = breathing_depths(seconds, 5), beats(seconds)
    points = k.reshape(-1, 3).astype(float)
    array = coils_around(shape, coils)
    depths, contracted = (np.repeat(each, k.shape[1]) for each in (breath, beat))
    parts = list(breathing_body(shape, depths))
    place = (0.0, 0.1, -0.1) if heart_first else (-0.05, 0.15, 0.15)
    moved = np.zeros((len(points), 3))
    moved[:, 0] = 0.1 * shape[0] / 2 * depths
    moved[:, 1] = 0.04 * shape[1] / 2 * contracted
    moved[:, 2] = 0.03 * shape[2] / 2 * contracted
    heart, ventricle = Ellipsoid(0.9, (0.2, 0.17, 0.18), place), Ellipsoid(-0.5, (0.12,) * 3, place)

    def measured(part, by):
        return fourier_transform(part, shape, points, array.shifts, array.coefficients, by)

    values = sum(measured(part, by) for part, by in [*parts, ([heart], moved)])
    values += contracted * measured([ventricle], moved)  # which empties
    random = np.random.default_rng(3)
    noise = random.normal(size=(2, *values.shape)) * 0.003 * np.sqrt(np.mean(np.abs(values) ** 2))
    kspace = (values + noise[0] + 1j * noise[1]).reshape(1, coils, *k.shape[:2])
    write_acquisition(
        tmp_path, shape=shape, coils=coils, readouts=readouts, samples=4, frames=1,
        trajectory=k[None], measured=kspace,
    )  # fmt: skip
    binning = {"repetition_time": repetition, "bins": 4, "heart": {"bins": 3}}
    found = calibrated_in(tmp_path, binning=binning, **PLAIN)
    signals = [found.array(f"navigator/{name}").ravel() for name in ("signal", "heart/signal")]
    for signal, true in zip(signals, (breath, beat), strict=True):
        assert np.corrcoef(signal, true)[0, 1] >= 0.9
    receipt = read_json(tmp_path / "calibrate.json")
    assert receipt["navigator_hz"] == pytest.approx(0.25, abs=0.04)
    assert receipt["heart_hz"] == pytest.approx(1.1, abs=0.15)
    assert receipt["bins"] == [4, 3]
    assert found.bins == 12
    weights = np.stack([found.bin(number).ravel() for number in range(12)])
    assert (weights.sum(axis=0) == 1).all()
    means = np.array([weights @ each / weights.sum(axis=1) for each in (breath, beat)])
    assert np.all(np.diff(means[0].reshape(4, 3), axis=0) > 0)
    assert np.all(np.diff(means[1].reshape(4, 3), axis=1) > 0)
    panels = binning_panels(found, RawData.open(tmp_path / "raw.json"))
    assert [panel.label.split(",")[0] for panel, _ in panels] == [
        "navigator of breathing", "spectrum of the navigator",
        "navigator of the heart", "spectrum of the navigator", "readouts of bins",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("binning", "fault"),
    [
        ({"heart": {"band": [2.0, 0.6]}}, "`heart.band`: the first frequency must be lower"),
        ({"heart": {"band": [0.2, 0.6]}}, "the heart must be the faster one"),
        ({"bins": 30, "heart": {"bins": 10}}, "30 bins of breathing times 10 of the heart"),
        ({"heart": {}, "table": "bins.csv"}, "`table` stands in place of `heart`"),
    ],
)
def test_bins_of_the_heart_that_cannot_be_are_refused(binning, fault):
    with pytest.raises(ValueError, match=fault):
        BinningSettings.model_validate(binning)


def test_without_overlap_each_readout_is_in_one_bin():
    """Of 12 readouts in 8 bins some lie at the border of two."""
    signal = np.random.default_rng(4).permutation(np.arange(12.0)).reshape(3, 4)
    found = soft_bins(signal, 8, 0.0)
    weights = np.stack([found.weights((number,)) for number in range(8)])
    assert (weights.sum(axis=0) == 1).all()
    assert np.all(np.diff(weights.argmax(axis=0).ravel()[signal.argsort(axis=None)]) >= 0)


@pytest.fixture
def scan(tmp_path):
    """Write 3 frames of 5 readouts, none of which passes the centre of k-space."""
    trajectory = np.random.default_rng(2).uniform(1, 3, (3, 5, 4, 2)).astype(np.float32)
    write_acquisition(
        tmp_path, shape=(8, 9), coils=2, readouts=5, samples=4, frames=3, trajectory=trajectory
    )
    return tmp_path


def test_a_table_names_bins_or_weights(scan):
    numbers = np.array([[0, 1, -1, 1, 0, 0, 1, 1, 1, 0, 0, -1, 0, 1, 1],
                        [0, 1, 0, 2, 2, 1, 0, 1, 0, 1, 2, 2, 0, 2, 1]]).T  # fmt: skip
    np.savetxt(scan / "two.csv", numbers, fmt="%d", header="breathing heart")
    found = calibrated_in(scan, binning={"table": str(scan / "two.csv")}, **PLAIN)
    assert found.bins == 6
    expected = np.zeros((2, 3, 3, 5))
    for place, (breath, beat) in zip(np.ndindex(3, 5), numbers, strict=True):
        if breath >= 0:
            expected[(breath, beat, *place)] = 1
    weights = np.stack([found.bin(number) for number in range(6)])
    np.testing.assert_array_equal(weights, expected.reshape(6, 3, 5))
    given = np.random.default_rng(0).uniform(size=(15, 2, 2)).astype(np.float32)
    np.save(scan / "soft.npy", given)
    found = calibrated_in(scan, binning={"table": str(scan / "soft.npy")}, **PLAIN)
    weights = np.stack([found.bin(number) for number in range(4)])
    np.testing.assert_array_equal(weights.reshape(4, 15).T, given.reshape(15, 4))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (np.zeros((14, 1)), r"has the shape \(14, 1\); expected a row for each of the 15 readouts"),
        (np.array(3), r"has the shape \(\); expected a row"),
        (np.zeros((15, 0)), r"has the shape \(15, 0\); expected a row"),
        (np.arange(30).reshape(15, 2), "has 870 bins; expected 256 at most"),
        (np.arange(15) * 2, "has no readout in bin 1; number bins from 0 on"),
        (np.full(15, 0.5), "has bins that are not whole numbers"),
        (np.full(15, -1), "has no bin: all its numbers are below 0"),
        (np.full((15, 3), -0.1), "has weights below 0"),
        (np.full((15, 3), np.nan), "values that are complex or not finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(scan, table, fault):
    np.save(scan / "table.npy", table)
    with pytest.raises(DataError, match=f"scan: calibration.binning.table: .*{fault}"):
        calibrated_in(scan, binning={"table": str(scan / "table.npy")}, **PLAIN)


@pytest.mark.parametrize(
    ("binning", "fault"),
    [
        ({}, "does not tell when readouts were taken; set .*repetition_time"),
        ({"repetition_time": 1e-3}, "15 readouts of 0.001 s last 0.015 s, fewer than 3 cycles"),
        ({"repetition_time": 3.0}, "found at 15 moments of 45 s, too few"),
        ({"repetition_time": 2.1, "band": [0.1, 0.15]}, "no readout passes the centre of k-space"),
        (
            {"repetition_time": 2.1, "band": [0.1, 0.15], "navigator": "projections"},
            "up to 31.5 s pass between readouts that repeat the first",
        ),
    ],
)
def test_navigators_that_cannot_be_found_are_refused(scan, binning, fault):
    with pytest.raises(DataError, match=f"scan: .*{fault}"):
        calibrated_in(scan, binning=binning, **PLAIN)


def test_images_of_bins_need_bins(scan):
    with pytest.raises(ConfigError, match=r"`frames_per_image: bins` needs `calibration.binning`"):
        reconstructed(scan, algorithm="gridding", frames_per_image="bins")
    with pytest.raises(ConfigError, match=r"needs bins that `calibrate` has found"):
        reconstructed(
            scan, algorithm="gridding", frames_per_image="bins", calibration={"binning": {}}
        )
    settings = {"algorithm": "fista", "penalty": "tv", "along": "series"}
    settings |= {"series": {"basis": "frames"}, "frames_per_image": "bins"}
    np.savetxt(scan / "two.csv", np.stack([np.arange(15) % 2, np.arange(15) % 3], 1), fmt="%d")
    calibrated_in(scan, binning={"table": str(scan / "two.csv")}, **{**PLAIN, "coil_maps": "walsh"})
    with pytest.raises(ConfigError, match=r"along the series needs bins of one axis, and .* 2 x 3"):
        reconstructed(scan, **settings, calibration={"binning": {}})
