"""Memory is a contract: measured <= predicted <= limit, in fresh processes.

A few jobs of each kind; `tests/benchmarks/memory_contract.py` goes through many more.
"""

import pytest
from planned_jobs import run_plan

SERIES = {"shape": (160, 144), "coils": 6, "readouts": 40, "samples": 256, "frames": 30}
VOLUME = {"shape": (96, 80, 88), "coils": 6, "readouts": 4000, "samples": 128}

CASES = {
    "series of images": (SERIES, {"algorithm": "cg-sense", "iterations": 3}),
    "shards of a volume": (VOLUME, {"algorithm": "cg-sense", "iterations": 2, "shards": 2}),
    "tiles of many samples": (
        {"shape": (48, 40, 44), "coils": 4, "readouts": 16_000, "samples": 256},
        {"algorithm": "fista", "penalty": "tv", "iterations": 2},
    ),
    "double precision": (
        {"shape": (64, 72, 56), "coils": 5, "readouts": 1500, "samples": 128},
        {"algorithm": "cg-sense", "iterations": 2, "precision": "double", "tolerance": 1e-7},
    ),
    "explicit": (
        {"shape": (80, 64, 72), "coils": 4, "readouts": 3000, "samples": 128},
        {
            "algorithm": "admm",
            "penalty": "l1",
            "iterations": 2,
            "inner_iterations": 2,
            "normal": "explicit",
        },
    ),
    "coefficients of a series": (
        {"shape": (64, 64, 64), "coils": 4, "readouts": 300, "samples": 64, "frames": 8},
        {
            **{"algorithm": "cg-sense", "iterations": 3, "regularization": 0.1},
            "series": {"basis": "t2-decay", "times": [0.01 * n for n in range(1, 9)]},
        },
    ),
    "root sum of squares": (
        {"shape": (96, 112, 80), "coils": 5, "readouts": 3000, "samples": 200, "maps": False},
        {"algorithm": "gridding"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_measured_is_below_predicted_is_below_the_limit(tmp_path, case, record_property):
    for row, receipt in run_plan(tmp_path, *CASES[case]):
        measured = receipt["peak_host_bytes"] / 1e6
        record_property(f"{row.stage}-{row.shard} measured_mb", measured)
        record_property(f"{row.stage}-{row.shard} predicted_mb", row.host_mb)
        assert receipt["predicted_host_bytes"] == row.host_mb * 10**6
        assert measured <= row.host_mb <= row.limit_host_mb
        # Not by reserving too much: a job that could run must not be refused. What Intel's MKL
        # takes is counted on every processor.
        assert row.host_mb <= 1.2 * measured
