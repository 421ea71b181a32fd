"""Which model of the wavefronts pairs of arrays get, and how their normal operator runs. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.engine.rates import Rates
from pipeline.errors import DataError, PlanError
from pipeline.rf.geometry.sub_arrays import WHOLE, Cut, model_of
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
    part_rows: Mapping[Cut, tuple[int, ...]] = field(default_factory=dict)  # of parts

    def costs(
        self, model: str, *, normal: str = "auto", coherent: bool = True
    ) -> tuple[PairCosts, ...]:
        """Return the forms of the normal operator that a model and settings allow.

        ``normal`` is as in the settings; ``none`` solves nothing. Where all pairs see one image
        (``coherent``), their kernels may be added.
        """
        level, cut = model_of(model)
        plane_waves = level in ("W", "W+D(fc)", "UPA") or (level == "stored" and self.wave_vectors)
        forms: list[NormalForm] = []
        if normal != "factors" and plane_waves and (coherent or cut == WHOLE):
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
                cut=cut,
                part_rows=self.part_rows.get(cut, ()),
                reads_factors=level == "stored" and not self.wave_vectors,
                even=self.even,
                coherent=coherent,
            )
            for form in forms
        )


@dataclass(frozen=True)
class PairChoice:
    """The model of the wavefronts, and the forms of its normal operator."""

    model: str
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
    """Choose the model, and the form of its normal operator.

    Parameters
    ----------
    errors
        Relative error of each model that the geometry allows, as `calibrate` measured it, by name;
        see `pipeline.rf.geometry.sub_arrays.model_name`.
    model
        ``auto`` (the cheapest model whose error is allowed), or a level: the cheapest of its
        models, in as many parts as that takes.
    normal
        ``auto`` (the fastest form), ``toeplitz`` or ``factors``.
    coherent
        Whether all pairs see one image.
    force
        Take a model whose error is above -10 dB all the same, and a level in no parts.
    applications
        How often the normal operator will be applied.
    rates
        Of the machine; they decide the form, not the model.
    allowed_error
        Relative error of the model above which an image is questionable; 0.1 is -20 dB.

    Raises
    ------
    PlanError
        If the error is above -10 dB and not forced (by how much, and which model would serve), or
        the settings ask for what a model does not have.
    DataError
        If the errors have not been measured.
    """
    measured: dict[str, float | None] = {**errors}
    if acquisition.stored and (not measured or model == "stored"):
        measured.setdefault("stored", None)
    if not measured:
        raise DataError(
            f"{who}: the calibration has no model errors, and the data no factors; run "
            "`calibrate` again"
        )
    if model not in ("auto", *measured):
        levels = (name for name in measured if model_of(name)[1] == WHOLE)
        raise PlanError(
            f"{who}: this geometry does not allow the model {model}; it allows {', '.join(levels)}"
        )

    def allowed(name: str, on: Rates) -> tuple[PairCosts, ...]:
        found = acquisition.costs(name, normal=normal, coherent=coherent)
        return tuple(sorted(found, key=lambda costs: total(costs, on)))

    def total(costs: PairCosts, on: Rates) -> float:
        shape = acquisition.shape
        # A matched filter goes through the factors once, too.
        products = max(1, applications) * costs.product_seconds(shape, on)
        return costs.setup_seconds(shape, on) + products

    def seconds(name: str) -> float:
        return total(allowed(name, _REFERENCE)[0], _REFERENCE)

    serving = sorted((name for name in measured if allowed(name, _REFERENCE)), key=seconds)
    asked = [
        name
        for name in serving
        if model in ("auto", name) or (model == model_of(name)[0] and not force)
    ]
    if not asked:
        without = (
            f"none of the models {', '.join(measured)}"
            if model == "auto"
            else (f"the model {model}")
        )
        raise PlanError(
            f"{who}: {without} has no Toeplitz kernels; set `normal: factors`, or leave it out"
        )
    chosen = _cheapest(measured, asked, allowed_error)
    error = measured[chosen]
    warning = _judged(measured, chosen, serving, force=force, who=who, allowed_error=allowed_error)
    return PairChoice(chosen, allowed(chosen, rates), error, warning)


def decibels(relative: float) -> float:
    """Return a ratio of amplitudes in dB; no error at all is -300 dB."""
    return max(20 * math.log10(relative), -300.0) if relative > 0 else -300.0


def _cheapest(errors: Mapping[str, float | None], models: list[str], allowed_error: float) -> str:
    """Return the first model that is good, or the best."""
    known = {name: error for name in models if (error := errors[name]) is not None}
    good = [name for name, error in known.items() if error <= allowed_error]
    if good:
        return good[0]
    return min(known, key=lambda name: known[name]) if known else models[0]


def _judged(
    errors: Mapping[str, float | None],
    model: str,
    serving: list[str],
    *,
    force: bool,
    who: str,
    allowed_error: float,
) -> str:
    """Return what is to be said of a model's error; refuse it where it is too large."""
    error = errors[model]
    if error is None:
        return f"{who}: how far the stored factors are from the exact sum is not known"
    if error <= allowed_error:
        return ""
    good = round(decibels(allowed_error), 1)
    most = max(good, USABLE_DB)
    best = _cheapest(errors, serving, allowed_error)
    of_best = errors[best]
    if best == model or of_best is None or of_best >= error:
        advice = "No other model serves: make the scene smaller, or the band narrower"
    else:
        advice = f"The model {best} would leave {decibels(of_best):.1f} dB"
    said = (
        f"{who}: the model {model} leaves {decibels(error):.1f} dB of error ({good:g} dB is "
        f"good, {most:g} dB the most allowed). {advice}"
    )
    if decibels(error) > most and not force:
        raise PlanError(f"{said}; or set `force_model: true`")
    return said
