"""Sums over what jobs streamed."""

import pytest

from pipeline.metrics.streams import pair_totals, stream_totals


def account(read, stall, **others):
    return {"read_seconds": read, "copy_seconds": 1.0, "compute_seconds": 5.0,
            "stall_seconds": stall, "bytes": 10, **others}  # fmt: skip


def test_totals_of_jobs():
    jobs = [
        {"stage": "plan"},
        {"stage": "accumulate", "streaming": account(2.0, 0.5, overlap=0.8)},
        {"stage": "reconstruct", "streaming": account(4.0, 1.5, overlap=0.7)},
    ]
    total = stream_totals(jobs)
    assert total["jobs"] == 2
    assert total["read_seconds"] == 6
    assert total["bytes"] == 20
    assert total["overlap"] == pytest.approx(1 - 2 / 8)
    assert stream_totals(jobs[:1]) == {}


def test_pairs_add_up_over_jobs_and_keep_what_does_not():
    jobs = [
        {"pairs": [{"pair": 1, "model": "W", **account(1, 0)}]},
        {"pairs": [{"pair": 0, **account(3, 0)}, {"pair": 1, "model": "W", **account(2, 0)}]},
        {"pairs": 6},
    ]
    first, second = pair_totals(jobs)
    assert (first["pair"], first["read_seconds"]) == (0, 3)
    assert (second["pair"], second["read_seconds"], second["model"]) == (1, 3, "W")
