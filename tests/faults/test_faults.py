"""A few of the harness's trials, of each kind one; `make test-faults` runs thirty."""

import pytest
from faults.harness import kinds, prepare, trial

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    prepare(folder)
    return folder


@pytest.mark.parametrize(("kind", "seed"), [("job", 1), ("scheduler", 2), ("disk", 3)])
def test_a_run_that_was_hit_completes_with_the_same_images(base, kind, seed):
    if kind not in kinds():
        pytest.skip("mounting a tmpfs needs root")
    outcome = trial(base, base / f"trial-{kind}", kind, seed)
    assert outcome.equal
    # Only what was cut off is done again.
    assert not outcome.repeated & outcome.finished
