"""What can be set of least squares with a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.algorithms.base import SolverSettings
from pipeline.algorithms.discrepancy import check_fusion
from pipeline.config.base import ReconstructionName, Settings
from pipeline.config.equations import Known
from pipeline.config.sources import Kind
from pipeline.solvers.penalties import PENALTIES, penalty_class, penalty_module

if TYPE_CHECKING:
    PenaltyName = str
else:
    PenaltyName = Literal[PENALTIES]


SPARSITY = 0.05
"""Where neither settings nor noise say more."""

NOISE_RULES: Mapping[str, tuple[int, float]] = {
    "noise": (1, 0.0),
    "noise/3": (3, 0.02),
    "noise/6": (6, 0.014),
}
"""Which part of the noise's weight a rule takes, and the least of the brightest voxel: streaks and
ringing are there without any noise."""


class PenaltySettings(Settings):
    """One of several penalties."""

    penalty: PenaltyName
    along: Literal["space", "series", "both"] = "space"
    """With a `series`: the axes along which it acts."""
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Weight relative to the brightest voxel of the adjoint."""

    def axes(self, image_axes: int, joint: bool) -> tuple[int, ...]:
        """Return the axes that it acts along, of those of a problem."""
        spatial = image_axes - joint
        first = image_axes if self.along != "space" or not joint else spatial
        return tuple(range(-first, -spatial if self.along == "series" else 0))


