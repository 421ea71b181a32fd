"""A few of the harness's trials; `make test-faults` runs two hundred."""

import pytest
from faults.harness import FAULTS, kinds, prepare, trial

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    prepare(folder, ("calibrate", "plan", "reconstruct", "merge"))
    return folder


@pytest.mark.parametrize(
    ("fault", "stage"),
    [("job", "calibrate"), ("scheduler", "reconstruct"), ("disk", "merge"), ("memory", "plan")],
)
def test_a_run_that_was_hit_completes_with_the_same_images(base, fault, stage):
    if fault not in kinds(base):
        pytest.skip(FAULTS[fault])
    # The fault met a job, only what it cut off was done again, and no bit of an image differs.
    assert trial(base, base / f"trial-{fault}", fault, stage, seed=1).faults == []
