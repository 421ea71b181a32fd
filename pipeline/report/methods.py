"""The paragraph for a paper: how the images of a reconstruction were made, with its numbers."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.citations import bibtex, known

_ALGORITHMS = {
    "gridding": "as the adjoint transform of the weighted samples, coils combined",
    "matched-filter": "by the matched filter",
    "cg-sense": "by conjugate gradients on the normal equations of all coils together",
    "tikhonov": "by conjugate gradients on the normal equations with a Tikhonov term",
    "fista": "by FISTA with optimized gradients",
    "admm": "by ADMM",
    "primal-dual": "by a primal-dual fixed-point method",
    "omp": "by orthogonal matching pursuit",
    "unrolled": "by an unrolled network",
}
_PENALTIES = {
    "tv": "total variation",
    "tgv": "total generalized variation of second order",
    "wavelet": "the l1 norm of wavelet coefficients",
    "l1": "the l1 norm",
    "l21": "the l2,1 norm over all images",
    "llr": "the nuclear norm of local patches",
}
_MAPS = {
    "espirit": "Coil sensitivities were estimated by ESPIRiT",
    "walsh": "Coil sensitivities were estimated by adaptive combination",
    "source": "Coil sensitivities came with the data",
}
_CORRECTIONS = (
    ("girf", "Trajectories were corrected by the impulse response of the gradients", "girf"),
    ("delays", "Gradient delays were found where spokes cross, and corrected", "ring"),
    ("off_resonance", "Off-resonance was part of the forward model, in time segments", "toeplitz"),
)
"""Steps of calibration, what is said of them, and what is cited."""
_NORMALS = {
    "toeplitz": "as a convolution",
    "explicit": "as forward and adjoint operator, one after the other",
    "factors": "through its Kronecker factors",
}
_ALSO_CITED = {"fista": "optimized-gradients"}
_WHAT_WEIGHS = {"wiener": "the noise over the signal that was expected at each spatial frequency"}


@dataclass(frozen=True)
class Methods:
    """What a paper says of a reconstruction."""

    text: str
    """One paragraph; keys of the entries stand in square brackets."""
    bibtex: str
    """Entries of what was used, and of nothing else."""


def methods_of(receipts: Sequence[Mapping[str, Any]], measured: Mapping[str, Any]) -> Methods:
    """Return what a paper says of a reconstruction.

    Parameters
    ----------
    receipts
        Of the dataset: of ingest and calibrate, as far as they are there.
    measured
        The receipt of `measure`.
    """
    if not measured.get("blocks"):  # of an earlier version
        return Methods("", "")
    stages = {receipt.get("stage"): receipt for receipt in receipts}
    ingest, calibrate = stages.get("ingest", {}), stages.get("calibrate", {})
    versions: Mapping[str, str] = next(
        (found for receipt in receipts if (found := receipt.get("versions"))), {}
    )
    cited = ["kronufft"]
    sentences = [
        *_data(ingest, measured, versions),
        *_calibration(calibrate, ingest, measured, cited),
        *_algorithm(measured, cited),
        *_transforms(measured, versions, cited),
    ]
    return Methods(" ".join(sentences), bibtex(cited, versions))


def _data(
    ingest: Mapping[str, Any], measured: Mapping[str, Any], versions: Mapping[str, str]
) -> Iterator[str]:
    block = measured["blocks"][0]
    matrix, images = _times(block["shape"]), measured.get("images", 1)
    many = f"{images} images" if images > 1 else "An image"
    were = "were" if images > 1 else "was"
    program = f"Kronufft {versions.get('kronufft', '')}".rstrip()
    yield f"{many} of {matrix} voxels {were} reconstructed with {program} [kronufft]."
    if kspace := ingest.get("arrays", {}).get("kspace"):
        frames, coils, readouts, samples = kspace
        of_frames = f" in each of {frames} frames" if frames > 1 else ""
        coil = "A coil" if coils == 1 else f"{coils} coils"
        yield f"{coil} acquired {readouts} readouts of {samples} samples{of_frames}."


def _calibration(
    calibrate: Mapping[str, Any],
    ingest: Mapping[str, Any],
    measured: Mapping[str, Any],
    cited: list[str],
) -> Iterator[str]:
    if (maps := calibrate.get("coil_maps")) in _MAPS:
        sets = calibrate.get("map_sets", 1)
        several = f", as {sets} sets whose images are combined by their sum of squares"
        yield f"{_MAPS[maps]}{_cite(maps, cited)}{several if sets > 1 else ''}."
    acquired = ingest.get("arrays", {}).get("kspace", (0, 0))[1]
    if calibrate.get("compression", "none") != "none" and calibrate.get("coils") != acquired:
        virtual = f"Coils were compressed to {calibrate['coils']} virtual ones"
        geometric = calibrate["compression"] == "geometric"
        where = " at each position along the readouts" if geometric else ""
        key = "geometric" if geometric else "compression"
        yield f"{virtual}{where}{_cite(key, cited)}."
    if (whitening := calibrate.get("whitening", "none")) != "none":
        where = ", as found in a region of the measurement," if whitening == "region" else ""
        yield f"Their noise{where} was whitened."
    for step, text, key in _CORRECTIONS:
        if calibrate.get(step, "none") != "none":
            yield f"{text}{_cite(key, cited)}."
    density = calibrate.get("density", "none")
    if density != "none" and _chosen(measured).get("weights") in ("density", None):
        yield f"Samples were weighted by their density ({density}){_cite(density, cited)}."


def _algorithm(measured: Mapping[str, Any], cited: list[str]) -> Iterator[str]:
    blocks, chosen = measured["blocks"], _chosen(measured)
    first, name = blocks[0], blocks[0]["algorithm"]
    text = f"The image was computed {_ALGORITHMS.get(name, f'by {name}')}{_cite(name, cited)}"
    text += _cite(_ALSO_CITED.get(name, ""), cited)
    weights = [weight for block in blocks for weight in block.get("weight", ())]
    if penalty := first.get("penalty"):
        # Of several, the weight of the block is what theirs are relative to.
        terms = chosen.get("penalties") or [{"penalty": penalty, "sparsity": 1.0}]
        unit = statistics.median(weights) if weights else 0.0
        told = []
        for term in terms:
            one = term["penalty"]
            own = f" of weight {term['sparsity'] * unit:.3g}" if unit else ""
            told.append(f"{_PENALTIES.get(one, one)}{_cite(one, cited)}{own}")
        text += f", with {' and '.join(told)}"
    elif weights and max(weights) > 0:
        text += f", regularized by the weight {statistics.median(weights):.3g}"
    elif (weigher := chosen.get("regularization")) in _WHAT_WEIGHS:
        text += f", regularized by {_WHAT_WEIGHS[weigher]}"
    steps = [len(curve) for block in blocks for curve in block.get("residuals") or () if curve]
    if steps:
        least, most = min(steps), max(steps)
        text += f"; {least if least == most else f'{least} to {most}'} iterations"
        if isinstance(tolerance := chosen.get("tolerance"), float) and tolerance:
            text += f" to a tolerance of {tolerance:g}"
    yield text + "."
    form = str(first.get("normal", "")).partition(",")[0]
    if form in _NORMALS:
        yield f"The normal operator was applied {_NORMALS[form]}{_cite(form, cited)}."
    if misfits := [misfit for block in blocks for misfit in block.get("misfit") or ()]:
        yield f"The median relative misfit of the data is {statistics.median(misfits):.2g}."


def _chosen(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the reconstruction, and what was chosen where they say `auto`."""
    settings = measured.get("made_with", {}).get("reconstruction", {})
    return {**settings, **measured["blocks"][0].get("defaults", {})}


def _transforms(
    measured: Mapping[str, Any], versions: Mapping[str, str], cited: list[str]
) -> Iterator[str]:
    made, backend = measured.get("made_with", {}), measured["blocks"][0].get("backend")
    precision = f"{made.get('precision', 'single')} precision"
    if backend == "fft":
        yield f"Fourier transforms were FFTs, as samples lie on the grid, in {precision}."
    elif known(str(backend)):
        library = f"{backend} {versions.get(str(backend), '')}".rstrip()
        asked = made.get("nufft", {}).get("tolerance")
        to = f" to a relative tolerance of {asked:g}" if asked else ""
        yield (
            f"Non-uniform Fourier transforms were computed by {library}{_cite(str(backend), cited)}"
            f"{to}, in {precision}."
        )


def _cite(key: str, cited: list[str]) -> str:
    if not known(key):
        return ""
    cited.append(key)
    return f" [{key}]"


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
