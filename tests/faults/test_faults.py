"""A few of the harness's trials, of each kind one; `make test-faults` runs thirty."""

import pytest
from faults.harness import kinds, prepare, trial

BLOCKS = 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    prepare(folder, BLOCKS)
    return folder


@pytest.mark.parametrize(("kind", "seed"), [("job", 1), ("scheduler", 2), ("disk", 3)])
def test_a_run_that_was_hit_completes_with_the_same_images(base, kind, seed):
    if kind not in kinds():
        pytest.skip("mounting a tmpfs needs root")
    # The fault met a job, only what it cut off was done again, and no bit of an image differs.
    assert trial(base, base / f"trial-{kind}", kind, seed).faults == []