class PenalisedSettings(SolverSettings):
    """Least squares with a penalty."""

    usual_iterations: ClassVar[Mapping[Kind, int]]
    """Iterations at most, where the settings leave them to the kind of data."""
    usual_tolerance: ClassVar[Mapping[Kind, float]]
    """Likewise the tolerance."""
    allowed_residual: ClassVar[float | None] = None
    """What the last of a history is at most where the solver has converged; the tolerance if
    `None`."""

    penalty: Literal["auto"] | PenaltyName = "auto"
    """`l1` (few bright voxels), `tv` (total variation: flat regions), `tgv` (total generalised
    variation: regions of even slope; not by fista), `wavelet` (L1 of the Daubechies-4 details),
    `l21` (few voxels, the same ones in every pair, with `fusion: non-coherent`, or in every image
    of a `series`) or `llr` (locally low rank: a `series` whose blocks of voxels are sums of few
    images). `auto` is `tv` in MRI, and `l1` in RF and with `debias`."""
    along: Literal["space", "series", "both"] = "space"
    """With a `series`: the axes along which `tv` and `tgv` act."""
    penalties: tuple[PenaltySettings, ...] = ()
    """admm, primal-dual: several at once, in place of `penalty`, `along` and `sparsity`."""
    sparsity: (
        Literal["auto", "noise", "noise/3", "noise/6", "discrepancy"]
        | Annotated[float, Field(gt=0, lt=1)]
    ) = "auto"
    """Weight of the penalty, relative to the brightest voxel of the adjoint (RF: the matched
    filter); `noise` takes what noise alone seldom exceeds, `noise/3` a third of it, but no less
    than 0.02, `noise/6` a sixth, but no less than 0.014 (l1, tv, tgv and wavelet), `discrepancy`
    the weight that leaves as much of the data as there is noise. Where the noise is known `auto` is
    `noise` for l1, `noise/3` for wavelet, and for tv and tgv `noise/3`, in 3D `noise/6`; else,
    along a `series` and with a temporal basis, it is 0.05."""
    iterations: Literal["auto"] | Annotated[int, Field(ge=1, le=10000)] = "auto"
    """Iterations at most; `auto` is fista's 60 (RF: 300), admm's 16 (RF: 100) and primal-dual's 100
    (RF: 500)."""
    tolerance: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = "auto"
    """fista, primal-dual: relative change of the image at which it has converged; `auto` is fista's
    0.002 and primal-dual's 5e-4 (RF: 1e-5).
    admm: Boyd's relative tolerance, of which the absolute one is a tenth; `auto` is 1e-3."""
    start: ReconstructionName | None = None
    """MRI: begin with the images of this reconstruction of the same dataset, as many on the same
    matrix; where it is one image, all begin with it. Default: zero."""
    debias: bool | Annotated[float, Field(gt=0, lt=1)] = False
    """Least squares on the voxels that the penalty (l1 or l21) has kept, which it has also dimmed;
    a number leaves out voxels up to this part of the brightest."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        single = (self.penalty, self.along, self.sparsity, self.debias)
        if self.penalties and single != ("auto", "space", "auto", False):
            raise ValueError(
                "`penalties` stands in place of `penalty`, `along` and `sparsity`, and without "
                "`debias`; leave one or the other out"
            )
        for term in self.terms:
            kind = penalty_class(term.penalty)
            if kind.joins and not (self.fusion == "non-coherent" or self.joins_images):
                raise ValueError(
                    f"`penalty: {term.penalty}` joins images: needs a `series`, of pairs of "
                    "antenna arrays needs `fusion: non-coherent`"
                )
            if term.along != "space" and not (self.joins_images and term.along in kind.directions):
                raise ValueError(
                    f"`along: {term.along}` is for the penalties tv and tgv, and needs a `series`"
                )
        if any(term.penalty == "llr" for term in self.terms) and not self.joins_images:
            raise ValueError("`penalty: llr` needs a `series`")
        possible = [penalty_class(name) for name in self._possible]
        if self.sparsity in NOISE_RULES and not possible[0].usual_weight(1):
            allowed = [name for name in PENALTIES if penalty_class(name).usual_weight(1)]
            raise ValueError(
                f"`sparsity: {self.sparsity}` is for the penalties {', '.join(allowed)}; give a "
                "number or `discrepancy`"
            )
        if self.debias and not possible[0].sparse:
            allowed = [name for name in PENALTIES if penalty_class(name).sparse]
            raise ValueError(
                f"`debias` is for the penalties {' and '.join(allowed)}, which make voxels zero"
            )
        check_fusion(self.sparsity, self.fusion)
        return self

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means; see `EquationSettings.decided`."""
        settings = super().decided(known)
        penalty = self._possible[-1 if known.kind == "mri" else 0]
        rule = penalty_class(penalty).usual_weight(known.axes)
        if self.along != "space" or self.subspace or self.penalties:
            rule = None  # noise alone says nothing of changes along a series, nor of coefficients
        auto = {
            "penalty": penalty,
            "sparsity": rule if rule and known.noise else SPARSITY,
            "iterations": self.usual_iterations[known.kind],
            "tolerance": self.usual_tolerance[known.kind],
        }
        if self.penalties:  # each has its own
            del auto["sparsity"], auto["penalty"]
        left = {key: value for key, value in auto.items() if getattr(settings, key) == "auto"}
        return settings.model_copy(update=left)

    @property
    def _possible(self) -> tuple[str, ...]:
        """The penalty; where the kind of data decides, that of RF and that of MRI."""
        if self.penalty != "auto":
            return (self.penalty,)
        if self.debias:
            return ("l1",)
        return ("tv",) if self.along != "space" else ("l1", "tv")

    @property
    def terms(self) -> tuple[PenaltySettings, ...]:
        """All penalties; where a rule finds the weight, one in place of it."""
        weight = SPARSITY if isinstance(self.sparsity, str) else self.sparsity
        one = PenaltySettings(penalty=self._possible[0], along=self.along, sparsity=weight)
        return self.penalties or (one,)

    @property
    def joins_pairs(self) -> bool:
        """Whether a penalty couples the images of antenna pairs."""
        return not self.joins_images and any(
            penalty_class(term.penalty).joins for term in self.terms
        )

    @property
    def starts_from(self) -> str | None:
        """The reconstruction of the same dataset whose images it begins with."""
        return self.start

    @property
    def orders_images(self) -> bool:
        """Whether a penalty acts along the series."""
        return any(term.along != "space" for term in self.terms)

    @property
    def uses_noise(self) -> bool:
        """Whether the weight goes by the noise."""
        return self.sparsity == "discrepancy" or self.sparsity in NOISE_RULES

    @property
    def most_iterations(self) -> int:
        """Iterations at most."""
        return self.usual_iterations["mri"] if self.iterations == "auto" else self.iterations

    @property
    def modules(self) -> tuple[str, ...]:
        """The algorithm's and the penalty's."""
        names = [term.penalty for term in self.penalties] or self._possible
        return (*super().modules, *map(penalty_module, names))

    @property
    def converged_change(self) -> float:
        """The tolerance, or its default."""
        return self.usual_tolerance["mri"] if self.tolerance == "auto" else self.tolerance
