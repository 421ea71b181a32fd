import time

import pytest

from pipeline.errors import DataError
from pipeline.storage.publish import read_json, write_json
from pipeline.storage.receipts import Receipt, read_receipt, warnings_of


def test_phases_add_up_and_inner_time_counts_once(tmp_path):
    path = tmp_path / "receipt.json"
    with Receipt(path, "reconstruct", dataset="brain", block="0003") as job:
        with job.phase("solve"):
            time.sleep(0.02)
            with job.phase("read"):
                time.sleep(0.05)
                job.count_bytes("read", 100)
        with job.phase("read"):
            job.count_bytes("read", 11)
        job.record(iterations=4)
    content = read_json(path)
    phases = content["phases"]
    assert content["stage"] == "reconstruct"
    assert (content["dataset"], content["block"]) == ("brain", "0003")
    assert content["iterations"] == 4
    assert phases["read"]["bytes"] == 111
    assert phases["read"]["seconds"] >= 0.05
    assert phases["solve"]["seconds"] >= 0.02
    assert sum(phase["seconds"] for phase in phases.values()) <= content["seconds"]
    assert content["peak_host_bytes"] > 10**6
    assert content["versions"]["numpy"]


def test_a_failed_job_leaves_no_receipt(tmp_path):
    path = tmp_path / "receipt.json"

    def fail():
        with Receipt(path, "merge"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not path.exists()


def test_a_warning_is_said_in_the_log_and_kept_once(tmp_path, capsys):
    with Receipt(tmp_path / "receipt.json", "ingest") as record:
        record.warn("one: coil 3 is silent; leave it out")
        record.warn("one: coil 3 is silent; leave it out")
    assert capsys.readouterr().err == "warning: one: coil 3 is silent; leave it out\n"
    receipt = read_json(tmp_path / "receipt.json")
    assert warnings_of([receipt, receipt]) == ["one: coil 3 is silent; leave it out"]


def test_a_receipt_of_another_version_is_told(tmp_path):
    with Receipt(tmp_path / "plan.json", "plan"):
        pass
    content = read_receipt(tmp_path / "plan.json")
    assert content["stage"] == "plan"
    del content["command"]
    write_json(tmp_path / "plan.json", content)
    with pytest.raises(DataError, match=r"plan\.json: lacks command; it is of another version"):
        read_receipt(tmp_path / "plan.json")
