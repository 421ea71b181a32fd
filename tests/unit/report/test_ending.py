"""What stands at the end of a run."""

import os
from pathlib import Path

from pipeline.report.ending import ending
from pipeline.storage.publish import write_json


def end_of(folder, *names, again=None):
    return list(
        ending(
            names, folder / "r", folder / "logs", [folder / "r/a/receipts/ingest.json"],
            folder / "r/report.html", again,
        )
    )  # fmt: skip


def made(folder, *names):
    path = Path(folder, "r", *names)
    path.mkdir(parents=True)
    (path / "image.json").write_text("{}")


def test_of_a_run_without_faults_it_says_what_is_where(tmp_path):
    made(tmp_path, "a", "cg")
    (tmp_path / "r/report.html").write_text("page")
    (tmp_path / "r/a/receipts").mkdir()
    write_json(tmp_path / "r/a/receipts/ingest.json", {"warnings": ["a: seen twice"]})
    image, page, warning = end_of(tmp_path, ("a", "cg"))
    assert image.split() == ["a", "·", "cg", str(tmp_path / "r/a/cg/image.zarr")]
    assert page.endswith("r/report.html")
    assert warning == "kronufft: warning: a: seen twice"


def test_of_a_run_that_failed_the_fault_and_what_to_do_stand_last(tmp_path):
    made(tmp_path, "a", "cg")
    made(tmp_path, "b", "cg")  # by an earlier run
    log = tmp_path / "logs/ingest/b.log"
    log.parent.mkdir(parents=True)
    log.write_text("kronufft: b: no such file\n")
    names = ("b", "cg"), ("a", "cg"), ("c", "cg")
    image, waiting, fault, last = end_of(tmp_path, *names, again="kronufft run mine.yaml")
    assert image.split()[:3] == ["a", "·", "cg"]
    assert waiting.strip() == "1 of 3 have no image yet"
    assert fault == "kronufft: b · cg: ingest: b: no such file"
    assert last.endswith("go on with: kronufft run mine.yaml")
    # Part of a run that went well says nothing of faults before it.
    assert [line.split()[0] for line in end_of(tmp_path, *names)] == ["b", "a", "1"]


def test_a_page_that_is_older_than_an_image_is_not_named(tmp_path):
    made(tmp_path, "a", "cg")
    page = tmp_path / "r/report.html"
    page.write_text("page")
    os.utime(page, (1e9, 1e9))
    assert len(end_of(tmp_path, ("a", "cg"))) == 1
