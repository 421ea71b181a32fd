import shutil

import pytest
from filelock import FileLock
from workflow_runs import prepare, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A folder in which the whole workflow has run, once for all workers; not to be changed."""
    above = tmp_path_factory.getbasetemp()
    folder = (above if worker_id == "master" else above.parent) / "finished"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            folder.mkdir()
            prepare(folder)
            snakemake(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to change."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
