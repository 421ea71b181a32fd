"""Which model of the wavefronts pairs of arrays get, and how their normal operator runs. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine.rates import Rates
from pipeline.errors import DataError, PlanError
from pipeline.rf.geometry.pair_model import PairLevel
from pipeline.rf.model.back_projection_costs import BackProjectionCosts
from pipeline.rf.model.exact_pair_costs import ExactPairCosts
from pipeline.rf.model.pair_costs import NormalForm, PairCosts, voxel_phase_of

USABLE_DB = -10.0
"""Error of a model above which an image is not made unless it is forced [dB]."""

_REFERENCE = Rates.host(1)
"""The model decides what the image is, so it must not depend on the machine that plans."""


@dataclass(frozen=True)
class PairAcquisition:
    """What decides how the normal operator of pairs may run."""

    shape: tuple[int, ...]
    rows: tuple[int, ...]  # of the factor of each axis, of the largest pair
    pairs: int
    frequencies: int
    frames: int = 1
    stored: bool = False  # whether factors or wave vectors of every pair came with the data
    wave_vectors: bool = False  # whether it is the wave vectors
    even: bool = True  # whether frequencies are evenly spaced
    projection: BackProjectionCosts | None = None  # of one pair, where paths are known

    def costs(
        self, level: PairLevel, *, normal: str = "auto", coherent: bool = True
    ) -> tuple[PairCosts, ...]:
        """Return the forms of the normal operator that a level and settings allow.

        ``normal`` is as in the settings; ``none`` solves nothing. Where all pairs see one image
        (``coherent``), their kernels may be added.
        """
        plane_waves = level in ("W", "W+D(fc)", "UPA") or (level == "stored" and self.wave_vectors)
        forms: list[NormalForm] = []
        if normal != "factors" and plane_waves:
            # One kernel serves all pairs wherever it may; where each has an image, each needs one.
            together = coherent and voxel_phase_of(level) == "none"
            forms.append("collapsed" if together else "pairs")
        if normal != "toeplitz":
            forms.append("factors")
        if level == "exact":
            return tuple(
                ExactPairCosts(
                    channels=self.pairs,
                    readouts=self.frequencies,
                    rows=self.rows,
                    level=level,
                    form=form,
                    coherent=coherent,
                    projection=self.projection,
                )
                for form in forms
            )
        return tuple(
            PairCosts(
                channels=self.pairs,
                readouts=self.frequencies,
                rows=self.rows,
                level=level,
                form=form,
                reads_factors=level == "stored" and not self.wave_vectors,
                even=self.even,
                coherent=coherent,
            )
            for form in forms
        )


@dataclass(frozen=True)
class PairChoice:
    """The model of the wavefronts, and the forms of its normal operator."""

    level: PairLevel
    costs: tuple[PairCosts, ...]  # of the forms that are allowed, the fastest first
    error: float | None  # relative; None where nobody has measured it
    warning: str  # empty where there is nothing to say


def choose_pair_model(
    errors: Mapping[str, float],
    acquisition: PairAcquisition,
    *,
    model: str,
    normal: str,
    coherent: bool,
    force: bool,
    applications: int,
    rates: Rates,
    who: str,
    allowed_error: float = 0.1,
) -> PairChoice:
    """Choose the level of the model, and the form of its normal operator.

    Parameters
    ----------
    errors
        Relative error of each level that the geometry allows, as `calibrate` measured it.
    model
        ``auto`` (the cheapest level whose error is allowed), or a level.
    normal
        ``auto`` (the fastest form), ``toeplitz`` or ``factors``.
    coherent
        Whether all pairs see one image.
    force
        Take a level whose error is above -10 dB all the same.
    applications
        How often the normal operator will be applied.
    rates
        Of the machine; they decide the form, not the level.
    allowed_error
        Relative error of the model above which an image is questionable; 0.1 is -20 dB.

    Raises
    ------
    PlanError
        If the error is above -10 dB and not forced (by how much, and which level would serve), or
        the settings ask for what a level does not have.
    DataError
        If the errors have not been measured.
    """
    measured: dict[PairLevel, float | None] = {**errors}  # type: ignore[dict-item]
    if acquisition.stored and (not measured or model == "stored"):
        measured.setdefault("stored", None)
    if not measured:
        raise DataError(
            f"{who}: the calibration has no model errors, and the data no factors; run "
            "`calibrate` again"
        )
    if model not in ("auto", *measured):
        raise PlanError(
            f"{who}: this geometry does not allow the model {model}; it allows "
            f"{', '.join(measured)}"
        )

    def allowed(level: PairLevel, on: Rates) -> tuple[PairCosts, ...]:
        found = acquisition.costs(level, normal=normal, coherent=coherent)
        return tuple(sorted(found, key=lambda costs: total(costs, on)))

    def total(costs: PairCosts, on: Rates) -> float:
        shape = acquisition.shape
        return costs.setup_seconds(shape, on) + applications * costs.product_seconds(shape, on)

    def seconds(level: PairLevel) -> float:
        return total(allowed(level, _REFERENCE)[0], _REFERENCE)

    serving = sorted((level for level in measured if allowed(level, _REFERENCE)), key=seconds)
    if model != "auto" and model in measured and model not in serving:
        raise PlanError(
            f"{who}: the model {model} has no Toeplitz kernels; set `normal: factors`, or leave "
            "it out"
        )
    if not serving:
        raise PlanError(
            f"{who}: none of the models {', '.join(measured)} has Toeplitz kernels; set `normal: "
            "factors`, or leave it out"
        )
    level = next((one for one in serving if one == model), None) or _cheapest(
        measured, serving, allowed_error
    )
    error = measured[level]
    warning = _judged(measured, level, serving, force=force, who=who, allowed_error=allowed_error)
    return PairChoice(level, allowed(level, rates), error, warning)


def decibels(relative: float) -> float:
    """Return a ratio of amplitudes in dB; no error at all is -300 dB."""
    return max(20 * math.log10(relative), -300.0) if relative > 0 else -300.0


def _cheapest(
    errors: Mapping[PairLevel, float | None], serving: list[PairLevel], allowed_error: float
) -> PairLevel:
    """Return the first level that is good, or the best."""
    known = {level: error for level in serving if (error := errors[level]) is not None}
    good = [level for level, error in known.items() if error <= allowed_error]
    if good:
        return good[0]
    return min(known, key=lambda level: known[level]) if known else serving[0]


def _judged(
    errors: Mapping[PairLevel, float | None],
    level: PairLevel,
    serving: list[PairLevel],
    *,
    force: bool,
    who: str,
    allowed_error: float,
) -> str:
    """Return what is to be said of a level's error; refuse it where it is too large."""
    error = errors[level]
    if error is None:
        return f"{who}: how far the stored factors are from the exact sum is not known"
    if error <= allowed_error:
        return ""
    good = round(decibels(allowed_error), 1)
    most = max(good, USABLE_DB)
    best = _cheapest(errors, serving, allowed_error)
    of_best = errors[best]
    if best == level or of_best is None or of_best >= error:
        advice = "No other level serves: make the scene smaller, or split the arrays or the band"
    else:
        advice = f"Level {best} would leave {decibels(of_best):.1f} dB"
    said = (
        f"{who}: the model {level} leaves {decibels(error):.1f} dB of error ({good:g} dB is "
        f"good, {most:g} dB the most allowed). {advice}"
    )
    if decibels(error) > most and not force:
        raise PlanError(f"{said}; or set `force_model: true`")
    return said
