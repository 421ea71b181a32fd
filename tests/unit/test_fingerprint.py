import pytest

from pipeline import fingerprint
from pipeline.algorithms.registry import parse_algorithm
from pipeline.fingerprint import code_fingerprint, modules_of


def test_a_stage_is_what_it_imports():
    modules = modules_of("merge")
    assert "pipeline.stages.merge" in modules
    assert "pipeline.storage.publish" in modules
    assert not any(name.startswith("pipeline.report") for name in modules)


def test_stages_that_share_no_code_differ():
    assert code_fingerprint("ingest") != code_fingerprint("merge")


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """A package of one stage; returns its fingerprint after ``file`` has got another text."""
    files = {
        "stages/work.py": (
            "from pipeline.kinds import part_of\nfrom pipeline.solver import STEPS\n"
            'def work(kind): part_of(kind, "model").run(STEPS)\n'
        ),
        "kinds.py": "def part_of(kind, part): ...\n",
        "solver.py": "STEPS = 3\n",
        "mri/__init__.py": "",
        "mri/model.py": "from pipeline.mri.coils import MAPS\n",
        "mri/coils.py": "MAPS = 1\n",
        "rf/model.py": "PAIRS = 1\n",
        "readers/bart.py": "AXES = 16\n",
        "other.py": "X = 1\n",
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    monkeypatch.setattr(fingerprint, "_PACKAGE", tmp_path)

    def of(file="other.py", text="X = 1\n", kinds=("mri",), modules=("pipeline.readers.bart",)):
        (tmp_path / file).write_text(text)
        forget()
        return code_fingerprint("work", kinds, modules)

    yield of
    forget()


def forget():
    for found in (fingerprint._file_of, fingerprint._source, code_fingerprint):
        found.cache_clear()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("solver.py", "STEPS = 4\n"),
        ("mri/model.py", "from pipeline.mri.coils import MAPS\nX = 1\n"),
        ("mri/coils.py", "MAPS = 2\n"),
        ("mri/__init__.py", "X = 1\n"),
        ("readers/bart.py", "AXES = 15\n"),
    ],
)
def test_code_that_runs_changes_it(digest, file, text):
    assert digest() != digest(file, text)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("solver.py", '# Why three\nSTEPS   =   3\n"""Of the solver."""\n'),
        ("solver.py", '"""Solves."""\nSTEPS = 3\n'),
        ("solver.py", "STEPS = 3\nif TYPE_CHECKING:\n    from pipeline.other import X\n"),
        ("other.py", "X = 2\n"),
        ("rf/model.py", "PAIRS = 2\n"),
    ],
)
def test_words_types_and_what_does_not_run_leave_it(digest, file, text):
    assert digest() == digest(file, text)


def test_docstrings_of_functions_and_fields_do_not_count(digest):
    function = "class S:\n    x = 1\n{}    def f(self):\n{}        return 1\n"
    bare = digest("solver.py", function.format("", ""))
    assert (
        digest("solver.py", function.format('    """Of x."""\n', '        """Of f."""\n')) == bare
    )


def test_a_part_whose_name_is_not_written_out_is_refused(digest):
    with pytest.raises(ValueError, match="literal"):
        digest("solver.py", "STEPS = part_of(kind, name)\n")


@pytest.mark.parametrize("kind", ["mri", "rf"])
def test_a_solver_and_a_penalty_are_code_of_the_jobs_that_use_them(kind):
    solvers = {f"pipeline.solvers.{name}" for name in ("cg", "fista", "admm", "primal_dual", "omp")}
    for stage in ("ingest", "calibrate", "accumulate"):
        found = modules_of(stage, kinds=[kind])
        # The check of MRI data fits a coarse image, whatever the reconstruction.
        fits = {"pipeline.solvers.cg"} if (stage, kind) == ("calibrate", "mri") else set()
        assert solvers & set(found) == fits
        assert not any(name.startswith("pipeline.algorithms") for name in found)
    assert not any(
        name.startswith("pipeline.solvers") for name in modules_of("accumulate", kinds=[kind])
    )
    chosen = parse_algorithm({"algorithm": "fista", "penalty": "tv"}).modules
    found = set(modules_of("reconstruct", kinds=[kind], modules=chosen))
    assert {"pipeline.solvers.fista", "pipeline.solvers.penalties.tv"} <= found
    assert not {"pipeline.solvers.admm", "pipeline.solvers.omp"} & found
    assert "pipeline.solvers.penalties.l1" not in found


def test_what_was_found_before_is_found_again_and_a_damaged_memory_is_made_anew(digest, tmp_path):
    first = digest()
    (memory,) = (tmp_path / "__pycache__").iterdir()
    whole = memory.read_text()
    assert digest("solver.py", "STEPS = 4\n") != first
    for content in ("{", "[]", '{"rules": "others", "found": 3}', whole):
        memory.write_text(content)
        fingerprint._known.cache_clear()
        assert digest("solver.py", "STEPS = 3\n") == first
    memory.unlink()
    memory.parent.rmdir()
    memory.parent.write_text("no folder can be made here")
    fingerprint._known.cache_clear()
    assert digest() == first
