from pipeline import fingerprint


def test_a_stage_is_what_it_imports():
    modules = fingerprint.modules_of("merge")
    assert "pipeline.stages.merge" in modules
    assert "pipeline.storage.publish" in modules
    assert not any(name.startswith(("pipeline.solvers", "pipeline.report")) for name in modules)


def test_stages_that_share_no_code_differ():
    assert fingerprint.code_fingerprint("ingest") != fingerprint.code_fingerprint("merge")


def test_changed_code_changes_it_and_a_comment_does_not(tmp_path, monkeypatch):
    (tmp_path / "stages").mkdir()
    (tmp_path / "solver.py").write_text("STEPS = 3\n")
    (tmp_path / "stages/work.py").write_text("from pipeline.solver import STEPS\n")
    (tmp_path / "other.py").write_text("X = 1\n")
    monkeypatch.setattr(fingerprint, "_PACKAGE", tmp_path)

    def digest():
        fingerprint._digest_and_imports.cache_clear()
        return fingerprint.code_fingerprint("work")

    first = digest()
    (tmp_path / "solver.py").write_text("# Why three\nSTEPS = 3\n")
    (tmp_path / "other.py").write_text("X = 2\n")
    assert digest() == first
    (tmp_path / "solver.py").write_text("STEPS = 4\n")
    assert digest() != first
