"""Images that are one problem: against dense least squares over all of them."""

import nibabel
import numpy as np
import pytest
from acquisitions import config_of, dataset_in, reconstruction_settings, write_acquisition
from exact import dense_matrix, relative_error
from merged_images import merged_of
from stage_runs import reconstructed

from pipeline.config.base import canonical_json
from pipeline.config.series import SeriesSettings
from pipeline.errors import ConfigError, DataError
from pipeline.in_process import run
from pipeline.merge.maps import matched, write_maps
from pipeline.mri.model.basis import temporal_basis
from pipeline.mri.model.signals import fingerprints
from pipeline.mri.raw import RawData
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import open_published

SHAPE, COILS, READOUTS, SAMPLES, FRAMES = (6, 7), 3, 11, 8, 5
WEIGHT = 0.2  # of Tikhonov, relative to the sum of the sample weights
TIMES = [0.02, 0.1, 0.25, 0.6, 1.5]


def write(folder, own_trajectory=True, **given):
    write_acquisition(
        folder,
        shape=SHAPE,
        coils=COILS,
        readouts=READOUTS,
        samples=SAMPLES,
        frames=FRAMES,
        own_trajectory=own_trajectory,
        **given,
    )


def dense(folder, basis, joined=1):
    """Return the minimiser of all frames' least squares, as images, in double precision."""
    raw = RawData.open(folder / "raw.json")
    calibration = Calibration.open(folder / "calibration.json")
    maps = calibration.sensitivities().reshape(COILS, -1).astype(complex)
    coefficients, voxels = basis.shape[1], maps.shape[1]
    gram = np.zeros((coefficients * voxels,) * 2, complex)
    right = np.zeros(coefficients * voxels, complex)
    diagonal = 0.0
    for frame in range(FRAMES):
        fourier = dense_matrix(SHAPE, raw.trajectory(frame).reshape(-1, 2).T)
        weights = calibration.weights(frame).ravel().astype(float)
        coils = [fourier * each for each in maps]
        one = np.kron(basis[frame // joined], np.vstack(coils))
        # kron puts the coefficient before the voxel, as the unknowns are.
        counts = np.tile(weights, COILS)
        gram += one.conj().T @ (counts[:, None] * one)
        right += one.conj().T @ (counts * raw.kspace(frame).reshape(-1))
        diagonal += weights.sum()
    return gram, right, diagonal, voxels


@pytest.mark.parametrize(
    ("normal", "preconditioner"),
    [("toeplitz", "none"), ("toeplitz", "circulant"), ("explicit", "none")],
)
@pytest.mark.parametrize("basis", ["t2-decay", "source"])
def test_a_subspace_is_least_squares_over_all_frames(tmp_path, basis, normal, preconditioner):
    random = np.random.default_rng(5)
    complex_basis = random.normal(size=(FRAMES, 2)) + 1j * random.normal(size=(FRAMES, 2))
    write(tmp_path, basis=complex_basis)
    series = {"basis": basis}
    if basis != "source":
        series |= {"times": TIMES, "coefficients": 2}
    made = temporal_basis(SeriesSettings(**series), FRAMES, {"basis": complex_basis}, "test")
    used = made.matrix
    np.testing.assert_allclose(used.conj().T @ used, np.eye(2), atol=1e-12)
    gram, right, diagonal, voxels = dense(tmp_path, used)
    settings = {
        "algorithm": "cg-sense", "iterations": 60, "regularization": WEIGHT, "series": series,
        "precision": "double", "tolerance": 1e-9, "normal": normal,
        "preconditioner": preconditioner,
    }  # fmt: skip
    found, receipt = reconstructed(tmp_path, **settings)
    # Relative to the sum of the sample weights, of which each frame's are divided by their number.
    weight = WEIGHT * diagonal / FRAMES
    solution = np.linalg.solve(gram / FRAMES + weight * np.eye(len(gram)), right / FRAMES)
    images = used @ solution.reshape(2, voxels)
    assert found.shape == (FRAMES, 1, *SHAPE)
    assert relative_error(found.reshape(FRAMES, -1), images) < 1e-5
    assert receipt["coefficients"] == 2
    assert receipt["left_by_basis"] == pytest.approx(made.left)
    assert len(receipt["misfit"]) == 1
    pieces, _ = reconstructed(tmp_path, shards=4, **settings)
    assert relative_error(pieces, found) < 1e-6


def test_coefficients_in_place_of_images(tmp_path):
    """Those whose images are written otherwise, with the basis beside them; also to begin with."""
    write(tmp_path)
    series = {"basis": "t2-decay", "times": TIMES, "coefficients": 2}
    common = {"algorithm": "fista", "penalty": "l1", "sparsity": 1e-3, "iterations": 40}
    images, _ = reconstructed(tmp_path, series=series, **common)
    kept = series | {"images": "coefficients"}
    settings = config_of(series=kept, **common)
    files = run(
        settings, dataset_in(tmp_path), "test", tmp_path.parent, first="plan", until="measure"
    )
    stored = open_published(files.image)
    coefficients = stored["image"][:]
    assert stored["image"].metadata.dimension_names[0] == "coefficient"
    assert coefficients.shape == (2, 1, *SHAPE)
    basis = stored["basis"][:]
    assert relative_error(np.tensordot(basis, coefficients, 1), images) < 1e-5
    with pytest.raises(
        ValueError, match="`images: coefficients` needs a `basis` other than frames"
    ):
        SeriesSettings(images="coefficients")


def test_maps_are_the_times_of_signals_that_fit(tmp_path):
    """Of voxels with one T2 each, whatever their phase; as images, and as coefficients."""
    write(tmp_path)
    made = temporal_basis(
        SeriesSettings(basis="t2-decay", times=TIMES, coefficients=3), FRAMES, {}, "test"
    )
    random = np.random.default_rng(2)
    times = random.choice(made.times["T2"][20:-20], SHAPE)
    size = random.uniform(1, 3, SHAPE) * np.exp(2j * np.pi * random.uniform(size=SHAPE))
    signals = np.exp(-np.array(TIMES)[:, None, None] / times) * size
    coefficients = np.tensordot(made.matrix.conj().T, signals, 1)
    lengths = np.linalg.norm(coefficients, axis=0)
    for along, values in (("frame", signals), ("coefficient", coefficients)):
        merged = merged_of(
            tmp_path, values[:, None].astype(np.complex64), along=along, tables=made.tables()
        )
        write_maps(tmp_path / along, merged)
        found = {
            name: nibabel.load(tmp_path / along / f"{name}.nii.gz").get_fdata().squeeze().T
            for name in ("T2", "amplitude")
        }
        np.testing.assert_allclose(found["T2"], times, rtol=0.03)
        np.testing.assert_allclose(found["amplitude"], lengths, rtol=1e-5)


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
def test_a_dictionary_of_the_source_gives_basis_and_maps(tmp_path, real):
    """Of voxels that hold one signal each: exact samples, signals and parameters by a file."""
    random = np.random.default_rng(11)
    signals = random.normal(size=(9, 2)) @ random.normal(size=(2, FRAMES))  # of rank 2
    if not real:
        signals = signals * np.exp(2j * np.pi * random.uniform(size=FRAMES))
    parameters = random.uniform(0.1, 2, (9, 2)).astype(np.float32)
    entry = random.integers(9, size=SHAPE)
    size = random.uniform(1, 3, SHAPE) * np.exp(2j * np.pi * random.uniform(size=SHAPE))
    images = np.moveaxis(signals[entry], -1, 0) * size
    trajectory = random.uniform(-3, 3, (FRAMES, READOUTS, SAMPLES, 2)).astype(np.float32)
    maps = random.normal(size=(2, COILS, 1, *SHAPE)).astype(np.float32)
    maps = maps[0] + 1j * maps[1]
    maps = (maps / np.linalg.norm(maps, axis=0)).astype(np.complex64)
    measured = np.empty((FRAMES, COILS, READOUTS, SAMPLES), complex)
    for frame, image in enumerate(images):
        fourier = dense_matrix(SHAPE, trajectory[frame].reshape(-1, 2).T)
        for coil, one in enumerate(maps):
            measured[frame, coil] = (fourier @ (one * image).ravel()).reshape(READOUTS, SAMPLES)
    write(
        tmp_path, trajectory=trajectory, measured=measured, sensitivities=maps,
        dictionary=signals.astype(np.complex64), parameters=parameters,
    )  # fmt: skip
    series = {"basis": "dictionary", "coefficients": 2, "parameters": ["T1", "B1"]}
    settings = {"algorithm": "cg-sense", "iterations": 60, "residual": 1e-7, "tolerance": 1e-9}
    found, receipt = reconstructed(tmp_path, **settings, series=series, precision="double")
    assert receipt["left_by_basis"] < 1e-3
    assert relative_error(found.reshape(images.shape), images) < 1e-4
    source = RawData.open(tmp_path / "raw.json").signals()
    made = temporal_basis(SeriesSettings(**series), FRAMES, source, "test")
    assert made.matrix.imag.any() != real
    merged = merged_of(tmp_path, found, along="frame", tables=made.tables())
    write_maps(tmp_path / "maps", merged)
    for column, name in enumerate(series["parameters"]):
        of_voxels = nibabel.load(tmp_path / "maps" / f"{name}.nii.gz").get_fdata().squeeze().T
        np.testing.assert_allclose(of_voxels, parameters[entry, column], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "named", "fault"),
    [
        ({}, (), "the source has no array `dictionary`"),
        ({"dictionary": (9, 4)}, (), r"has shape \(9, 4\); expected signals of 5 images"),
        ({"dictionary": (2, 5)}, (), r"has shape \(2, 5\); .* as many of them as"),
        ({"dictionary": (9, 5), "parameters": (8, 1)}, ("T1",), r"`parameters` has shape \(8, 1\)"),
        ({"dictionary": (9, 5), "parameters": (9, 2)}, ("T1",), "`series.parameters` names 1"),
        ({"dictionary": (9, 5)}, ("T1",), r"`parameters` has shape \(9, 0\) .* names 1"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_refused(source, named, fault):
    settings = SeriesSettings(basis="dictionary", parameters=named)
    arrays = {name: np.ones(shape) for name, shape in source.items()}
    with pytest.raises(DataError, match=f"scan: .*{fault}"):
        temporal_basis(settings, 5, arrays, "scan")
    with pytest.raises(ValueError, match="`basis: source` has no use for `parameters`"):
        SeriesSettings(basis="source", parameters=("T1",))
    with pytest.raises(ValueError, match="`parameters` are names of maps"):
        SeriesSettings(basis="dictionary", parameters=("T1", "T1"))


@pytest.mark.parametrize("own_trajectory", [True, False])
def test_frames_as_one_problem_without_a_prior_are_the_frames(tmp_path, own_trajectory):
    write(tmp_path, own_trajectory=own_trajectory)
    settings = {"algorithm": "cg-sense", "iterations": 40, "regularization": WEIGHT}
    apart, _ = reconstructed(tmp_path, **settings)
    joint, receipt = reconstructed(tmp_path, series={"basis": "frames"}, **settings)
    assert len(receipt["residuals"]) == 1
    # The weight is relative to the mean over frames of the sums of weights.
    assert relative_error(joint, apart) < 0.02
    pieces, _ = reconstructed(tmp_path, series={"basis": "frames"}, shards=4, **settings)
    assert relative_error(pieces, joint) < 1e-4


def test_a_basis_that_does_not_fit_is_refused():
    decay = SeriesSettings(basis="t2-decay", times=TIMES, coefficients=2)
    with pytest.raises(ConfigError, match=r"5 times or flip angles and 2 .* there are 4 images"):
        temporal_basis(decay, 4, {}, "scan")
    source = SeriesSettings(basis="source")
    with pytest.raises(DataError, match="the source has no array `basis`"):
        temporal_basis(source, 5, {}, "scan")
    with pytest.raises(DataError, match="linearly dependent"):
        temporal_basis(source, 5, {"basis": np.ones((5, 2))}, "scan")
    with pytest.raises(ValueError, match="`basis: t1-recovery` needs `times`"):
        SeriesSettings(basis="t1-recovery")
    with pytest.raises(ValueError, match="`basis: frames` has no use for `times`"):
        SeriesSettings(times=TIMES)


def test_a_preconditioner_that_cannot_be_made_is_refused_by_the_plan(tmp_path):
    write(tmp_path)
    series = {"basis": "t2-decay", "times": TIMES}
    settings = {"penalty": "tv", "preconditioner": "spectrum", "series": series}
    with pytest.raises(DataError, match=r"test: .* `calibrate` did not find them"):
        reconstructed(tmp_path, algorithm="admm", **settings)


def test_a_basis_holds_the_signals_of_its_model():
    """Of T1 between the times that the model was made for, by Ernst's formula."""
    angles, repetition = np.deg2rad([2, 5, 9, 14, 20, 30]), 5e-3
    settings = SeriesSettings(
        basis="flip-angles",
        flip_angles=tuple(np.rad2deg(angles)),
        repetition_time=repetition,
        coefficients=3,
        relaxation_times=(0.2, 4.0),
    )
    made = temporal_basis(settings, 6, {}, "scan")
    basis = made.matrix
    for t1 in (0.23, 0.9, 3.3):
        e1 = np.exp(-repetition / t1)
        signal = np.sin(angles) * (1 - e1) / (1 - np.cos(angles) * e1)
        assert relative_error(basis @ (basis.T @ signal), signal) < 0.02
    assert 0 < made.left < 0.01


def test_fingerprints_are_those_of_spins_that_dephase():
    """Of 400 spins spread over a turn, by Bloch's equations, one rotation after the other."""
    random = np.random.default_rng(4)
    angles, intervals = random.uniform(5, 70, 90), random.uniform(0.01, 0.014, 90)
    settings = SeriesSettings(
        basis="fingerprinting",
        flip_angles=tuple(angles),
        repetition_times=tuple(intervals),
        inversion_time=0.02,
        relaxation_times=(0.3, 3.0),
        t2_times=(0.02, 0.2),
    )
    t1, t2 = np.array([1.3, 0.4]), np.array([0.08, 0.2])
    found = fingerprints(settings, t1, t2)
    turns = np.exp(2j * np.pi * np.arange(400) / 400)[:, None]
    across, along = np.zeros((400, 2), complex), np.full((400, 2), 1 - 2 * np.exp(-0.02 / t1))
    truth = []
    for angle, interval in zip(np.deg2rad(angles), intervals, strict=True):
        real = across.real * np.cos(angle) + along * np.sin(angle)
        along = along * np.cos(angle) - across.real * np.sin(angle)
        across = real + 1j * across.imag
        truth.append(across.mean(0).real)
        across = across * turns * np.exp(-interval / t2)
        along = 1 + (along - 1) * np.exp(-interval / t1)
    assert relative_error(found, np.array(truth)) < 1e-3
    made = temporal_basis(settings, 90, {}, "scan")
    assert made.left < 0.05
    best, _ = matched(made.matrix.conj().T @ found, made.dictionary)
    for name, times in (("T1", t1), ("T2", t2)):
        np.testing.assert_allclose(made.times[name][best], times, rtol=0.1)
    with pytest.raises(ValueError, match="`repetition_times` has 2 values and `flip_angles` 90"):
        SeriesSettings(
            basis="fingerprinting", flip_angles=tuple(angles), repetition_times=(0.01, 0.02)
        )
    with pytest.raises(ValueError, match=r"begin at 3\.5 s .* end at 3 s"):
        SeriesSettings.model_validate({**settings.model_dump(), "t2_times": (3.5, 4.0)})


def test_a_penalty_along_the_series_by_both_solvers(tmp_path):
    write(tmp_path)
    common = {"penalty": "tv", "along": "series", "sparsity": 0.1, "series": {"basis": "frames"}}
    by_fista, receipt = reconstructed(tmp_path, algorithm="fista", iterations=300, **common)
    by_admm, other = reconstructed(tmp_path, algorithm="admm", iterations=100, **common)
    assert relative_error(by_fista, by_admm) < 0.03
    assert receipt["objective"][0] == pytest.approx(other["objective"][0], rel=1e-3)
    term = {"penalty": "tv", "along": "series", "sparsity": 0.1}
    common = {"series": {"basis": "frames"}, "algorithm": "admm", "iterations": 100}
    listed, _ = reconstructed(tmp_path, penalties=[term], **common)
    assert relative_error(listed, by_admm) < 1e-4
    more = [term, {"penalty": "llr", "sparsity": 0.1}]
    coupled, receipt = reconstructed(tmp_path, penalties=more, **common)
    assert receipt["penalty"] == "tv + llr"
    changes = [np.abs(np.diff(images, axis=0)).sum() for images in (coupled, listed)]
    assert changes[0] < changes[1]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"penalty": "llr"}, "needs a `series`"),
        ({"penalty": "tv", "along": "series"}, "`along: series` is for the penalties tv and"),
        (
            {"penalty": "tv", "penalties": [{"penalty": "l1", "sparsity": 0.1}]},
            "`penalties` stands in place of `penalty`",
        ),
    ],
)
def test_penalties_that_do_not_fit_are_refused(tmp_path, settings, fault):
    with pytest.raises(ConfigError, match=fault):
        reconstructed(tmp_path, algorithm="admm", **settings)
    with pytest.raises(ConfigError, match="fista takes one `penalty`"):
        reconstructed(tmp_path, algorithm="fista", penalties=[{"penalty": "l1", "sparsity": 0.1}])


def test_settings_of_several_penalties_reach_a_job():
    """They travel as JSON, in which every key is given."""
    given = {
        "algorithm": "admm",
        "series": {"basis": "frames"},
        "penalties": [{"penalty": "tv", "along": "series", "sparsity": 0.1}],
    }
    _, settings = reconstruction_settings(**given)
    assert type(settings).model_validate_json(canonical_json(settings)) == settings
