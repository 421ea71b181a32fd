import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.storage import publish


def _store(marker, value):
    with publish.published_store(marker) as group:
        group.create_array("image", data=np.full(3, value))


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
            group.create_array("image", data=np.zeros(3))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert publish.open_published(marker)["image"][0] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {"raw.json", "raw.zarr"}


def test_a_second_store_replaces_the_first(tmp_path):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)
    _store(marker, 2.0)
    assert publish.open_published(marker)["image"][0] == 2.0


def test_a_marker_of_another_store_is_refused(tmp_path):
    marker = tmp_path / "raw.json"
    _store(marker, 1.0)
    old = marker.read_text()
    _store(marker, 2.0)
    marker.write_text(old)
    with pytest.raises(DataError, match=r"raw\.zarr: its fingerprint .* is not"):
        publish.open_published(marker)


def test_missing_and_broken_markers_are_named(tmp_path):
    with pytest.raises(DataError, match=r"raw\.json: no such file"):
        publish.open_published(tmp_path / "raw.json")
    (tmp_path / "raw.json").write_text('{"store":')
    with pytest.raises(DataError, match=r"raw\.json: not readable as JSON"):
        publish.open_published(tmp_path / "raw.json")
    (tmp_path / "raw.json").write_text("{}")
    with pytest.raises(DataError, match=r"raw\.zarr: missing"):
        publish.open_published(tmp_path / "raw.json")


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
    assert json.loads(text) == {"a": [1]}
