"""A flipped bit anywhere in what the stages leave is noticed before it reaches an image.

It may pass where it changes nothing that is read: white space in JSON, and in zip files the dates,
attributes and versions of members, and the copy of their header that stands before them.
"""

import json
import random

import numpy as np
import pytest
from small_run import Run

from pipeline.errors import KronufftError
from pipeline.storage.verification import verifiable, verify

FLIPS = 50


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run")).all()


def groups_of_files(folder):
    patterns = {
        "raw": "raw.*",
        "calibration": "calibration.*",
        "share": "cg/shares/*",
        "block": "cg/blocks/*",
        "merged": "cg/image.*",
        "plan": "cg/plan.tsv",
        "receipt": "**/receipts/*",
    }
    found = {}
    for name, pattern in patterns.items():
        paths = list(folder.glob(pattern))
        found[name] = sorted(
            file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))
            if file.is_file()
        )  # fmt: skip
    return found


def test_everything_is_sound_before(run):
    for path in verifiable(run.folder):
        verify(path)


def test_no_flipped_bit_reaches_an_image(run):
    expected = run.images()
    generator = random.Random(20)
    groups = groups_of_files(run.folder)
    assert all(groups.values())
    passed = []
    for number in range(FLIPS):
        group = list(groups)[number % len(groups)]
        file = generator.choice(groups[group])
        kept = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
        content = bytearray(kept[file])
        place, bit = generator.randrange(len(content)), generator.randrange(8)
        content[place] ^= 1 << bit
        file.write_bytes(content)
        where = f"{file.relative_to(run.folder)} byte {place} bit {bit}"
        if not noticed(verify_all, run):
            assert changes_nothing(file, kept[file], place), where
            passed.append(where)
        if not noticed(run.go_on_after, file):
            np.testing.assert_array_equal(run.images(), expected, err_msg=where)
        restore(run.folder, kept)
    assert len(passed) < FLIPS / 5, passed


def noticed(action, *arguments):
    try:
        action(*arguments)
    except KronufftError as error:
        message = str(error)
    else:
        return False
    assert "snakemake --cores all --force" in message, message
    return True


def verify_all(run):
    for path in verifiable(run.folder):
        verify(path)


def changes_nothing(file, before, place):
    if file.suffix == ".json":
        return json.loads(file.read_bytes()) == json.loads(before)
    if file.suffix != ".zip":
        return False
    # In a header of a member, not in its name, size, checksum or data.
    for signature, length in ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46)):
        if before.rfind(signature, max(0, place - length + 1), place + len(signature)) >= 0:
            return True
    return False


def restore(folder, kept):
    for path, content in kept.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
