"""What the stages beside the plan's jobs need: measured <= predicted, and refused where too much.

Each job runs in a fresh process, as the workflow would start it.
"""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from acquisitions import complex_normal, reconstruction_settings, write_attributes
from rf_acquisitions import pairs_acquisition, store

from pipeline.config.calibration import CalibrateSettings
from pipeline.engine.chain import Calibrating
from pipeline.engine.limits import Limits
from pipeline.engine.needs import require_fit
from pipeline.engine.table import read_plan
from pipeline.errors import PlanError
from pipeline.geometry.axes import as_volume
from pipeline.mri.arrays import ARRAYS
from pipeline.mri.calibrate import STEPS
from pipeline.rf.calibration.reference_target import target_response
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.stages.calibrate import calibrate_need
from pipeline.stages.plan import plan
from pipeline.storage.acquired import Acquired
from pipeline.storage.archives import write_block
from pipeline.storage.calibration import create_weights
from pipeline.storage.publish import published_store, read_json
from pipeline.storage.receipts import Receipt


def write_mri(
    marker, shape, *, coils=1, readouts=4, samples=16, frames=1, own=False, radial=False,
    lines=False, **arrays
):  # fmt: skip
    """Write an acquisition on random samples, spokes or all lines; ``arrays`` are further ones.

    Each frame has its ``own`` samples, or all have the same.
    """
    random = np.random.default_rng(3)
    if lines:
        readouts, samples = math.prod(shape[:-1]), shape[-1]
    sizes = (frames if own else 1, readouts, samples, len(shape))
    if lines:
        cycles = np.stack(np.indices(shape), axis=-1) - np.array(shape) // 2
        trajectory = (cycles * 2 * np.pi / np.array(shape)).reshape(sizes)
    elif radial:
        ends = random.normal(size=(1, readouts, 1, len(shape)))
        radii = np.linspace(-3.1, 3.1, samples)[:, None]
        trajectory = ends / np.linalg.norm(ends, axis=-1, keepdims=True) * radii
    else:
        trajectory = random.uniform(-3.1, 3.1, sizes)
    with published_store(marker) as group:
        voxel_size = (0.001,) * len(shape)
        write_attributes(group, shape, voxel_size)
        group.attrs["pattern"] = "radial" if radial else "cartesian" if lines else "other"
        ARRAYS.create(group, "trajectory", sizes)[...] = trajectory.astype(np.float32)
        kspace = ARRAYS.create(group, "kspace", (frames, coils, readouts, samples))
        for coil in range(coils):
            kspace[:, coil] = complex_normal(random, (frames, readouts, samples))
        for name, size in arrays.items():
            array = ARRAYS.create(group, name, size)
            array[...] = 1 if name == "weights" else complex_normal(random, size)


def write_pairs(marker, scene, rows, **arrays):
    """Write one pair of linear arrays beside a scene, which see it under some 70 degrees."""
    random = np.random.default_rng(3)
    beside = min(scene.origin) * 2
    lines = []
    for count in rows:
        along = np.linspace(-1, 1, count)
        lines.append(np.stack([along, np.ones(count), np.zeros(count)], axis=-1) * beside)
    frequencies = np.linspace(1.0e9, 1.2e9, 9)
    measured = [complex_normal(random, (1, 9, *rows))]
    pairs = [Pair(*lines)]
    store(marker, pairs_acquisition(scene, frequencies, measured, pairs, shared=arrays), "d")


def run(folder, stage, *arguments):
    """Run a stage in a process of its own; return its receipt."""
    receipt = folder / "receipts" / f"{stage}.json"
    command = (stage, "--dataset", "d", "--raw", folder / "raw.json", "--receipt", receipt)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, (*command, *arguments))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read_json(receipt)


def calibrated(folder, settings):
    return run(
        folder,
        "calibrate",
        *("--settings", settings, "--calibration", folder / "calibration.json"),
        *("--device", "cpu", "--threads", "2"),
    )


EVERY_OUTPUT = '{"dicom": true, "bart": true, "ismrmrd": true, "bids": "T1w"}'


