"""What every algorithm states: its settings, what it needs, and how it is told and run."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from pipeline.config.base import told_of_fields
from pipeline.config.equations import EquationSettings
from pipeline.config.sources import Kind
from pipeline.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.solvers.admm import ExactSolver
    from pipeline.solvers.checkpoints import Checkpoint
    from pipeline.solvers.noise import Noise
    from pipeline.solvers.normal import NormalEquations
    from pipeline.solvers.solution import Report, Solution
    from pipeline.solvers.spectrum import Spectrum


class AlgorithmSettings(EquationSettings):
    """A named way to reconstruct. A setting that the algorithm does not use is refused."""

    kinds: ClassVar[tuple[Kind, ...]] = ("mri", "rf")
    """The kinds of data that it is for."""
    curve: ClassVar[tuple[str, str]] = (
        "relative residual",
        "Residual of the normal equations relative to their right-hand side",
    )
    """What it watches after each iteration: the axis of a report's curves, and their caption."""

    algorithm: str

    @model_validator(mode="before")
    @classmethod
    def _nothing_missing(cls, content: Any) -> Any:
        for key, info in cls.model_fields.items():
            if isinstance(content, dict) and info.is_required() and key not in content:
                told = told_of_fields(cls)[key]
                raise ValueError(f"{content.get('algorithm')} needs `{key}`: {told}")
        return content

    @property
    def applications(self) -> int:
        """How often it applies the normal operator to one image, at most."""
        return 0

    def vectors(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return the bytes that it holds besides the right-hand side and the normal operator.

        `batch` is ``(image, *shape)`` of all that are solved for together; each of the `kernels` of
        the normal operator has a preconditioner of its own.
        """
        return 0

    def vectors_at_work(self, batch: Sequence[int], *, itemsize: int, kernels: int) -> int:
        """Return those of them that it holds while the normal operator is applied."""
        return self.vectors(batch, itemsize=itemsize, kernels=kernels)

    @property
    def joins_pairs(self) -> bool:
        """Whether it solves for the images of all antenna pairs together, as one problem."""
        return False

    @property
    def starts_from(self) -> str | None:
        """The reconstruction of the same dataset whose images it begins with."""
        return None

    @property
    def orders_images(self) -> bool:
        """Whether it takes the images of a series for a row of neighbours."""
        return False

    @property
    def single_kernel(self) -> bool:
        """Whether it needs a normal operator of a single Toeplitz kernel."""
        return False

    @property
    def stacks(self) -> bool:
        """Whether it solves for several images on top of each other, as of sets of coil maps."""
        return True

    @property
    def uses_spectrum(self) -> bool:
        """Whether it needs signal and noise at each spatial frequency."""
        return False

    @property
    def uses_noise(self) -> bool:
        """Whether a rule among the settings goes by the noise."""
        return False

    @property
    def plausible_misfit(self) -> float:
        """The relative data misfit up to which good data without noise may be left.

        1, as of an image of zeros, where the algorithm has other aims than to explain the data.
        """
        return 1.0

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that its run imports by name, which no import statement shows."""
        return (type(self).__module__,)

    def file_checksum(self) -> str | None:
        """Return the SHA-256 of the file that it reads; `None` if it reads none.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        return None

    def check_file(self, image_axes: int | None = None) -> None:
        """Read the file that it reads, if it reads one.

        Raises
        ------
        ConfigError
            If it is missing, is not what it should be, or is for images of another number of axes.
        """


class SolverSettings(AlgorithmSettings):
    """An algorithm that solves the normal equations."""

    normal: Literal["auto", "toeplitz", "explicit", "factors"] = "auto"
    """Form of the normal operator: `toeplitz` kernels, or forward and adjoint, which is called
    `explicit` in MRI and `factors` for RF pairs (their Kronecker factors, streamed pair by pair).
    `auto` is `toeplitz` in MRI, and for RF pairs what is predicted to be the fastest."""

    @property
    @abstractmethod
    def most_iterations(self) -> int:
        """Iterations at most."""

    @abstractmethod
    def run(self, problem: Problem, report: Report, checkpoint: Checkpoint) -> Outcome:
        """Solve a problem.

        Raises
        ------
        DataError
            If a rule for the weight needs the noise level and there is none, or no weight leaves
            the misfit of the noise.
        """


@dataclass(frozen=True)
class Outcome:
    """What an algorithm found, and how."""

    solution: Solution
    """Images, and the histories of the algorithm (not of debiasing)."""
    evaluations: int
    """How often the normal operator was applied in all."""
    objective: Tensor | None
    """float64, one for each problem: the cost function at the solution, with its penalty, before
    debiasing; `None` where nothing is minimised."""
    squared_misfit: Tensor
    """float64, one for each problem: ``|W^(1/2) (A x - y)|^2`` of the image, up to rounding."""
    stopped: list[str]
    """For each problem ``tolerance``, ``iterations``, ``points`` or ``layers``."""
    weight: Tensor | None = None
    """float64, one for each problem: weight of the penalty, in the units of the normal
    equations."""
    weighs_lengths: bool = False
    """Whether the weight is that of lengths, in the units of ``b``, and not of their squares, in
    those of ``G``."""
    details: dict[str, object] = field(default_factory=dict)
    """JSON values for the receipt: what only this algorithm knows."""
    of_operator: dict[str, Tensor] = field(default_factory=dict)
    """Likewise, float64, one for each problem: those in the units of ``G``."""
    of_image: dict[str, Tensor] = field(default_factory=dict)
    """Likewise those in the units of the image."""

    def rescaled(self, gain: float, size: float) -> Outcome:
        """Return that of the problem of which `Problem.rescaled` made the one that was solved."""
        weight, cost = self.weight, self.objective
        return replace(
            self,
            solution=replace(self.solution, image=self.solution.image.mul_(size)),
            objective=None if cost is None else cost * (gain * size**2),
            squared_misfit=self.squared_misfit * (gain * size**2),
            weight=(
                None if weight is None else weight * (gain * (size if self.weighs_lengths else 1.0))
            ),
            of_operator={name: each * gain for name, each in self.of_operator.items()},
            of_image={name: each * size for name, each in self.of_image.items()},
        )


@dataclass(frozen=True)
class Problem:
    """Normal equations of a batch of images, and all that an algorithm may want to know of them."""

    normal: NormalEquations
    """``G``, ``b`` of shape ``(*problems, *image)``, and the energy, one for each problem."""
    diagonal: Tensor
    """float64, one for each problem: mean diagonal of ``G``."""
    image_axes: int
    """Number of axes of an image."""
    noise: Noise | None
    """Of the measurement; `None` where it is not known."""
    exact: Callable[[], ExactSolver | None]
    """Returns what solves ``(G + rho) x = r`` without iterations, where there is a way."""
    who: str
    """Dataset and block; begins the message of an error."""
    spectrum: Callable[[], Spectrum | None] = lambda: None
    """Returns what is known of signal and noise at each spatial frequency."""
    start: Tensor | None = None
    """Where to begin, of the shape of ``b``; `None` for zero."""
    stacked: bool = False
    """Whether the first axis of an image counts images on top of each other, as of coil maps of
    several sets: all are solved for together, but neighbours are there in space alone."""

    @property
    def voxels(self) -> int:
        """Voxels of an image."""
        return math.prod(self.normal.b.shape[-self.image_axes :])

    def with_unknowns(self, count: int, image_axes: int) -> Problem:
        """Return it for a penalty that has so many; see `NormalEquations.with_unknowns`."""
        from pipeline.solvers.normal import first_of_unknowns

        if count == 1:
            return self
        start = self.start
        return replace(
            self,
            normal=self.normal.with_unknowns(count, image_axes),
            image_axes=self.image_axes + 1,
            start=None if start is None else first_of_unknowns(start, count, image_axes),
        )

    def rescaled(self, gain: float, size: float) -> Problem:
        """Return it with weights ``W / gain`` and data ``y / size``, whose image is ``x / size``.

        It takes over the memory of ``b`` and ``start``.
        """
        from pipeline.solvers.noise import Noise
        from pipeline.solvers.normal import NormalEquations, ScaledGram
        from pipeline.solvers.spectrum import Spectrum

        normal, noise = self.normal, self.noise

        def exact() -> ExactSolver | None:
            solver = self.exact()
            return solver and (lambda right, rho: solver(right, rho * gain).mul_(gain))

        # Before its signal is looked for in the ``b`` that is overwritten.
        known = self.spectrum()
        spectrum = known and Spectrum(known.gain / gain, known.wiener / gain)
        return replace(
            self,
            normal=NormalEquations(
                normal.b.mul_(1 / gain).mul_(1 / size),
                ScaledGram(normal.gram, 1 / gain),
                normal.energy / gain / size**2,
            ),
            diagonal=self.diagonal / gain,
            noise=noise
            and Noise(noise.adjoint / (gain * size), noise.misfit / (math.sqrt(gain) * size)),
            exact=exact,
            spectrum=lambda: spectrum,
            start=self.start if self.start is None else self.start.mul_(1 / size),
        )

    def known_spectrum(self) -> Spectrum:
        """Return the spectrum, or say what cannot do without."""
        found = self.spectrum()
        if found is None:
            raise DataError(
                f"{self.who}: `regularization: wiener` and `preconditioner: spectrum` need signal "
                "and noise at each spatial frequency, and `calibrate` did not find them; leave "
                "both out"
            )
        return found

    def known_noise(self, setting: str) -> Noise:
        """Return the noise, or say which setting cannot do without."""
        if self.noise is None:
            raise DataError(
                f"{self.who}: `{setting}` needs the noise level, and the data brings none "
                "(MRI: array `noise`; RF: `noise_std`); give a number"
            )
        return self.noise


def reason(converged: bool) -> str:
    """Return why a solver stopped, as of `Outcome.stopped`."""
    return "tolerance" if converged else "iterations"
