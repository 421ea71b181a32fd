import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.storage import publish
from pipeline.storage.chunks import image_codecs
from pipeline.storage.manifest import check_store


def _store(marker, value):
    with publish.published_store(marker) as group:
        _array(group, np.full((4, 3), value))


def _array(group, values):
    return group.create_array(
        "image", data=values, chunks=(1, 3), compressors=image_codecs(values.dtype)
    )


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "folder" / "table.tsv"
    with publish.published_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")

    def write():
        with publish.published_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_store_and_nothing_else(tmp_path):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)

    def write():
        with publish.published_store(marker) as group:
            _array(group, np.zeros((4, 3)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert publish.open_published(marker)["image"][0, 0] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {"raw.json", "raw.zarr"}


def test_where_the_marker_cannot_be_written_no_store_is(tmp_path):
    (tmp_path / ".image.json.partial").touch()
    with (
        pytest.raises(OSError, match="File exists"),
        publish.published_store(tmp_path / "image.json"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".image.json.partial"]


def test_a_second_store_replaces_the_first(tmp_path):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)
    _store(marker, 2.0)
    assert publish.open_published(marker)["image"][0, 0] == 2.0


def test_a_marker_of_another_store_is_refused(tmp_path):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)
    old = marker.read_text()
    _store(marker, 2.0)
    marker.write_text(old)
    with pytest.raises(DataError, match=r"raw\.zarr/zarr\.json: its fingerprint .* is not"):
        publish.open_published(marker)


def test_missing_and_broken_markers_are_named(tmp_path):
    with pytest.raises(DataError, match=r"raw\.json: no such file"):
        publish.open_published(tmp_path / "raw.json")
    (tmp_path / "raw.json").write_text('{"store":')
    with pytest.raises(DataError, match=r"raw\.json: not readable as JSON"):
        publish.open_published(tmp_path / "raw.json")
    _store(tmp_path / "raw.json", 1.0)
    (tmp_path / "raw.zarr").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"raw\.zarr: missing.*snakemake .*--force .*raw\.json"):
        publish.open_published(tmp_path / "raw.json")


def test_equal_stores_have_equal_fingerprints(tmp_path):
    for name in ("a", "b"):
        _store(tmp_path / name / "raw.json", 1.0)
    first, second = (publish.read_json(tmp_path / name / "raw.json") for name in ("a", "b"))
    assert first == second


def test_a_store_whose_chunks_have_no_checksum_is_refused(tmp_path):
    def write():
        with publish.published_store(tmp_path / "raw.json") as group:
            group.create_array("pair/0/y", data=np.zeros(3))

    with pytest.raises(ValueError, match="array `pair/0/y` has no checksum"):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["lost", "short", "renamed"])
def test_a_file_that_is_missing_or_cut_off_is_named_when_the_store_is_opened(tmp_path, fault):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)
    chunk = tmp_path / "raw.zarr/image/c/2/0"
    match fault:
        case "lost":
            chunk.unlink()
        case "short":
            chunk.write_bytes(chunk.read_bytes()[:-1])
        case "renamed":
            chunk.rename(chunk.with_name("1"))
    with pytest.raises(DataError, match=r"raw\.zarr/image/c/2/0: (missing|damaged)"):
        publish.open_published(marker)


def test_a_sound_chunk_in_the_place_of_another_is_found_by_a_thorough_look(tmp_path):
    marker = tmp_path / "raw.json"
    with publish.published_store(marker) as group:
        _array(group, np.arange(12.0).reshape(4, 3))
    chunks = tmp_path / "raw.zarr/image/c"
    (chunks / "0/0").write_bytes((chunks / "1/0").read_bytes())
    manifest = publish.read_json(marker)["files"]
    with pytest.raises(DataError, match=r"image/c/0/0: damaged"):
        check_store(tmp_path / "raw.zarr", manifest, marker, thorough=True)


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=4
    )
)
def test_json_round_trip(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "receipt.json"
    publish.write_json(path, content)
    assert publish.read_json(path) == content


def test_a_receipt_never_holds_values_that_json_lacks(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        publish.write_json(tmp_path / "receipt.json", {"residual": float("nan")})
    assert not list(tmp_path.iterdir())


def test_json_is_for_people_too(tmp_path):
    publish.write_json(tmp_path / "a.json", {"a": [1]})
    text = (tmp_path / "a.json").read_text()
    assert "\n" in text
    assert json.loads(text)["a"] == [1]
