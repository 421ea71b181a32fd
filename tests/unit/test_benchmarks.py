"""The benchmark keeps working: implementations agree with exact results, measurements arrive."""

import csv
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import device_figures, first_figures, radar
from benchmarks.cases import CASES, Problem, make_problem, quick
from benchmarks.implementations import ENTRIES
from benchmarks.measurement import Effort, measure
from benchmarks.table import COLUMNS
from benchmarks.truth import CONVERGED, ITERATIONS, OPERATIONS, make_truth, relative_error
from benchmarks.worker import measure_convergence

PROGRAMME = Path(__file__).resolve().parents[1] / "benchmarks" / "run.py"

# What sigpy and torchkbnufft reach, whose accuracy is not a setting. Errors of explicit normal
# operators grow over ten iterations on an ill-conditioned problem.
ALLOWED = {
    "forward": 2e-3,
    "adjoint": 2e-3,
    "normal": 2e-3,
    "cg-sense": 5e-2,
    "converged": CONVERGED,
}


@pytest.fixture(scope="module", params=[case.name for case in CASES[1:]])
def problem(request, tmp_path_factory) -> tuple[Problem, Path]:
    case = next(case for case in CASES if case.name == request.param)
    folder = tmp_path_factory.mktemp(case.name)
    problem = make_problem(quick(case))
    for operation in case.operations:
        make_truth(problem, operation, folder, threads=1)
    return problem, folder


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if not entry.slow])
def test_implementations_give_the_exact_result(name, problem):
    entry = ENTRIES[name]
    if entry.missing() or "cpu" not in entry.devices:
        pytest.skip(f"needs {', '.join(entry.missing()) or entry.devices}")
    data, folder = problem
    if data.prior not in entry.priors or (data.prior == "tv" and name == "sigpy"):
        pytest.skip("does not know of it, or takes long")
    for operation in entry.operations:
        if data.prior != "l2" and operation != "converged":
            continue
        if operation == "converged" and len(data.shape) == 3:
            continue  # so few spokes in 3D determine next to nothing
        implementation = entry.load()(data, tolerance=1e-5, threads=1)
        if operation == "cg-sense":
            found, _ = implementation.solve(implementation.to_native(data.kspace), ITERATIONS)
        elif operation == "converged":
            scan = implementation.to_native(np.load(folder / "scan.npy"))
            found, _ = measure_convergence(folder, implementation, operation, scan, budget=0)
        else:
            implementation.prepare(operation)
            array = data.kspace if operation == "adjoint" else data.image
            found = getattr(implementation, operation)(implementation.to_native(array))
        error = relative_error(implementation.to_numpy(found), operation, folder)
        assert error < ALLOWED[operation], operation