def merged_and_measured(folder, settings):
    """Plan in this process, write random images, and return the receipts of merge and measure."""
    acquired = Acquired.of(folder / "raw.json")
    with published_store(folder / "calibration.json") as group:
        group.attrs.update({"coil_maps": "none", "density": "none"})
        if acquired.kind == "mri":
            create_weights(group, (1, acquired.readouts, acquired.samples))[...] = 1
        else:
            group.attrs["model_errors"] = {"W": 0.01}
    chosen, _ = reconstruction_settings(**settings)
    names = {"dataset": "d", "reconstruction": "r"}
    plan(
        settings=chosen,
        raw=folder / "raw.json",
        calibration=folder / "calibration.json",
        plan=folder / "plan.tsv",
        receipt=folder / "receipts" / "plan.json",
        device="cpu",
        threads=2,
        **names,
    )
    shape = as_volume(chosen.reconstruction.shape or acquired.shape)
    random = np.random.default_rng(4)
    for row in read_plan(folder / "plan.tsv").blocks.values():
        images = complex_normal(random, (row.images, *shape))
        where = {"block": row.block, "first_image": row.first_image}
        write_block(folder / "blocks" / f"{row.block}.zarr.zip", images, where)
        with Receipt(
            folder / "receipts" / f"reconstruct-{row.block}.json", "reconstruct", **names
        ) as receipt:
            receipt.record(**where, images=row.images, shape=list(acquired.shape))
    common = (
        *("--reconstruction", "r", "--plan", folder / "plan.tsv"),
        *("--image", folder / "image.json"),
    )
    yield run(
        folder,
        "merge",
        *common,
        *(
            "--settings",
            f'{{"output": {EVERY_OUTPUT}}}',
            "--blocks",
            folder / "blocks",
            "--threads",
            "2",
        ),
    )
    yield run(
        folder,
        "measure",
        *common,
        *("--settings", '{"frames_per_image": 1, "metrics": {}}', "--metrics", folder / "m.csv"),
        *("--receipts", folder / "receipts"),
    )


def assert_held(receipt):
    measured, predicted = receipt["peak_host_bytes"], receipt["predicted_host_bytes"]
    assert measured <= predicted <= receipt["limit_host_bytes"]
    # Not by asking for too much: others wait for what a job does not use.
    assert predicted <= 1.3 * measured or predicted <= 200e6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("acquisition", "calibration"),
    [
        (
            {"shape": (64, 56, 60), "readouts": 9000, "samples": 200},
            '{"density": "pipe-menon", "density_iterations": 1}',
        ),
        (
            {"shape": (72, 80, 64), "coils": 10, "readouts": 500, "samples": 96, "radial": True},
            '{"coil_maps": "walsh", "calibration_width": 14}',
        ),
        (
            {"shape": (72, 80, 64), "coils": 12, "readouts": 500, "samples": 96, "radial": True},
            '{"coil_maps": "espirit", "calibration_width": 14, "virtual_coils": 8}',
        ),
        (
            {"shape": (72, 80, 64), "coils": 6, "readouts": 500, "samples": 96, "radial": True},
            '{"coil_maps": "espirit", "calibration_width": 12, "espirit": '
            '{"sets": 2, "crop": 0.8}}',
        ),
        (
            {"shape": (72, 64), "frames": 40, "own": True, "readouts": 1200, "samples": 256},
            '{"coil_maps": "walsh", "density": "none", "density_iterations": 1}',
        ),
        (
            {"shape": (72, 64), "frames": 300, "coils": 24, "readouts": 8, "samples": 512},
            '{"coil_maps": "none", "density": "none", "consistency": false, "binning": '
            '{"navigator": "projections", "repetition_time": 0.05}}',
        ),
        (
            {"shape": (48, 56, 72), "coils": 16, "lines": True},
            '{"coil_maps": "none", "density": "none", "consistency": false, "virtual_coils": 4, '
            '"compression": "geometric"}',
        ),
        (
            {"shape": (72, 64), "frames": 6, "coils": 24, "readouts": 300, "samples": 512},
            '{"coil_maps": "none", "density": "none", "consistency": false, "noise_region": '
            '{"outermost": 0.4}}',
        ),
        (
            {"shape": (160, 168, 152), "coils": 2, "sensitivities": (2, 160, 168, 152)},
            '{"density": "none"}',
        ),
    ],
    ids=[
        "pipe-menon",
        "walsh",
        "espirit",
        "two sets by espirit",
        "walsh by weights of one frame at a time",
        "projections as a navigator",
        "geometric compression",
        "noise of a region",
        "copied maps",
    ],
)
def test_calibrate_takes_what_was_predicted(tmp_path, acquisition, calibration):
    write_mri(tmp_path / "raw.json", **acquisition)
    assert_held(calibrated(tmp_path, f'{{"calibration": {calibration}, "nufft": {{}}}}'))


@pytest.mark.slow
def test_calibrating_pairs_takes_what_was_predicted(tmp_path):
    scene = Scene(shape=(24, 20), spacing=(0.05, 0.05), origin=(-0.6, -0.5))
    write_pairs(tmp_path / "raw.json", scene, (72, 80))
    assert_held(calibrated(tmp_path, '{"calibration": {}, "nufft": {}}'))


