"""A dataset that fails among others that do not."""

import numpy as np
import pytest
import yaml
from workflow_runs import snakemake

CONFIG = {
    "datasets": "datasets.tsv",
    "memory": {"host_mb": 2000},
    "output": {"ome_zarr": False, "nifti": False},
    "sources": {
        "good": {
            "shape": [16, 18],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 11,
                "samples": 40,
                "coils": 2,
            },
        },
        "bad": {
            "shape": [16, 18],
            "arrays": {
                "kspace": {"name": "kspace", "axes": ["coil", "readout", "sample"]},
                "trajectory": {
                    "name": "trajectory",
                    "axes": ["readout", "sample", "axis"],
                    "units": "cycles_per_voxel",
                },
            },
        },
    },
    "reconstructions": {"plain": {"algorithm": "gridding"}},
}
TABLE = (
    "dataset\tkind\tformat\tsource\treconstruction\n"
    "bad\tmri\tarrays\tscan.npz\tplain\n"
    "good\tmri\tsimulation\tshepp-logan\tplain\n"
)


@pytest.mark.slow
def test_others_finish_and_the_report_says_which_failed_and_why(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "datasets.tsv").write_text(TABLE)
    still = np.zeros((9, 20, 2), np.float32)
    np.savez(tmp_path / "scan.npz", kspace=np.ones((2, 9, 20), np.complex64), trajectory=still)
    output = snakemake(tmp_path, check=False)
    last = output.split("Exiting because a job execution failed")[1]
    assert "kronufft: bad · plain: ingest: bad: trajectory is zero throughout" in last
    assert (tmp_path / "results/good/plain/metrics.csv").is_file()
    assert not (tmp_path / "results/report.html").exists()

    page = tmp_path / "results/report-so-far.html"
    snakemake(tmp_path, "report_so_far")
    (told,) = [line for line in page.read_text().splitlines() if "bad · plain" in line]
    assert "ingest" in told
    assert "trajectory is zero throughout" in told
    assert "good" in (tmp_path / "results/metrics-so-far.csv").read_text()
