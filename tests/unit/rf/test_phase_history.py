"""RF phase histories through the stages, against dense matrices of the exact paths."""

import numpy as np
import pytest
from acquisitions import complex_normal
from calibrating import calibrated_in
from rf_acquisitions import pulses, reconstructed_rf, store
from scipy.io import savemat

from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT, AntennaPaths
from pipeline.rf.geometry.scene import Scene
from pipeline.stages.ingest import ingest
from pipeline.storage.publish import read_json

SCENE = Scene((11, 8), (0.25, 0.3), (0.5, -0.25, 0.0))
FREQUENCIES = np.linspace(9.4e9, 9.9e9, 17)
PULSES = 21


def circling():
    """A radar 40 m away that flies past: near enough for wavefronts to be curved."""
    angles = np.radians(np.linspace(38, 47, PULSES))
    antenna = 40 * np.stack(
        [np.cos(angles) * 0.8, np.sin(angles) * 0.8, np.full(PULSES, 0.6)], axis=1
    )
    return AntennaPaths(antenna, antenna, 2 * np.linalg.norm(antenna, axis=1))


def exact_matrix(paths):
    """``exp(-j k d_p(x))`` of every pulse and frequency, ``(pulse * freq, voxel)``."""
    excess = (
        np.linalg.norm(SCENE.positions()[None] - paths.transmitter[:, None], axis=-1)
        + np.linalg.norm(SCENE.positions()[None] - paths.receiver[:, None], axis=-1)
        - paths.reference_path[:, None]
    )
    k = 2 * np.pi * FREQUENCIES / SPEED_OF_LIGHT
    return np.exp(-1j * k[None, :, None] * excess[:, None]).reshape(PULSES * len(k), -1)


@pytest.fixture
def measured(tmp_path):
    """Random data in a published store; its exact matrix and the data."""
    paths = circling()
    data = complex_normal(np.random.default_rng(5), (PULSES, len(FREQUENCIES)))
    store(tmp_path / "raw.json", pulses(SCENE, FREQUENCIES, paths, data))
    calibrated_in(tmp_path, dataset="radar", threads=2)
    return exact_matrix(paths), data.ravel().astype(np.complex128)


def run(folder, **settings):
    images, receipt = reconstructed_rf(folder, precision="double", tolerance=1e-8, **settings)
    return images[0, 0], receipt


def relative(found, expected):
    return np.linalg.norm(found.ravel() - expected) / np.linalg.norm(expected)


def test_the_misfit_is_that_of_the_exact_paths(tmp_path, measured):
    system, data = measured
    settings = {"algorithm": "tikhonov", "iterations": 3, "regularization": 0.01}
    image, receipt = run(tmp_path, **settings, model_error=0.003)
    expected = np.linalg.norm(system @ image.ravel() - data) / np.linalg.norm(data)
    assert 0.1 < expected < 0.98
    assert receipt["misfit"][0] == pytest.approx(expected, rel=3e-3)
    assert "expected_misfit" not in receipt  # the data do not state their noise


@pytest.mark.parametrize("model_error", [0.3, 0.03, 0.003])
def test_matched_filter_is_exact_back_projection_up_to_the_curvature(
    tmp_path, measured, model_error
):
    system, data = measured
    found, receipt = run(tmp_path, algorithm="matched-filter", model_error=model_error)
    assert relative(found, system.conj().T @ data / len(data)) < 2 * model_error
    assert receipt["sub_apertures"] >= 1


