"""Solves that are killed go on where they were, and end with the same bits."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from acquisitions import reconstruction_settings, write_acquisition
from dense_problems import dense_problem

from pipeline.algorithms.base import Problem
from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.base import canonical_json
from pipeline.solvers.checkpoints import NO_CHECKPOINT, Nested
from pipeline.solvers.fusion import phase_aligned
from pipeline.solvers.noise import Noise
from pipeline.stages.plan import plan
from pipeline.storage.archives import open_archive
from pipeline.storage.publish import read_json
from pipeline.storage.solver_state import SolverState, state_path

SOLVES = {
    "least squares": {"algorithm": "tikhonov", "iterations": 12, "regularization": 0.1},
    "least squares by discrepancy": {
        "algorithm": "tikhonov",
        "iterations": 10,
        "regularization": "discrepancy",
    },
    "fista": {"algorithm": "fista", "iterations": 25},
    "fista by discrepancy, debiased": {
        "algorithm": "fista",
        "iterations": 20,
        "sparsity": "discrepancy",
        "debias": True,
    },
    "admm": {"algorithm": "admm", "iterations": 20, "tolerance": 1e-9, "inner_iterations": 4},
    "fista, total variation": {"algorithm": "fista", "penalty": "tv", "iterations": 25},
    "fista, wavelets": {"algorithm": "fista", "penalty": "wavelet", "iterations": 25},
    "total variation": {"algorithm": "admm", "iterations": 15, "penalty": "tv", "rho": 0.3},
    "wavelets": {"algorithm": "admm", "iterations": 15, "penalty": "wavelet"},
    "fista, locally low rank": {
        "algorithm": "fista",
        "penalty": "llr",
        "series": {"basis": "frames"},
        "iterations": 25,
    },
    "primal-dual, total generalised variation": {
        "algorithm": "primal-dual",
        "penalty": "tgv",
        "iterations": 25,
    },
    "points": {"algorithm": "omp", "points": 7},
}


class KilledError(Exception):
    """Stands for SIGKILL: nothing after the last state that was kept."""


class KilledAfter:
    """Keeps the state of one iteration, after which the job dies."""

    def __init__(self, checkpoint, offers):
        self.checkpoint, self.offers = checkpoint, offers

    def restore(self):
        return self.checkpoint.restore()

    def offer(self, iteration, state):
        self.offers -= 1
        if self.offers == 0:
            self.checkpoint.offer(iteration, state)
            raise KilledError


def nothing(iteration, residual):
    """Report to nobody."""


def small_problem():
    dense = dense_problem(60, (8, 12), problems=(2,), nonzero=6, noise=0.05)
    normal = dense.normal
    level = torch.full((2,), 0.05, dtype=torch.float64)
    noise = Noise(level, level * math.sqrt(60))
    return Problem(normal, torch.ones(2, dtype=torch.float64), 2, noise, lambda: None, "test")


def kept(path, fingerprint="same", seconds=1e-9):
    return SolverState(path, fingerprint=lambda: fingerprint, seconds=seconds, who="test")


@pytest.mark.parametrize("settings", SOLVES.values(), ids=SOLVES)
def test_an_interrupted_solve_ends_with_the_same_bits(tmp_path, settings):
    chosen = parse_algorithm(settings)
    offers = []

    class Counting:
        def restore(self):
            return None

        def offer(self, iteration, state):
            offers.append(iteration)

    undisturbed = chosen.run(small_problem(), nothing, Counting())
    file, last = tmp_path / "state.npz", int(0.7 * len(offers))
    dying = KilledAfter(kept(file).solve("a"), last)
    with pytest.raises(KilledError):
        chosen.run(small_problem(), nothing, dying)
    state = kept(file, seconds=1000)  # it is read, and no other is written
    resumed = chosen.run(small_problem(), nothing, state.solve("a"))
    assert state.resumed["iteration"] == offers[last - 1]
    assert torch.equal(resumed.solution.image, undisturbed.solution.image)
    assert torch.equal(resumed.solution.residuals, undisturbed.solution.residuals)
    assert torch.equal(resumed.solution.iterations, undisturbed.solution.iterations)
    assert resumed.evaluations == undisturbed.evaluations
    assert torch.equal(resumed.objective, undisturbed.objective)


def test_phases_are_found_again(tmp_path):
    parts = dense_problem(20, (3, 5), problems=(4,), noise=0.01)
    chosen = parse_algorithm({"algorithm": "fista", "iterations": 9})

    def run(checkpoint):
        nested = Nested(checkpoint)

        def solve(normal):
            one = Problem(
                normal, torch.ones((), dtype=torch.float64), 2, None, lambda: None, "test"
            )
            return chosen.run(one, nothing, nested).solution

        return phase_aligned(parts.normal, solve, image_axes=2, rounds=4, nested=nested)

    undisturbed = run(NO_CHECKPOINT)
    with pytest.raises(KilledError):
        run(KilledAfter(kept(tmp_path / "s.npz").solve("a"), 20))
    resumed = run(kept(tmp_path / "s.npz", seconds=1000).solve("a"))
    assert torch.equal(resumed.solution.image, undisturbed.solution.image)
    assert torch.equal(resumed.phases, undisturbed.phases)
    assert resumed.evaluations == undisturbed.evaluations
    assert resumed.rounds == undisturbed.rounds


def test_a_state_of_something_else_or_a_damaged_one_is_not_used(tmp_path, capsys):
    path = tmp_path / "state.npz"
    written = kept(path)
    written.offer("images 0 to 3", 5, lambda: {"x": torch.arange(3000.0)})
    assert written.written == 1
    assert torch.equal(kept(path).load("images 0 to 3")["x"], torch.arange(3000.0))
    assert kept(path).load("images 4 to 7") is None
    assert kept(path, "of other settings").load("images 0 to 3") is None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert kept(path).load("images 0 to 3") is None
    assert "not readable" in capsys.readouterr().err
    path.write_bytes(content[:50])
    assert kept(path).load("images 0 to 3") is None


def test_states_are_as_far_apart_as_the_settings_say(tmp_path):
    state = SolverState(tmp_path / "s.npz", fingerprint=lambda: "f", seconds=1000, who="test")
    state.offer("a", 1, dict)
    assert state.written == 0
    never = SolverState(tmp_path / "s.npz", fingerprint=lambda: "f", seconds=0, who="test")
    never.offer("a", 1, dict)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_job_goes_on_and_publishes_the_same_image(tmp_path):
    write_acquisition(tmp_path, shape=(36, 30), coils=3, readouts=40, samples=50)
    planned, chosen = reconstruction_settings(
        deterministic=True, algorithm="admm", penalty="tv", iterations=200
    )
    endless = chosen.reconstruction.model_copy(update={"tolerance": 1e-12})
    chosen = chosen.model_copy(update={"reconstruction": endless})
    files = {"raw": "raw.json", "calibration": "calibration.json", "plan": "plan.tsv"}
    files = {name: tmp_path / path for name, path in files.items()}
    names = {"dataset": "random", "reconstruction": "test"}
    receipt = tmp_path / "planned.json"
    plan(settings=planned, receipt=receipt, device="cpu", threads=2, **names, **files)

    def command(image, *options):
        paths = {**names, **files, "block": "0000", "shares": tmp_path, "image": image}
        paths |= {"receipt": image.with_suffix(".json"), "settings": canonical_json(chosen)}
        arguments = [str(part) for name, value in paths.items() for part in (f"--{name}", value)]
        started = [sys.executable, "-m", "pipeline", "reconstruct", *arguments]
        return [*started, "--device", "cpu", "--threads", "2", *options]

    undisturbed, image = tmp_path / "undisturbed.zip", tmp_path / "image.zip"
    whole = subprocess.Popen(command(undisturbed), stderr=subprocess.DEVNULL)
    often = ("--checkpoint-seconds", "0.05")
    killed = subprocess.Popen(command(image, *often), stderr=subprocess.DEVNULL)
    while not state_path(image).exists() and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not image.exists()
    again = subprocess.run(command(image, *often), capture_output=True, text=True, check=True)
    assert "goes on after iteration" in again.stderr
    assert whole.wait() == 0
    receipts = [read_json(path.with_suffix(".json")) for path in (undisturbed, image)]
    assert 0 < receipts[1]["resumed_at"]["iteration"] < 200
    assert "resumed_at" not in receipts[0]
    for name in ("residuals", "operator_evaluations", "objective", "stopped", "rho"):
        assert receipts[0][name] == receipts[1][name]
    images = []
    for path in (undisturbed, image):
        with open_archive(path) as group:
            images.append(group["image"][:])
    np.testing.assert_array_equal(images[0], images[1])
    assert not state_path(image).exists()