@pytest.mark.slow
def test_looking_for_a_reference_target_takes_what_was_predicted(tmp_path):
    scene = Scene(shape=(24, 20), spacing=(0.05, 0.05))
    arrays = [np.linspace([-1, y, 5], [1, y, 5], count) for y, count in ((0, 12), (2, 10))]
    frequencies, target = np.linspace(1.0e9, 1.2e9, 50_000), np.array([0.1, -0.1, 0.0])
    pair = Pair(*arrays)
    seen = target_response(pair, frequencies, target, scene, None).astype(np.complex64)
    store(tmp_path / "raw.json", pairs_acquisition(scene, frequencies, [seen[None]], [pair]), "d")
    known = {"reference_target": {"position": target.tolist(), "largest_delay": 1e-9}}
    settings = {"calibration": {}, "nufft": {}, "instruments": known}
    assert_held(calibrated(tmp_path, json.dumps(settings)))


@pytest.mark.slow
def test_merge_and_measure_take_what_was_predicted(tmp_path):
    shape = (168, 176, 160)
    write_mri(tmp_path / "raw.json", shape, reference=(1, *shape))
    for receipt in merged_and_measured(tmp_path, {"algorithm": "gridding"}):
        assert_held(receipt)


@pytest.mark.slow
def test_merging_many_planes_takes_what_was_predicted(tmp_path):
    write_mri(tmp_path / "raw.json", (260, 16, 18), frames=4)
    assert_held(next(merged_and_measured(tmp_path, {"algorithm": "gridding"})))


@pytest.mark.slow
def test_measuring_scenes_takes_what_was_predicted(tmp_path):
    shape = (1500, 1600)
    scene = Scene(shape=shape, spacing=(0.3, 0.3), origin=(-225.0, -240.0))
    random = np.random.default_rng(5)
    write_pairs(
        tmp_path / "raw.json",
        scene,
        (6, 7),
        reference=complex_normal(random, (1, *scene.volume)),
        targets=np.array([[0.0, 20.0, 0.0], [30.0, -15.0, 0.0]]),
    )
    for receipt in merged_and_measured(tmp_path, {"algorithm": "gridding"}):
        assert_held(receipt)


VOLUME = Acquired(
    kind="mri",
    shape=(320, 300, 280),
    frames=1,
    arrays={"kspace": (1, 32, 60_000, 400), "trajectory": (1, 60_000, 400, 3)},
    pattern="other",
    rows=(),
)


def need_of(**calibration):
    settings = CalibrateSettings.model_validate({"calibration": calibration, "nufft": {}})
    return settings, calibrate_need(VOLUME, settings, threads=2, on_device=False)


def test_a_calibration_that_cannot_fit_is_refused_with_its_arithmetic_and_what_helps():
    settings, need = need_of()
    job = Calibrating("brain", VOLUME, settings, 2, "cpu")
    advice = [line for step in STEPS for line in step.advice(job, need)]
    with pytest.raises(PlanError) as refused:
        require_fit(need, Limits(0, 1000), who="brain: calibrate", advice=advice)
    message = str(refused.value)
    assert message.startswith(f"brain: calibrate needs {need.host_mb} MB, but memory.host_mb is")
    terms = re.search(r"\((.*) MB\)", message)[1].split(" + ")
    assert sum(int(term.rsplit(" ", 1)[1]) for term in terms) == pytest.approx(
        need.host_mb, abs=len(terms)
    )
    assert f"memory.host_mb: {need.host_mb}" in message
    assert "calibration.density: none" in message
    require_fit(need, Limits(0, need.host_mb), who="brain: calibrate")


def test_a_doubled_matrix_of_whole_trajectories_is_what_pipe_menon_needs():
    _, need = need_of(density="pipe-menon", coil_maps="none")
    doubled, samples = 8 * 320 * 300 * 280, 60_000 * 400
    # At the least an image and a window on the doubled matrix, and the trajectory twice.
    assert need.host_bytes > (8 + 4) * doubled + 2 * 12 * samples
    _, without = need_of(density="none", coil_maps="none", consistency=False)
    assert without.host_mb < 400
    # What cannot be done stops its own job, not the making of the graph of all jobs.
    assert need_of(density="source")[1].host_mb <= without.host_mb


def test_the_longer_measurement_of_spokes_needs_no_more_but_for_its_angles():
    def spokes(readouts):
        arrays = {"kspace": (1, 1, readouts, 400), "trajectory": (1, readouts, 400, 3)}
        acquired = Acquired("mri", (64, 60, 56), 1, arrays, "radial", ())
        settings = CalibrateSettings.model_validate({"calibration": {}, "nufft": {}})
        return calibrate_need(acquired, settings, threads=2, on_device=False).host_bytes

    assert spokes(2_000_000) - spokes(1_000_000) < 300e6
    assert 8 * 1_000_000 * 400 > 10 * 300e6
