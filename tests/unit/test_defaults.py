"""What ``auto`` means."""

import pytest

from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.equations import Known, decided

VOLUME, RELIEF = Known("mri", axes=3), Known("rf", density=False, axes=3)
MRI, NOISY = Known("mri"), Known("mri", density=True, noise=False)
RF, SILENT = Known("rf", density=False), Known("rf", density=False, noise=False)


@pytest.mark.parametrize(
    ("settings", "known", "expected"),
    [
        (
            {"algorithm": "cg-sense"},
            MRI,
            {
                "weights": "density", "regularization": "wiener", "preconditioner": "spectrum",
                "iterations": 50, "tolerance": 0.01, "apodization": "voxel",
            },
        ),
        (
            {"algorithm": "cg-sense"},
            NOISY,
            {
                "weights": "density", "regularization": 0.0, "preconditioner": "none",
                "iterations": 12, "tolerance": 0.0, "apodization": "none",
            },
        ),
        (
            {"algorithm": "cg-sense", "weights": "none", "regularization": 0.1, "iterations": 9},
            MRI,
            {"preconditioner": "none", "tolerance": 0.0, "apodization": "none"},
        ),
        (
            {"algorithm": "tikhonov"},
            RF,
            {
                "weights": "none", "regularization": "wiener", "preconditioner": "none",
                "iterations": 200, "tolerance": 1e-3,
            },
        ),
        (
            {"algorithm": "tikhonov"},
            SILENT,
            {
                "weights": "none", "regularization": 0.0, "preconditioner": "none",
                "iterations": 12, "tolerance": 0.0,
            },
        ),
        (
            {"algorithm": "fista", "penalty": "tv"},
            MRI,
            {"weights": "density", "sparsity": "noise/3", "iterations": 60, "tolerance": 2e-3},
        ),
        (
            {"algorithm": "fista"},
            VOLUME,
            {
                "weights": "density", "penalty": "tv", "sparsity": "noise/6", "iterations": 60,
                "tolerance": 2e-3,
            },
        ),
        (
            {"algorithm": "fista", "penalty": "wavelet"},
            VOLUME,
            {"weights": "density", "sparsity": "noise/3", "iterations": 60, "tolerance": 2e-3},
        ),
        (
            {"algorithm": "primal-dual", "penalty": "tgv"},
            RELIEF,
            {"weights": "none", "sparsity": "noise/6", "iterations": 500, "tolerance": 1e-5},
        ),
        (
            {"algorithm": "fista"},
            RF,
            {
                "weights": "none",
                "penalty": "l1",
                "sparsity": "noise",
                "iterations": 300,
                "tolerance": 1e-5,
            },
        ),
        (
            {"algorithm": "admm", "penalty": "wavelet", "weights": "none"},
            NOISY,
            {
                "sparsity": 0.05, "iterations": 16, "tolerance": 1e-3, "preconditioner": "none",
                "inner_iterations": 4, "rho": 0.3,
            },
        ),
        ({"algorithm": "gridding"}, MRI, {}),
    ],
)  # fmt: skip
def test_defaults_follow_what_is_known(settings, known, expected):
    before = parse_algorithm(settings)
    found, chosen = decided(before, known)
    assert {key: value for key, value in chosen.items() if key != "because"} == expected
    assert all(getattr(found, key) == value for key, value in {**settings, **expected}.items())
    assert decided(found, known) == (found, {})