def test_exact_sums_against_the_dense_matrix(problem):
    data, folder = problem
    if data.prior != "l2":
        pytest.skip("only whole reconstructions")
    grid = np.stack(
        np.meshgrid(*(np.arange(n) - n // 2 for n in data.shape), indexing="ij"), -1
    ).reshape(-1, len(data.shape))
    for frame, (points, image, kspace) in enumerate(
        zip(data.trajectory, data.image, data.kspace, strict=True)
    ):
        matrix = np.exp(-1j * (points.astype(float) @ grid.T))
        forward = (data.maps * image).reshape(len(data.maps), -1) @ matrix.T
        adjoint = (data.maps.conj().reshape(len(data.maps), -1) * (kspace @ matrix.conj())).sum(0)
        for operation, expected in (("forward", forward), ("adjoint", adjoint)):
            with np.load(folder / f"{operation}.npz") as stored:
                found, where = stored["values"][frame], stored["points"]
            np.testing.assert_allclose(found, expected[..., where], rtol=1e-6)


@pytest.mark.slow
def test_the_programme_writes_its_table(tmp_path):
    output = tmp_path / "benchmarks.csv"
    command = [sys.executable, str(PROGRAMME), "--quick", "--cases", "radial-2d"]
    command += ["--operations", "cg-sense", "--implementations", "kronufft,finufft"]
    done = subprocess.run(
        [*command, "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [row["implementation"] for row in rows] == ["kronufft", "finufft"]
    assert all(float(row["seconds"]) > 0 and float(row["peak_mb"]) > 20 for row in rows)
    assert all(float(row["relative_error"]) < ALLOWED["cg-sense"] for row in rows)
    assert "1.00" in done.stdout  # ours in units of ours


def test_what_cannot_be_measured_says_why(monkeypatch):
    monkeypatch.setitem(ENTRIES, "absent", ENTRIES["sigpy"].__class__("none", "None", ("no_such",)))
    effort = Effort(device="cpu", threads=1, tolerance=1e-3, seconds=0.0, limit=0.01)
    rows = list(
        measure([quick(CASES[0])], ["forward"], ["absent", "finufft"], effort, lambda _: None)
    )
    assert [row["note"] for row in rows] == ["not installed: no_such", "over 0.01 s"]


def test_a_step_of_a_gpu_that_is_stopped_leaves_its_figures(tmp_path):
    code = "import time; print('{\"seconds\": 0.5}', flush=True); time.sleep(60)"
    step = first_figures.Step("rates", ("-c", code), limit=4.0)
    lacking = first_figures.Step("nufft", ("-c", ""), limit=4.0, needs=("no_such",))
    record = first_figures.Record(tmp_path / "figures.jsonl")
    assert first_figures.take(step, 4.0, record, tmp_path) == "over time, 1 figures"
    assert first_figures.take(lacking, 4.0, record, tmp_path) == "missing: no_such"
    with (tmp_path / "figures.jsonl").open("a") as file:
        file.write('{"step": "rat')  # and the whole was killed
    found = first_figures.told(
        first_figures.Record(tmp_path / "figures.jsonl"), ["rates", "nufft", "normal"]
    )
    assert "| seconds |\n| --- |\n| 0.5 |" in found
    assert "- rates: over time\n- nufft: missing; no_such\n- normal: not reached" in found


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["rates", "normal", "cg-sense", "streamed"])
def test_figures_of_a_gpu_are_taken_in_small(name):
    rows = list(device_figures.FIGURES[name](torch.device("cuda"), True))
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()
    assert all(row.get("from the first", 0) < 1e-3 for row in rows)
    assert all(row["torch_mb"] > 0 for row in rows if "matrix" in row)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu(tmp_path):
    effort = Effort(device="cuda", threads=1, tolerance=1e-3, seconds=0.0, limit=120.0)
    names = [name for name, entry in ENTRIES.items() if "cuda" in entry.devices]
    for row in measure([quick(CASES[2])], OPERATIONS, names, effort, lambda _: None):
        if not str(row.get("note", "")).startswith("not installed"):
            assert row["relative_error"] < ALLOWED[row["operation"]], row


@pytest.mark.parametrize("case", [case for case in radar.CASES if case.name in ("2d-64", "3d")])
def test_ways_to_apply_kronecker_products_agree(case):
    small = replace(case, shape=tuple(n // 8 for n in case.shape), pairs=2, frequencies=3)
    problem = radar.Problem(small, torch.complex64)
    matrices = torch.empty(*problem.measured.shape[:2], 0, 1)
    for index, factor in enumerate(problem.factors):
        wide = factor.to(torch.complex128)
        matrices = (
            wide
            if not index
            else torch.einsum("pkam,pkbn->pkabmn", matrices, wide).flatten(2, 3).flatten(3, 4)
        )
    image = problem.image.to(torch.complex128).flatten()
    measured = problem.measured.to(torch.complex128).flatten(2)
    forward = (matrices @ image).numpy().ravel()
    adjoint = torch.einsum("pkmn,pkm->n", matrices.conj(), measured).numpy()
    ways = [radar.ours, radar.textbook, radar.contractions]
    ways += [
        way
        for package, way in (("pylops", radar.pylops), ("linear_operator", radar.linear_operator))
        if find_spec(package) and (package != "pylops" or len(case.shape) == 2)
    ]
    for way in ways:
        for name, there, back, _ in way(problem):
            found = np.concatenate([np.asarray(part).ravel() for part in there()])
            assert distance(found, forward) < 1e-5, name
            assert distance(np.asarray(back()).ravel(), adjoint) < 1e-5, name
    operator, _ = radar.collapsed(problem)
    normal = torch.einsum("pkmn,pkm->n", matrices.conj(), matrices @ image).numpy()
    assert distance(operator(problem.image).numpy().ravel(), normal) < 1e-5


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)