def test_sub_apertures_are_what_makes_it_exact(tmp_path, measured):
    counts = [
        run(tmp_path, algorithm="matched-filter", model_error=error)[1]["sub_apertures"]
        for error in (0.3, 0.03, 0.003)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_tikhonov_solves_the_dense_equations(tmp_path, measured):
    system, data = measured
    found, receipt = run(
        tmp_path,
        algorithm="tikhonov",
        model_error=0.003,
        iterations=200,
        residual=1e-8,
        regularization=0.3,
    )
    gram = system.conj().T @ system + 0.3 * len(data) * np.eye(system.shape[1])
    assert relative(found, np.linalg.solve(gram, system.conj().T @ data)) < 0.01
    assert receipt["residuals"][0][-1] <= 1e-8


def test_fista_meets_the_optimality_conditions_of_the_lasso(tmp_path, measured):
    system, data = measured
    found, _ = run(tmp_path, algorithm="fista", model_error=0.003, iterations=3000, sparsity=0.3)
    x = found.ravel()
    gradient = system.conj().T @ (system @ x - data)
    weight = 0.3 * np.abs(system.conj().T @ data).max()
    assert 0 < np.count_nonzero(x) < x.size
    # Where the image is zero the gradient stays below the weight; elsewhere it opposes the image.
    assert np.abs(gradient[x == 0]).max() < 1.01 * weight
    support = x != 0
    opposed = gradient[support] + weight * x[support] / np.abs(x[support])
    assert np.abs(opposed).max() < 0.02 * weight


def test_calibrate_records_what_curvature_costs(tmp_path, measured):
    errors = read_json(tmp_path / "calibrate.json")["model_errors"]
    assert errors["W+D(fc)"] < errors["W"]


def test_a_scene_must_be_given(tmp_path):
    settings = IngestSettings.model_validate(
        {"kind": "rf", "format": "gotcha", "source": str(tmp_path), "details": {}}
    )
    with pytest.raises(ConfigError, match=r"give sources\.radar\.scene"):
        ingest(
            settings=settings,
            dataset="radar",
            raw=tmp_path / "raw.json",
            receipt=tmp_path / "ingest.json",
        )


def test_ingest_streams_a_file_or_names_what_is_wrong_with_it(tmp_path):
    pulses, antenna = 5, circling().transmitter[:5]
    data = complex_normal(np.random.default_rng(1), (len(FREQUENCIES), pulses))
    fields = {
        "fp": data,
        "freq": FREQUENCIES[:, None],
        **{name: antenna[None, :, axis] for axis, name in enumerate("xyz")},
        "r0": np.linalg.norm(antenna, axis=1)[None],
        "th": np.zeros((1, pulses)),
        "phi": np.zeros((1, pulses)),
    }
    settings = IngestSettings.model_validate(
        {
            "kind": "rf",
            "format": "gotcha",
            "source": str(tmp_path / "pass.mat"),
            "details": {"scene": {"shape": [6, 5], "spacing": [0.2, 0.2]}},
        }
    )

    def bring_in():
        ingest(
            settings=settings,
            dataset="radar",
            raw=tmp_path / "raw.json",
            receipt=tmp_path / "ingest.json",
        )

    savemat(tmp_path / "pass.mat", {"data": fields})
    bring_in()
    assert read_json(tmp_path / "raw.json")["arrays"]["y"]["shape"] == [1, 5, 17]
    savemat(tmp_path / "pass.mat", {"data": {**fields, "fp": data * np.nan}})
    with pytest.raises(DataError, match="radar"):
        bring_in()


@pytest.mark.parametrize("shards", [2, 5, 16])
def test_shards_may_end_inside_a_sub_aperture(tmp_path, measured, shards):
    settings = {"algorithm": "tikhonov", "iterations": 5, "model_error": 0.1}
    whole, receipt = run(tmp_path, **settings)
    assert 1 < receipt["sub_apertures"] < shards * 4
    cut, of_shards = run(tmp_path, **settings, shards=shards)
    assert of_shards["shards"] == shards
    assert relative(cut, whole.ravel()) < 1e-6


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(tmp_path, measured):
    settings = {"algorithm": "tikhonov", "model_error": 0.03, "iterations": 5}
    on_cpu, _ = run(tmp_path, **settings)
    on_gpu, _ = run(tmp_path, device="cuda", **settings)
    assert relative(on_gpu, on_cpu.ravel()) < 1e-6


@pytest.mark.gpu
def test_calibrate_on_a_device_takes_what_was_predicted(tmp_path, measured):
    on_cpu = read_json(tmp_path / "calibrate.json")
    calibrated_in(tmp_path, dataset="radar", device="cuda")
    receipt = read_json(tmp_path / "calibrate.json")
    assert receipt["consistency"]["coherence"] == pytest.approx(
        on_cpu["consistency"]["coherence"], abs=2e-3
    )
    assert 0 < receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"algorithm": "matched-filter"}, lambda a, y: a.conj().T @ y / len(y)),
        (
            {"algorithm": "tikhonov", "iterations": 200, "residual": 1e-6, "regularization": 0.3},
            lambda a, y: np.linalg.solve(
                a.conj().T @ a + 0.3 * len(y) * np.eye(a.shape[1]), a.conj().T @ y
            ),
        ),
    ],
    ids=["adjoint", "solved"],
)
@pytest.mark.parametrize("shards", [1, 3])
def test_exact_paths_solve_the_dense_equations(tmp_path, measured, settings, expected, shards):
    system, data = measured
    found, receipt = reconstructed_rf(tmp_path, model="exact", shards=shards, **settings)
    assert receipt["model"] == "exact"
    assert relative(found[0, 0], expected(system, data)) < 3e-3


