"""Regularised least squares by conjugate gradients: CG-SENSE in MRI, Tikhonov's in RF."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.algorithms.base import Outcome, Problem, reason
from pipeline.algorithms.discrepancy import DISCREPANCY_IMAGES, by_discrepancy, check_fusion
from pipeline.algorithms.preconditioned import PreconditionedSettings
from pipeline.config.equations import Known, MriSettings, RfSettings
from pipeline.operators.inner import inner_product_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.operators.circulant import Circulant
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.solution import Report, Solution


_PLAUSIBLE_MISFIT = 0.5
"""Between what good data leave beyond their noise and what wrong ones do: see docs/metrics.md."""
_ITERATIONS = 12
"""Where nothing ends them earlier, and what is usual where a tolerance does."""


class LeastSquaresSettings(PreconditionedSettings):
    """Regularised least squares."""

    regularization: Literal["auto", "wiener", "discrepancy"] | Annotated[float, Field(ge=0)] = (
        "auto"
    )
    """Tikhonov weight: a number, relative to the sum of the sample weights, which is the diagonal
    of the normal operator for unit sensitivities; `discrepancy`, the one that leaves as much of the
    data as there is noise; `wiener`, noise over signal at each spatial frequency, as `calibrate`
    found them (RF: at all alike, by `noise_std`). `auto` is `wiener` where they are known, else,
    and for a `series`, 0."""
    iterations: Literal["auto"] | Annotated[int, Field(ge=1, le=10000)] = "auto"
    """Iterations at most; `auto` is 50 (RF: 200) with `regularization: wiener`, which the tolerance
    ends earlier, else 12."""
    tolerance: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = "auto"
    """Stop once an iteration changes the image by no more than this part of it, in the norm of the
    normal operator; 0 never does. `auto` is 0.01 (RF: 0.001) with `regularization: wiener`, else
    0."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Stop once the residual of the normal equations, relative to their right-hand side, is below;
    0 never does."""
    with_wiener: ClassVar[Mapping[str, Any]]
    """What ``auto`` means with `regularization: wiener`."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        check_fusion(self.regularization, self.fusion)
        chosen = (self.regularization, self.preconditioner, getattr(self, "apodization", None))
        for value in ("wiener", "spectrum", "voxel"):
            if self.joins_images and value in chosen:
                raise ValueError(f"`{value}` is for images apart, and not for those of a `series`")
        return self

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means; see `EquationSettings.decided`."""
        settings = super().decided(known)
        weight = settings.regularization
        if weight == "auto":
            weight = "wiener" if known.noise and not self.joins_images else 0.0
        plain = {"iterations": _ITERATIONS, "tolerance": 0.0, "preconditioner": "none"}
        auto = {"regularization": weight, **plain}
        if weight == "wiener":
            auto |= self.with_wiener
        left = {key: value for key, value in auto.items() if getattr(settings, key) == "auto"}
        return settings.model_copy(update=left)

    @property
    def uses_noise(self) -> bool:
        """Whether the weight goes by the noise."""
        return self.regularization == "discrepancy"

    @property
    def most_iterations(self) -> int:
        """Iterations at most."""
        return _ITERATIONS if self.iterations == "auto" else self.iterations

    @property
    def averages_voxels(self) -> bool:
        """Whether images are means over voxels."""
        return False

    @property
    def _stops_at(self) -> float:
        return 0.0 if self.tolerance == "auto" else self.tolerance

    @property
    def plausible_misfit(self) -> float:
        """What measured objects leave that are not quite as modelled, and what the weight leaves.

        Of joined frames, which may differ in all there is, nothing can be said.
        """
        if self.frames_per_image != 1:
            return 1.0
        if isinstance(self.regularization, str):
            return _PLAUSIBLE_MISFIT
        shrinking = self.regularization / (1 + self.regularization)
        return min(1.0, math.hypot(_PLAUSIBLE_MISFIT, shrinking))

    @property
    def applications(self) -> int:
        """One an iteration, and one for the misfit; what is usual where a tolerance ends them."""
        usual = min(self.most_iterations, _ITERATIONS) if self._stops_at else self.most_iterations
        return usual + 1

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes of conjugate gradients, their preconditioner, and a search around."""
        own = conjugate_gradient_bytes(
            batch, itemsize=itemsize, preconditioned=self.preconditioner not in ("auto", "none")
        )
        held = self.with_preconditioner(own, batch, itemsize=itemsize, kernels=kernels)
        if self.regularization == "wiener":
            from pipeline.operators.toeplitz_memory import circulant_bytes

            held += circulant_bytes(batch[1:], itemsize=itemsize, images=batch[0])
        return held + self.uses_noise * DISCREPANCY_IMAGES * math.prod(batch) * itemsize

    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Solve a problem."""
        from pipeline.operators.inner import inner_product
        from pipeline.solvers.cg import conjugate_gradient

        normal, axes = problem.normal, problem.image_axes
        prior: Circulant | None = None

        def at(weight: Tensor, checkpoint: Checkpoint) -> Solution:
            return conjugate_gradient(
                normal,
                regularization=weight,
                prior=prior,
                iterations=self.most_iterations,
                residual=self.residual,
                change=self._stops_at,
                image_axes=axes,
                preconditioner=self.preconditioner_of(problem, weight, prior),
                report=report,
                checkpoint=checkpoint,
            )

        if self.regularization == "discrepancy":
            start = 0.01 * problem.diagonal
            found, weight, details = by_discrepancy(
                problem, at, start, "regularization", checkpoint
            )
        else:
            weight, prior = self._weight_of(problem)
            found, details = at(weight, checkpoint), {}
        image = found.image
        # Not from b^H x alone: rounding leaves the residual not quite orthogonal to the image.
        misfit = 2 * normal.cost(image, axes)
        cost = 0.5 * (misfit + weight * inner_product(image, image, axes))
        if prior is not None:
            cost += 0.5 * inner_product(image, prior(image), axes)
        tail = [history[-1] if history else 0.0 for history in found.histories()]
        early = (found.iterations < self.most_iterations).flatten().tolist()
        stopped = [
            reason(value <= self.residual or (self._stops_at > 0 and ended))
            for value, ended in zip(tail, early, strict=True)
        ]
        if self.averages_voxels:
            from pipeline.operators.circulant import voxel_averages

            shape = image.shape[problem.stacked - axes :]
            found = dataclasses.replace(found, image=voxel_averages(image, shape))
        return Outcome(found, found.evaluations + 1, cost, misfit, stopped, weight, details=details)

    def _weight_of(self, problem: Problem) -> tuple[Tensor, Circulant | None]:
        """Return the weight of all frequencies alike, and the operator of what differs."""
        if self.regularization == "wiener":
            return self._wiener(problem)
        assert not isinstance(self.regularization, str)
        return self.regularization * problem.diagonal, None

    @abstractmethod
    def _wiener(self, problem: Problem) -> tuple[Tensor, Circulant | None]:
        """Return noise over signal, as `_weight_of` does."""


class CgSenseSettings(MriSettings, LeastSquaresSettings):
    """Regularised least squares over all coils."""

    kinds = ("mri",)
    with_wiener: ClassVar = {"iterations": 50, "tolerance": 0.01, "preconditioner": "spectrum"}

    algorithm: Literal["cg-sense"]
    apodization: Literal["auto", "voxel", "none"] = "auto"
    """`voxel` gives the mean over each voxel, which rings less at edges; `none` the values in the
    middle of voxels, of an image that has no finer detail than was measured. `auto` is `voxel` with
    `regularization: wiener`, else `none`."""

    def decided(self, known: Known) -> Self:
        """Return the settings with what ``auto`` means; see `EquationSettings.decided`."""
        settings = super().decided(known)
        if settings.apodization != "auto":
            return settings
        chosen = "voxel" if settings.regularization == "wiener" else "none"
        return settings.model_copy(update={"apodization": chosen})

    @property
    def averages_voxels(self) -> bool:
        """Whether images are means over voxels."""
        return self.apodization == "voxel"

    @property
    def uses_spectrum(self) -> bool:
        """Whether weight or preconditioner are made of signal and noise."""
        return super().uses_spectrum or self.regularization == "wiener"

    def _wiener(self, problem: Problem) -> tuple[Tensor, Circulant | None]:
        return 0.0 * problem.diagonal, problem.known_spectrum().prior()


class TikhonovSettings(RfSettings, LeastSquaresSettings):
    """Regularised least squares over all antennas."""

    kinds = ("rf",)
    with_wiener: ClassVar = {"iterations": 200, "tolerance": 1e-3}

    algorithm: Literal["tikhonov"]

    @property
    def uses_noise(self) -> bool:
        """Whether the weight goes by the noise."""
        return self.regularization in ("discrepancy", "wiener")

    def _wiener(self, problem: Problem) -> tuple[Tensor, Circulant | None]:
        from pipeline.solvers.regularization import wiener_weight

        noise = problem.known_noise("regularization: wiener")
        return wiener_weight(noise, problem.normal.energy, problem.diagonal, problem.voxels), None


def conjugate_gradient_bytes(
    shape: Sequence[int], *, itemsize: int, preconditioned: bool = False
) -> int:
    """Predict the bytes of the solver besides ``b``, of this shape, and the workspace of ``G``.

    Solution, residual, direction and ``G`` times the direction; preconditioned, also the
    preconditioned residual. The preconditioner's own workspace comes on top.
    """
    return (4 + preconditioned) * math.prod(shape) * itemsize + inner_product_bytes()
