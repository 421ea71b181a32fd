"""What `kronufft tune` measures, chooses and writes, and that plans and jobs go by it."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from exact import dense_matrix, exact_adjoint, relative_error
from hypothesis import given
from hypothesis import strategies as st
from stage_runs import files_in, reconstructed

from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import load_config
from pipeline.config.transforms import NufftSettings, TransformChoice
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.engine.table import read_plan
from pipeline.engine.tuned_choice import tuned
from pipeline.engine.tuning_file import (
    BatchTiming,
    Identity,
    ProductTiming,
    ThreadTiming,
    Timings,
    TransformTiming,
    Tuning,
    read_tuning,
    write_tuning,
)
from pipeline.errors import ConfigError, DataError
from pipeline.storage.publish import read_json
from pipeline.tuning.acquisition import TunedAcquisition, imagined_acquisition, stored_acquisition
from pipeline.tuning.exact_sums import ErrorProbe, exact_voxels
from pipeline.tuning.products import Decomposition, decompositions, product_error
from pipeline.tuning.timing import race
from pipeline.tuning.transforms import Candidate, candidates, measure_transforms
from pipeline.tuning.tune import tune

CPU = torch.device("cpu")
SHAPE = (14, 11)


def acquisition(shape=SHAPE, samples=150, coils=2) -> TunedAcquisition:
    return imagined_acquisition(shape, coils=coils, samples=samples, frames=2, trajectory="random")


def timing(seconds=1e-3, error=1e-4, **changes) -> TransformTiming:
    values = {
        "backend": "finufft",
        "precision": "single",
        "tolerance": 5e-4,
        "oversampling": 2.0,
        "forward_error": error,
        "adjoint_error": error / 2,
        "forward_seconds": seconds / 2,
        "adjoint_seconds": seconds / 2,
        "setup_seconds": seconds,
    }
    return TransformTiming(**(values | changes))


def measurement(*transforms, rates=None, shape=SHAPE, fft="torch", **changes) -> Timings:
    values = {
        "measured": "2026-01-02T03:04:05+00:00",
        "machine": Identity(device="cpu", name="some processor", threads=2, versions={}),
        "shape": shape,
        "coils": 3,
        "frames": 1,
        "samples": 1000,
        "source": "random",
        "tolerance": 1e-3,
        "transforms": transforms or (timing(),),
        "products": (ProductTiming(fft=fft, piece_bytes=2**22, error=1e-6, seconds=1e-3),),
        "batches": (),
        "threads": (),
        "rates": rates or Rates.host(2),
    }
    return Timings(**(values | changes))


@pytest.mark.parametrize("shape", [(7, 6), (5, 4, 6)])
def test_exact_sums_are_the_dense_adjoint(shape):
    generator = torch.Generator().manual_seed(3)
    trajectory = torch.rand(len(shape), 40, generator=generator) * 6 - 3
    data = torch.randn(40, dtype=torch.complex64, generator=generator)
    voxels = torch.randperm(int(np.prod(shape)), generator=generator)[:9]
    found = exact_voxels(data, trajectory, shape, voxels)
    expected = exact_adjoint(data.numpy(), trajectory.numpy(), shape).ravel()[voxels]
    assert relative_error(found.numpy(), expected) < 1e-12


@pytest.mark.parametrize("backend", ["finufft", "torchkbnufft"])
def test_measured_errors_are_those_of_a_dense_matrix(backend):
    """Of few neighbours and of many: the first error is far larger, and so measured."""
    pytest.importorskip(backend)
    probe = ErrorProbe(SHAPE, acquisition().trajectories[0])
    matrix = dense_matrix(SHAPE, probe.trajectory.numpy())
    measured = []
    for tolerance, width in ((3e-2, 3), (1e-4, 6)):
        candidate = Candidate(
            backend, "single", tolerance, 2.0, width if backend == "torchkbnufft" else None
        )
        transform = candidate.transform(
            SHAPE, probe.trajectory.to(torch.float32), coils=None, threads=1
        )
        forward = max(
            relative_error(transform(image).numpy(), matrix @ image.numpy().ravel())
            for image in probe.images
        )
        back = relative_error(
            transform.adjoint(probe.data).numpy().ravel(), matrix.conj().T @ probe.data.numpy()
        )
        errors = probe.errors(transform)
        # From 48 of 150 samples and of 154 voxels.
        assert errors == pytest.approx((forward, back), rel=0.6)
        measured.append(max(errors))
    assert measured[0] > 10 * measured[1]


def test_products_are_as_exact_as_single_precision():
    found = {product_error(acquisition((9, 8, 10), 900), way) for way in decompositions(CPU)}
    assert min(found) > 0
    assert max(found) < 5e-6


def test_pieces_do_not_change_a_product():
    torch.manual_seed(0)
    shape = (12, 10, 9)
    spectrum, image = torch.rand(24, 20, 18), torch.randn(shape, dtype=torch.complex64)
    whole = Decomposition("scipy", 2**24).operator(spectrum, shape, 2)(image)
    for way in decompositions(CPU):
        small = replace(way, piece_bytes=2**16).operator(spectrum, shape, 2)
        assert relative_error(small(image).numpy(), whole.numpy()) < 1e-6


def test_candidates_are_timed_and_the_choice_keeps_the_tolerance():
    small = acquisition()
    found = measure_transforms(
        replace(small, threads=2), tolerance=1e-3, precisions=("single",), seconds=3
    )
    assert "finufft" in {each.backend for each in found}
    timed = [each for each in found if each.seconds]
    assert timed
    assert all(each.repeats and each.workspace_bytes for each in timed)
    assert all(each.note for each in found if not each.seconds)
    chosen = measurement(*found).fastest(1e-3, "single")
    assert chosen.error <= 1e-3
    # Measured once more, on other data.
    probe = ErrorProbe(SHAPE, small.trajectories[1])
    candidate = Candidate(
        *(chosen.backend, chosen.precision, chosen.tolerance),
        *(chosen.oversampling, chosen.kernel_width),
    )
    again = candidate.transform(SHAPE, probe.trajectory.float(), coils=None, threads=2)
    assert max(probe.errors(again)) <= 1.5e-3


def test_nothing_is_tried_that_a_library_does_not_reach():
    tried = candidates(acquisition(), 1e-5, ("single",))
    assert {each.backend for each in tried} >= {"finufft"}
    both = candidates(acquisition(), 1e-3, ("single", "double"))
    assert {("finufft", "single"), ("finufft", "double")} <= {
        (each.backend, each.precision) for each in both
    }
    assert all(each.tolerance >= 1e-6 for each in tried)
    assert all(each.tolerance >= 1e-5 for each in tried if each.backend != "ducc0")


@given(
    st.lists(st.tuples(st.floats(1e-5, 1.0), st.floats(1e-9, 1.0)), min_size=1, max_size=8),
    st.floats(1e-9, 1.0),
)
def test_choice_and_front_by_definition(pairs, tolerance):
    found = measurement(*(timing(seconds, error) for seconds, error in pairs))
    allowed = [each for each in found.transforms if each.error <= tolerance]
    chosen = found.fastest(tolerance, "single")
    assert (chosen is None) == (not allowed)
    if chosen is not None:
        assert chosen.error <= tolerance
        assert chosen.seconds == min(each.seconds for each in allowed)
    front = found.front("single")
    for each in found.transforms:
        assert any(
            better.seconds <= each.seconds and better.error <= each.error for better in front
        )
    for before, after in pairwise(front):
        assert before.seconds <= after.seconds
        assert before.error > after.error
    assert found.fastest(tolerance, "double") is None
    assert found.fastest(tolerance, "single", {"ducc0"}) is None


def test_a_larger_batch_has_to_be_worth_its_memory():
    def sizes(*seconds):
        return tuple(
            BatchTiming(transforms=2**power, seconds=each, product_seconds=each)
            for power, each in enumerate(seconds)
        )

    assert measurement(batches=sizes(4.0, 2.0, 1.01, 1.0)).batch() == 4
    assert measurement(batches=sizes(1.0, 0.99)).batch() == 1
    assert measurement().batch() is None


def test_rates_follow_the_threads_that_were_measured():
    threads = (ThreadTiming(threads=1, seconds=3.0), ThreadTiming(threads=2, seconds=2.0))
    found = measurement(threads=threads)
    assert found.rates_on(1).spread == pytest.approx(found.rates.spread * 2 / 3)
    assert found.rates_on(16).fft == found.rates.fft
    assert found.rates_on(1).read == found.rates.read


def test_a_race_gives_up_what_is_hopeless_and_repeats_the_rest():
    seconds = {"fast": 1.0, "as fast": 1.1, "slow": 9.0}
    runs = race(
        {name: lambda each=each: (each,) for name, each in seconds.items()},
        deadline=float("inf"),
        rivals=lambda name: [other for other in seconds if other != name],
    )
    assert len(runs["slow"]) == 1
    assert len(runs["fast"]) == len(runs["as fast"]) > 5


def test_the_file_holds_one_measurement_of_each_kind(tmp_path):
    path = tmp_path / "tuning.json"
    first, other = measurement(), measurement(timing(2.0), shape=(8, 9, 10))
    again = measurement(timing(3.0))
    tuning = Tuning(measurements=(first,)).with_measurement(other).with_measurement(again)
    write_tuning(path, tuning)
    assert read_tuning(path).measurements == (other, again)
    assert read_tuning(path).nearest(on_device=False, shape=(90, 90), precision="single") == again
    assert read_tuning(path).nearest(on_device=True, shape=(9, 9), precision="single") is None
    assert read_tuning(path).nearest(on_device=False, shape=(9, 9), precision="double") is None
    with pytest.raises(DataError, match="no such file"):
        read_tuning(tmp_path / "absent.json")
    path.write_text(path.read_text().replace("some", "same"))
    with pytest.raises(DataError):
        read_tuning(path)


def _tuning(path, *transforms, **changes):
    write_tuning(path, Tuning(measurements=(measurement(*transforms, **changes),)))
    return path


def test_settings_that_insist_go_before_measurements(tmp_path):
    path = _tuning(tmp_path / "tuning.json", timing(1.0, backend="ducc0"), timing(2.0))
    machine = Machine(False, 2, 8, NufftSettings(backend="finufft"))
    assert tuned(machine, SHAPE, path, "who")[0].choice.backend == "finufft"
    wider = replace(machine, choice=TransformChoice(oversampling=1.7))
    choice = tuned(wider, SHAPE, path, "who")[0].choice
    assert (choice.backend, choice.oversampling, choice.fft) == ("auto", 1.7, "torch")
    exact, _, notes = tuned(
        replace(machine, nufft=NufftSettings(backend="finufft", tolerance=1e-5)), SHAPE, path, "who"
    )
    assert exact.choice.tolerance is None
    assert "going by rules" in notes[0]
    _, _, notes = tuned(machine, (9, 9, 9), path, "who")
    assert "nothing for single precision and 3 axes on a CPU" in notes[0]


def test_jobs_compute_as_was_chosen(tmp_path):
    write_acquisition(tmp_path, shape=SHAPE, coils=3, readouts=11, samples=13)
    reconstruction = {"algorithm": "cg-sense", "iterations": 9, "regularization": 0.5}
    plain, receipt = reconstructed(tmp_path, **reconstruction)
    assert receipt["transforms"] == {"backend": "auto", "fft": "auto"}
    path = _tuning(tmp_path / "tuning.json", timing(error=9e-4), timing(error=2e-3, seconds=1e-6))
    found, receipt = reconstructed(tmp_path, tuning=path, **reconstruction)
    assert receipt["backend"] == "finufft"
    assert receipt["transforms"] == {
        "backend": "finufft",
        "tolerance": 5e-4,
        "oversampling": 2.0,
        "fft": "torch",
        "piece_bytes": 2**22,
    }
    difference = relative_error(found, plain)
    assert 0 < difference < 5e-3
    (row,) = read_plan(files_in(tmp_path).plan).blocks.values()
    assert row.transforms.backend == "finufft"
    assert "finufft" in read_json(files_in(tmp_path).receipt("plan"))["notes"][0]


def test_other_rates_change_the_seconds_but_not_the_job(tmp_path):
    write_acquisition(tmp_path, shape=SHAPE, coils=3, readouts=11, samples=13)

    def planned(rates, **changes):
        path = _tuning(tmp_path / "tuning.json", rates=rates, **changes)
        reconstructed(tmp_path, tuning=path, algorithm="cg-sense", iterations=2)
        (row,) = read_plan(files_in(tmp_path).plan).blocks.values()
        return row

    rates = Rates.host(2)
    usual = planned(rates)
    slow = planned(rates.model_copy(update={"toeplitz": 1e4, "start": 20.0}))
    assert slow.seconds > usual.seconds + 19.5 + 2 * 3 / 1e4
    assert slow.work() == usual.work()
    assert planned(rates, fft="scipy").work() != usual.work()


def test_only_the_plan_sees_the_tuning_file():
    def settings(stage, tuning):
        content = {
            "nufft": {"tuning": tuning},
            "reconstructions": {"cg": {"algorithm": "cg-sense"}},
        }
        row = Dataset(
            dataset="a", kind="mri", format="native", source="x.zarr", reconstructions=("cg",)
        )
        return stage_settings(load_config(content), row, stage, "cg")

    for stage in ("calibrate", "accumulate", "reconstruct"):
        assert settings(stage, "a.json") == settings(stage, None)
    assert settings("plan", "a.json") != settings("plan", None)


def test_sizes_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="spiral for an image of 3 axes"):
        imagined_acquisition((8, 8, 8), coils=1, samples=99, frames=1, trajectory="spiral")
    with pytest.raises(DataError, match="no such file"):
        stored_acquisition(tmp_path / "raw.json")


@pytest.mark.slow
def test_tune_writes_a_file_and_a_picture_that_a_plan_uses(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.tuning.rates._STARTS", 1)  # jobs, of which the fastest counts
    write_acquisition(tmp_path, shape=SHAPE, coils=2, readouts=9, samples=16)
    path = tmp_path / "made" / "tuning.json"
    found = tune(
        stored_acquisition(tmp_path / "raw.json"),
        tolerance=1e-3,
        precisions=("single",),
        device="cpu",
        threads=2,
        seconds=2,
        output=path,
    )
    assert read_tuning(path).measurements == (found,)
    assert found.batches
    assert found.threads
    assert all(value > 0 for value in found.rates.model_dump().values())
    assert "relative error against the exact sum" in path.with_suffix(".svg").read_text()
    assert "chosen" in capsys.readouterr().out
    chosen = found.fastest(1e-3, "single")
    _, receipt = reconstructed(tmp_path, tuning=path, algorithm="gridding")
    assert receipt["transforms"]["backend"] == chosen.backend
    assert receipt["transforms"]["oversampling"] == chosen.oversampling
    assert json.dumps(receipt["canary"])
