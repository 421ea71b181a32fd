"""What is said of reconstructions that a run did not make."""

import pytest

from pipeline.report.failures import find_failures


@pytest.fixture
def logs(tmp_path):
    def write(**content):
        for path, text in content.items():
            log = tmp_path / (path.replace("__", "/") + ".log")
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(text)
        return tmp_path

    return write


FAULT = "images: 3 of 9\nkronufft: head block 0001: NaN at readout 3; leave it out\n"


def test_only_what_is_missing(logs):
    folder = logs(ingest__head="all well\n", reconstruct__head__cg__0001=FAULT)
    expected = [("head", "cg"), ("head", "gridding"), ("lung", "cg")]
    found = find_failures(expected, [("head", "gridding")], folder)
    assert [(one.dataset, one.reconstruction, one.stage) for one in found] == [
        ("head", "cg", "reconstruct"),
        ("lung", "cg", ""),
    ]
    assert found[0].reason == "head block 0001: NaN at readout 3; leave it out"
    assert "has not run" in str(found[1])


def test_the_first_stage_that_failed_and_how_many_of_its_jobs(logs):
    folder = logs(
        plan__head__cg="planned\n",
        reconstruct__head__cg__0000="done\n",
        reconstruct__head__cg__0001=FAULT,
        reconstruct__head__cg__0002=FAULT.replace("0001", "0002"),
        merge__head__cg="kronufft: never\n",
    )
    (failure,) = find_failures([("head", "cg")], [], folder)
    assert (failure.stage, failure.jobs) == ("reconstruct", 2)
    assert str(failure).startswith("head · cg: reconstruct (2 jobs): head block 0001: NaN")


def test_a_fault_of_the_dataset_fails_all_its_reconstructions(logs):
    folder = logs(ingest__head="kronufft: head: no such file\n")
    found = find_failures([("head", "a"), ("head", "b")], [], folder)
    assert [one.stage for one in found] == ["ingest", "ingest"]


def test_a_traceback_ends_with_its_exception(logs):
    text = "Traceback (most recent call last):\n  File\nValueError: shapes differ\n"
    (failure,) = find_failures([("head", "cg")], [], logs(measure__head__cg=text))
    assert failure.reason == "ValueError: shapes differ"


def test_a_killed_job_leaves_no_reason(logs):
    folder = logs(plan__head__cg="planned\n", reconstruct__head__cg__0000="images: 3 of 9\n")
    (failure,) = find_failures([("head", "cg")], [], folder)
    assert failure.stage == "reconstruct"
    assert "killed" in str(failure)
