"""The paragraph for a paper: its numbers are the run's, and it cites what was used and no more."""

import re

import pytest

from pipeline.report.citations import bibtex
from pipeline.report.methods import methods_of

INGEST = {
    "stage": "ingest",
    "arrays": {"kspace": [7, 12, 201, 512]},
    "versions": {"kronufft": "0.2.0", "finufft": "2.5.1"},
}
CALIBRATE = {
    "stage": "calibrate",
    "coil_maps": "walsh",
    "density": "pipe-menon",
    "coils": 8,
    "compression": "energy",
    "whitening": "noise",
    "girf": "file",
    "delays": "none",
    "off_resonance": "source",
}
NUFFT = {"tolerance": 2e-4}


def measured(block, **reconstruction):
    return {
        "images": 7,
        "made_with": {
            "reconstruction": reconstruction,
            "nufft": NUFFT,
            "precision": "double",
        },
        "blocks": [{"shape": [96, 80], "backend": "finufft", **block}],
    }


def cited(methods):
    keys = re.findall(r"^@\w+\{([^,]+),$", methods.bibtex, re.MULTILINE)
    assert set(keys) == set(re.findall(r"\[([^\]]+)\]", methods.text))
    return keys


def test_every_number_of_a_penalised_solve_is_the_runs():
    found = methods_of(
        [INGEST, CALIBRATE],
        measured(
            {
                "algorithm": "fista",
                "penalty": "tv",
                "weight": [0.02, 0.04, 0.03],
                "residuals": [[0.1] * 9, [0.1] * 17],
                "misfit": [0.125, 0.375],
                "defaults": {"weights": "density", "tolerance": 0.002},
            },
            weights="auto",
            tolerance="auto",
        ),
    )
    for told in (
        *("7 images of 96 × 80 voxels", "Kronufft 0.2.0", "12 coils acquired 201 readouts of 512"),
        *("in each of 7 frames", "compressed to 8 virtual", "noise was whitened", "(pipe-menon)"),
        *("total variation [tv] of weight 0.03", "9 to 17 iterations to a tolerance of 0.002"),
        *("misfit of the data is 0.25", "finufft 2.5.1 [finufft]", "0.0002, in double precision"),
    ):
        assert told in found.text
    solver = ["fista", "optimized-gradients", "tv"]
    before = ["walsh", "compression", "girf", "toeplitz", "pipe-menon"]
    assert cited(found) == ["kronufft", *before, *solver, "finufft"]


def test_each_of_several_penalties_has_its_weight():
    block = {"algorithm": "admm", "penalty": "l1 + tv", "weight": [20.0]}
    terms = [{"penalty": "l1", "sparsity": 0.01}, {"penalty": "tv", "sparsity": 0.002}]
    found = methods_of([INGEST], measured(block, penalties=terms))
    told = "with the l1 norm of weight 0.2 and total variation [tv] of weight 0.04"
    assert told in found.text
    assert cited(found) == ["kronufft", "admm", "tv", "finufft"]


@pytest.mark.parametrize(
    ("normal", "told", "cites"),
    [
        ("toeplitz", "applied as a convolution [toeplitz].", ["toeplitz"]),
        ("toeplitz, 1 kernel for 6 pairs", "applied as a convolution [toeplitz].", ["toeplitz"]),
        ("explicit", "applied as forward and adjoint operator", []),
        ("factors, streamed, of 64 pairs", "applied through its Kronecker factors.", []),
    ],
)
def test_the_form_of_the_normal_operator_is_told(normal, told, cites):
    found = methods_of([INGEST], measured({"algorithm": "cg-sense", "normal": normal}))
    assert told in found.text
    assert cited(found) == ["kronufft", "cg-sense", *cites, "finufft"]


def test_what_was_not_used_is_neither_told_nor_cited():
    ingest = {**INGEST, "arrays": {"kspace": [1, 1, 64, 64]}}
    found = methods_of(
        [ingest, {"stage": "calibrate", "density": "radial"}],
        measured({"algorithm": "cg-sense", "backend": "fft", "weight": [0.0]}, weights="none"),
    )
    assert cited(found) == ["kronufft", "cg-sense"]
    assert "A coil acquired 64 readouts of 64 samples." in found.text
    for untold in ("density", "Sensitivities", "virtual", "weight", "iterations", "tolerance"):
        assert untold not in found.text


def test_without_receipts_of_blocks_nothing_is_told():
    assert methods_of([INGEST], {}).text == ""


@pytest.mark.parametrize("key", ["kronufft", "espirit", "cufinufft", "llr", "omp", "walsh"])
def test_entries_close_what_they_open(key):
    entry = bibtex([key, key], {"kronufft": "0.2.0"})
    assert entry.count("@") == 1
    assert entry.count("{") == entry.count("}")
    assert "%(" not in entry
