"""Of two runs of one job only the later may publish, and only while its inputs stand."""

import multiprocessing
import shutil
import threading
import time

import numpy as np
import pytest

from pipeline.errors import SupersededError
from pipeline.storage import publish
from pipeline.storage.archives import open_archive, write_block
from pipeline.storage.chunks import image_codecs
from pipeline.storage.claims import claimed, unfinished_folder
from pipeline.storage.publish import published_file, published_store, read_text, write_text


def _begin(folder, value, run=threading.Thread):
    """Begin a job that waits for `_finish` before it publishes."""
    running = run(target=_job, args=(folder, value), daemon=True)
    running.start()
    _wait(folder / f"began-{value}")
    return running


def _job(folder, value):
    try:
        with claimed(folder / "receipt.json"), published_store(folder / "image.json") as group:
            (folder / f"began-{value}").touch()
            _wait(folder / f"go-{value}")
            array = np.full((2, 3), value)
            group.create_array("image", data=array, compressors=image_codecs(array.dtype))
    except SupersededError as error:
        (folder / f"refused-{value}").write_text(str(error))


def _wait(path):
    limit = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < limit, path
        time.sleep(0.005)


def _stored(folder):
    return publish.open_published(folder / "image.json")["image"][0, 0]


def _finish(running, folder, value):
    (folder / f"go-{value}").touch()
    running.join(30)
    assert not running.is_alive()


def test_a_run_that_outlives_its_successor_publishes_nothing(tmp_path):
    late = _begin(tmp_path, 1.0)
    _finish(_begin(tmp_path, 2.0), tmp_path, 2.0)
    _finish(late, tmp_path, 1.0)
    assert _stored(tmp_path) == 2.0
    assert "another run of the same job" in (tmp_path / "refused-1.0").read_text()
    assert not list(tmp_path.glob(".*"))


def test_a_run_whose_successor_is_still_at_work_publishes_nothing(tmp_path):
    late = _begin(tmp_path, 1.0)
    successor = _begin(tmp_path, 2.0)
    _finish(late, tmp_path, 1.0)
    assert not (tmp_path / "image.json").exists()
    _finish(successor, tmp_path, 2.0)
    assert _stored(tmp_path) == 2.0


def test_what_a_killed_run_leaves_goes_with_the_next_run_of_its_job(tmp_path):
    killed = _begin(tmp_path, 1.0, multiprocessing.get_context("spawn").Process)
    killed.kill()
    killed.join(30)
    assert unfinished_folder(tmp_path / "image.zarr").is_dir()
    _finish(_begin(tmp_path, 2.0), tmp_path, 2.0)
    assert not list(tmp_path.glob(".*"))


def test_no_result_of_an_input_that_has_changed(tmp_path):
    plan = tmp_path / "plan.tsv"
    write_text(plan, "a\n")

    def job(change):
        with claimed(tmp_path / "receipt.json"), published_file(tmp_path / "image") as temporary:
            read_text(plan)
            temporary.write_text("made of a")
            change()

    with pytest.raises(SupersededError, match=r"image: not published, because .*plan\.tsv has"):
        job(lambda: write_text(plan, "b\n"))
    with pytest.raises(SupersededError, match=r"plan\.tsv has changed"):
        job(plan.unlink)
    write_text(plan, "a\n")
    assert not (tmp_path / "image").exists()
    job(plan.touch)
    assert (tmp_path / "image").read_text() == "made of a"


def test_a_claim_knows_what_was_read_by_content(tmp_path):
    images = np.ones((2, 1, 3, 4), np.complex64)
    checksums = []
    for name in ("first", "second"):
        write_block(tmp_path / name, images, {"block": "0000"})
        with claimed(tmp_path / "receipt.json") as claim:
            with open_archive(tmp_path / name):
                pass
            checksums.append(claim.inputs()[str(tmp_path / name)])
        images = images * 2
    assert checksums[0] != checksums[1]
    shutil.copyfile(tmp_path / "first", tmp_path / "second")
    with claimed(tmp_path / "receipt.json") as claim, open_archive(tmp_path / "second"):
        assert claim.inputs()[str(tmp_path / "second")] == checksums[0]
