import shutil

import pytest
from workflow_runs import prepare, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which the whole workflow has run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    prepare(folder)
    snakemake(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to change."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