@pytest.mark.parametrize("name", ["hamming", "taylor"])
def test_a_window_lowers_side_lobes(tmp_path, name):
    """Along range, beyond the main lobe of a single scatterer."""
    paths = circling_far(64)
    k = 2 * np.pi * np.linspace(9e9, 10e9, 48) / SPEED_OF_LIGHT
    data = np.exp(-1j * k * paths.path_differences(np.zeros((1, 3))))
    scene = Scene((64, 5), (0.06, 0.06))
    store(tmp_path / "raw.json", pulses(scene, np.linspace(9e9, 10e9, 48), paths, data))
    lobes = {}
    for window in ("none", name):
        calibrated_in(tmp_path, dataset="radar", window=window)
        image, _ = reconstructed_rf(tmp_path, algorithm="matched-filter", model="exact")
        cut = np.abs(image[0, 0][:, 2])
        assert cut.argmax() == 32
        assert cut[32] == pytest.approx(1, abs=2e-3)
        lobes[window] = 20 * np.log10(np.max(cut[:24]) / cut[32])
    assert lobes["none"] > -30
    assert lobes[name] < lobes["none"] - 8


def circling_far(count):
    """A radar in the scene's plane, 20 km along x."""
    angles = np.radians(np.linspace(-1, 1, count))
    antenna = 2e4 * np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    return AntennaPaths(antenna, antenna, 2 * np.linalg.norm(antenna, axis=1))


@pytest.mark.parametrize("model", ["exact", "W+D(fc)"])
@pytest.mark.parametrize("window", ["none", "hamming"])
def test_noise_alone_seldom_exceeds_the_weight(tmp_path, model, window):
    """The weight of ``noise``, against the variance of each voxel of noise as it was weighted."""
    system, deviation = exact_matrix(circling()), 0.3
    data = complex_normal(np.random.default_rng(6), (PULSES, len(FREQUENCIES)))
    level = {"noise_std": np.array([deviation], np.float32)}
    store(tmp_path / "raw.json", pulses(SCENE, FREQUENCIES, circling(), data, **level))
    calibrated_in(tmp_path, dataset="radar", window=window)
    weights = np.ones(data.shape)
    if window == "hamming":
        weights = np.outer(*(np.hamming(size) for size in data.shape))
        weights /= weights.mean()
    variance = np.sum(np.abs(system * weights.reshape(-1, 1) * deviation) ** 2, axis=0).mean()
    chosen = {"algorithm": "fista", "sparsity": "noise", "iterations": 2, "model": model}
    _, receipt = run(tmp_path, **chosen)  # in double precision, finer than exact paths are
    expected = np.sqrt(variance * np.log(system.shape[1]))
    assert receipt["weight"][0] == pytest.approx(expected, rel=1e-3)
