"""Settings of reconstructions, and what `reconstruct` sees."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.base import Matrix, Settings
from pipeline.config.sources import Kind
from pipeline.config.transforms import NufftSettings
from pipeline.errors import ConfigError

Algorithm = Literal[
    "gridding", "cg-sense", "matched-filter", "tikhonov", "fista", "admm", "omp", "unrolled"
]
Penalty = Literal["l1", "tv", "wavelet", "l21"]
Fusion = Literal["coherent", "phase-aligned", "non-coherent"]


ALGORITHMS: Mapping[Kind, tuple[Algorithm, ...]] = {
    "mri": ("gridding", "cg-sense", "fista", "admm", "omp", "unrolled"),
    "rf": ("matched-filter", "tikhonov", "fista", "admm", "omp", "unrolled"),
}
"""Algorithms for each kind of data."""

ADJOINT_ALGORITHMS = ("gridding", "matched-filter")
"""Algorithms that only apply the adjoint and solve no equations."""

_LEAST_SQUARES = ("cg-sense", "tikhonov")
_PENALISED = ("fista", "admm")
_ITERATIVE = (*_LEAST_SQUARES, *_PENALISED, "omp", "unrolled")

_USED_BY: Mapping[str, tuple[str, ...]] = {
    "weights": ("matched-filter", *_ITERATIVE),
    "normal": (*_LEAST_SQUARES, *_PENALISED, "omp", "unrolled"),
    "regularization": _LEAST_SQUARES,
    "iterations": (*_LEAST_SQUARES, *_PENALISED),
    "residual": (*_LEAST_SQUARES, "omp"),
    "preconditioner": (*_LEAST_SQUARES, "admm"),
    "penalty": _PENALISED,
    "sparsity": _PENALISED,
    "tolerance": _PENALISED,
    "debias": _PENALISED,
    "rho": ("admm",),
    "inner_iterations": ("admm",),
    "points": ("omp",),
    "weights_file": ("unrolled",),
}
"""Algorithms that use a setting; all of them where it is not listed."""

_KIND_OF: Mapping[str, Kind] = {
    "shape": "mri",
    "frames_per_image": "mri",
    "fusion": "rf",
    "model": "rf",
    "force_model": "rf",
    "curvature_error": "rf",
}
"""The kind of data that a setting is for; both where it is not listed."""

_OF_EQUATIONS = {
    *("shape", "frames_per_image", "weights", "normal", "fusion", "model", "force_model"),
    "curvature_error",
}
"""What decides the normal equations, whatever solves them."""


class ReconstructionSettings(Settings):
    """A named way to reconstruct. A setting that the algorithm does not use is refused."""

    algorithm: Algorithm
    """MRI: `gridding` (density-compensated adjoint) or `cg-sense` (regularised least squares). RF:
    `matched-filter` (back-projection) or `tikhonov` (regularised least squares). Both: `fista` and
    `admm` (least squares with a penalty), `omp` (points found one by one) or `unrolled` (a trained
    network)."""
    shape: Matrix | None = None
    """MRI: image matrix over the same field of view; none takes the dataset's. A smaller one leaves
    out the k-space beyond it."""
    frames_per_image: Literal["all"] | Annotated[int, Field(ge=1)] = 1
    """MRI: measured frames joined into one image; `all` joins every frame."""
    weights: Literal["density", "none"] = "density"
    """Weigh samples by density compensation or not. cg-sense: fewer iterations, or least noise. RF
    phase histories that have density weights: a sharper image, of the matched filter too."""
    regularization: Literal["discrepancy"] | Annotated[float, Field(ge=0)] = 0.0
    """cg-sense and tikhonov: Tikhonov weight, relative to the sum of the sample weights, which is
    the diagonal of the normal operator for unit sensitivities; `discrepancy` finds the one that
    leaves as much of the data as there is noise."""
    iterations: Annotated[int, Field(ge=1, le=10000)] = 12
    """cg-sense, tikhonov, fista and admm: iterations at most."""
    residual: Literal["noise"] | Annotated[float, Field(ge=0, lt=1)] = 0.0
    """cg-sense and tikhonov: stop once the residual of the normal equations, relative to their
    right-hand side, is below; 0 always runs all iterations. omp: stop once the misfit relative to
    the data is below, or with `noise` once it is what noise leaves."""
    normal: Literal["auto", "toeplitz", "explicit", "factors"] = "auto"
    """Form of the normal operator: `toeplitz` kernels, or forward and adjoint, which is called
    `explicit` in MRI and `factors` for RF pairs (their Kronecker factors, streamed pair by pair).
    `auto` is `toeplitz` in MRI, and for RF pairs what is predicted to be the fastest."""
    penalty: Penalty = "l1"
    """fista and admm: `l1` (few bright voxels), `tv` (total variation: flat regions), `wavelet` (L1
    of the Daubechies-4 details) or `l21` (few voxels, the same ones in every pair; needs `fusion:
    non-coherent`)."""
    sparsity: Literal["noise", "discrepancy"] | Annotated[float, Field(gt=0, lt=1)] = 0.05
    """fista and admm: weight of the penalty, relative to the brightest voxel of the adjoint (RF:
    the matched filter); `noise` takes what noise alone seldom exceeds (l1 and wavelet),
    `discrepancy` the weight that leaves as much of the data as there is noise."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    """fista: relative change of the image at which it has converged, default 1e-5. admm: Boyd's
    relative tolerance, default 1e-3; the absolute one is a tenth of it."""
    debias: bool | Annotated[float, Field(gt=0, lt=1)] = False
    """fista and admm: least squares on the voxels that the penalty (l1 or l21) has kept, which it
    has also dimmed; a number leaves out voxels up to this part of the brightest."""
    rho: Annotated[float, Field(gt=0)] | None = None
    """admm: first penalty parameter relative to the mean diagonal of the normal operator; none
    takes 1. It then adapts to the residuals."""
    inner_iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """admm: conjugate gradients at most in each iteration; none are needed for a single pair at a
    single frequency, which is solved exactly."""
    preconditioner: Literal["none", "circulant", "kronecker"] = "none"
    """cg-sense, tikhonov and admm: preconditioner of the conjugate gradients. `kronecker` is used
    where a Kronecker product holds 99 % of the normal operator's energy, else `circulant`."""
    points: Annotated[int, Field(ge=1, le=10000)] | None = None
    """omp: most points; needed."""
    weights_file: str | None = None
    """unrolled: the network that `kronufft train` wrote; needed."""
    fusion: Fusion = "coherent"
    """RF pairs: `coherent` (one image for all pairs), `phase-aligned` (the same, with a phase for
    each pair found in turns with the image) or `non-coherent` (an image a pair, root of the sum of
    squares)."""
    model: Literal["auto", "W", "W+D(fc)", "W+D", "F", "UPA", "N", "stored"] = "auto"
    """RF pairs: how wavefronts are approximated. `W`: plane waves. `W+D(fc)`, `W+D`: after a voxel
    phase for each pair, at the centre frequency or at each. `F`: Fresnel. `UPA`: direction cosines.
    `N`: narrowband. `stored`: by the factors or wave vectors that came with the data. `auto` takes
    the cheapest that is right to -20 dB, and `stored` where antenna positions are not known."""
    force_model: bool = False
    """RF pairs: go on although the model is wrong by more than -10 dB."""
    curvature_error: Annotated[float, Field(gt=0, le=1)] = 0.1
    """RF phase histories: relative model error that curved wavefronts may leave; the aperture is
    cut into sub-apertures until it is met."""

    @property
    def solves(self) -> bool:
        """Whether equations are solved, for which the normal operator is needed."""
        return self.algorithm not in ADJOINT_ALGORITHMS

    def of_equations(self, kind: Kind) -> Self:
        """Return the settings less what only concerns the solver: equal where equations are.

        Another number of iterations, or another algorithm, need not accumulate again.
        """
        kept: dict[str, Any] = {
            key: getattr(self, key) for key in _OF_EQUATIONS & self.model_fields_set
        }
        solver = {"mri": "cg-sense", "rf": "tikhonov"}[kind] if self.solves else self.algorithm
        return type(self)(algorithm=solver, **kept)

    @model_validator(mode="after")
    def _only_what_is_used(self) -> Self:
        unused = [key for key in _in_order(self.model_fields_set) if not self._uses(key)]
        if unused:
            names = ", ".join(f"`{key}`" for key in unused)
            users = sorted({user for key in unused for user in _USED_BY[key]})
            raise ValueError(
                f"{self.algorithm} does not use {names} (of {', '.join(users)}); leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.algorithm == "omp" and self.points is None:
            raise ValueError("omp needs `points`, the most it may find")
        if self.algorithm == "unrolled" and self.weights_file is None:
            raise ValueError("unrolled needs `weights_file`, which `kronufft train` writes")
        if self.residual == "noise" and self.algorithm != "omp":
            raise ValueError("`residual: noise` is for omp; give a number")
        if self.penalty == "l21" and self.fusion != "non-coherent":
            raise ValueError("`penalty: l21` joins images of pairs: needs `fusion: non-coherent`")
        if self.sparsity == "noise" and self.penalty not in ("l1", "wavelet"):
            raise ValueError(
                "`sparsity: noise` is for the penalties l1 and wavelet; give a number or "
                "`discrepancy`"
            )
        if self.debias and self.penalty not in ("l1", "l21"):
            raise ValueError("`debias` is for the penalties l1 and l21, which make voxels zero")
        if self.fusion != "coherent" and self.algorithm == "unrolled":
            raise ValueError("unrolled images are coherent: leave `fusion` out")
        if "discrepancy" in (self.regularization, self.sparsity) and self.fusion != "coherent":
            raise ValueError("`discrepancy` needs `fusion: coherent`; give a number")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the algorithm does not use, so that it is not refused when read again."""
        return {key: value for key, value in handler(self).items() if self._uses(key)}

    def _uses(self, key: str) -> bool:
        return self.algorithm in _USED_BY.get(key, (self.algorithm,))

    def check_kind(self, kind: Kind) -> None:
        """Refuse an algorithm and settings that are not for this kind of data.

        Raises
        ------
        ConfigError
            Naming them, and what there is.
        """
        if self.algorithm not in ALGORITHMS[kind]:
            raise ConfigError(
                f"{self.algorithm} is not for {kind}, for which there is "
                f"{', '.join(ALGORITHMS[kind])}"
            )
        forward_and_adjoint = {"mri": "explicit", "rf": "factors"}
        if self.normal not in ("auto", "toeplitz", forward_and_adjoint[kind]):
            raise ConfigError(
                f"`normal: {self.normal}` does not apply to {kind}, for which there is auto, "
                f"toeplitz and {forward_and_adjoint[kind]}"
            )
        foreign = [
            key for key in _in_order(self.model_fields_set) if _KIND_OF.get(key, kind) != kind
        ]
        if foreign:
            names = ", ".join(f"`{key}`" for key in foreign)
            raise ConfigError(f"{names} does not apply to {kind}; leave it out")


def _in_order(keys: set[str]) -> list[str]:
    return [key for key in ReconstructionSettings.model_fields if key in keys]


class ReconstructSettings(Settings):
    """Settings of `reconstruct`."""

    reconstruction: ReconstructionSettings
    nufft: NufftSettings
    precision: Literal["single", "double"]
    deterministic: bool
    network: str | None = None
    """SHA-256 of the trained network's file, so that another network reconstructs again."""


def network_checksum(settings: ReconstructionSettings) -> str | None:
    """Return the SHA-256 of the network that a reconstruction applies; `None` if it has none.

    Raises
    ------
    ConfigError
        If the file is not there.
    """
    if settings.weights_file is None:
        return None
    try:
        return hashlib.sha256(Path(settings.weights_file).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"`weights_file` {settings.weights_file} is not readable ({error.strerror}); "
            "`kronufft train` makes it"
        ) from None


def image_shape(dataset_shape: Sequence[int], settings: ReconstructionSettings) -> tuple[int, ...]:
    """Return the matrix of a reconstruction: its own, or the dataset's.

    Raises
    ------
    ConfigError
        If the two have different numbers of axes.
    """
    shape = tuple(settings.shape or dataset_shape)
    if len(shape) != len(dataset_shape):
        raise ConfigError(
            f"reconstruction shape {shape} has {len(shape)} axes, the dataset's "
            f"{tuple(dataset_shape)} has {len(dataset_shape)}; give one size per image axis"
        )
    return shape


def image_count(frames: int, frames_per_image: int | str) -> int:
    """Return the number of images that ``frames`` measured frames are joined into."""
    joined = frames if isinstance(frames_per_image, str) else frames_per_image
    return math.ceil(frames / joined)
