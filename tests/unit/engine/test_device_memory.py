"""What jobs take of a device, beside what was planned for them and what there is."""

import numpy as np
import pytest
import torch
from acquisitions import write_acquisition
from stage_runs import reconstructed

pytestmark = pytest.mark.gpu

SERIES = {"shape": (96, 80), "coils": 12, "readouts": 24, "samples": 160, "frames": 7}
VOLUME = {"shape": (48, 40, 44), "coils": 6, "readouts": 700, "samples": 64}
ALGORITHMS = {
    "gridding": {"algorithm": "gridding"},
    "cg-sense": {"algorithm": "cg-sense", "iterations": 2},
    "explicit": {"algorithm": "cg-sense", "iterations": 1, "normal": "explicit"},
    "circulant": {"algorithm": "cg-sense", "iterations": 2, "preconditioner": "circulant"},
    "double": {"algorithm": "cg-sense", "iterations": 2, "precision": "double", "tolerance": 1e-7},
    "fista": {"algorithm": "fista", "penalty": "tv", "iterations": 2},
    "admm": {"algorithm": "admm", "penalty": "tv", "iterations": 2, "inner_iterations": 2},
    "primal-dual": {"algorithm": "primal-dual", "penalty": "tgv", "iterations": 2},
    "omp": {"algorithm": "omp", "points": 3},
}


@pytest.mark.parametrize(
    ("acquired", "algorithm"),
    [
        *((SERIES, name) for name in ("gridding", "cg-sense")),
        *((VOLUME, name) for name in ALGORITHMS),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["shape"]),
)
def test_a_job_takes_what_was_predicted(tmp_path, acquired, algorithm):
    write_acquisition(tmp_path, **acquired)
    _, receipt = reconstructed(tmp_path, device="cuda", **ALGORITHMS[algorithm])
    assert receipt["peak_device_bytes"] <= receipt["predicted_device_bytes"]
    assert receipt["predicted_device_bytes"] <= receipt["limit_device_bytes"]
    assert "halved_tiles" not in receipt


@pytest.mark.parametrize("acquired", [SERIES, VOLUME], ids=["series", "volume"])
def test_where_memory_ends_a_job_goes_on_with_less(tmp_path, acquired, capsys):
    write_acquisition(tmp_path, **acquired)
    expected, receipt = reconstructed(tmp_path, device="cuda", **ALGORITHMS["cg-sense"])
    # As where another process has taken memory since the job was planned.
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_allocated() + 0.7 * receipt["peak_device_bytes"]
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info()[1])
    try:
        found, receipt = reconstructed(tmp_path, device="cuda", **ALGORITHMS["cg-sense"])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert receipt["halved_tiles"]
    assert receipt["peak_device_bytes"] <= allowed
    assert "out of memory with" in capsys.readouterr().err
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
