"""Which settings of a reconstruction go with an RF measurement, as far as its layout tells."""

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.errors import DataError, PlanError

PULSE_MODELS = ("exact", "omega-k", "W+D(fc)")
"""Models that a phase history may have."""
PLANE_WAVES = ("W", "UPA", "stored")
"""Models of pairs that may collapse into a single Toeplitz kernel."""


def require_possible(
    settings: AlgorithmSettings,
    who: str,
    *,
    pairs: int,
    coherent: bool = True,
    exact_only: bool = False,
) -> None:
    """Refuse settings that do not go with so many pairs, or with a phase history, of none.

    ``coherent`` tells whether phases of pairs can be compared, ``exact_only`` whether amplitudes
    are such as only the exact model knows.

    Raises
    ------
    DataError, PlanError
        Naming the settings, and what there is.
    """
    kernels = settings.normal == "toeplitz" or settings.single_kernel
    if exact_only and (kernels or settings.model not in ("auto", "exact")):
        raise PlanError(
            f"{who}: `antenna` gives path loss or a pattern, which only the model exact knows; "
            "leave `model`, `normal: toeplitz` and circulant preconditioners out, or `antenna`"
        )
    if pairs:
        _require_possible_of_pairs(settings, who, pairs, coherent)
    else:
        _require_possible_of_pulses(settings, who)


def _require_possible_of_pairs(
    settings: AlgorithmSettings, who: str, pairs: int, coherent: bool
) -> None:
    if settings.fusion == "coherent" and pairs > 1 and not coherent:
        raise DataError(
            f"{who}: the phases of its {pairs} pairs are not calibrated, so they add up to no "
            "coherent image; give their phases and delays (`pair_correction`) or a "
            "`reference_target`, or set `fusion` to phase-aligned or non-coherent"
        )
    if settings.single_kernel and (
        settings.normal == "factors" or settings.model not in ("auto", *PLANE_WAVES)
    ):
        raise PlanError(
            f"{who}: `preconditioner: circulant` and `kronecker` need a normal operator of a "
            f"single Toeplitz kernel, which pairs have with the models {', '.join(PLANE_WAVES)} "
            "and without `normal: factors`; leave it out"
        )


def _require_possible_of_pulses(settings: AlgorithmSettings, who: str) -> None:
    if settings.fusion != "coherent":
        raise PlanError(
            f"{who}: `fusion: {settings.fusion}` is of pairs of antenna arrays, and these data are "
            "a phase history; leave `fusion` out"
        )
    if settings.normal == "factors":
        raise PlanError(
            f"{who}: a phase history has no Kronecker factors; leave `normal: factors` out"
        )
    if settings.model not in ("auto", *PULSE_MODELS):
        raise PlanError(
            f"{who}: the model {settings.model} is of pairs of antenna arrays, and these data are "
            f"a phase history; set `model` to one of {', '.join(PULSE_MODELS)}, or leave it out"
        )
    if settings.single_kernel:
        raise PlanError(
            f"{who}: `preconditioner: circulant` and `kronecker` need a normal operator of a "
            "single Toeplitz kernel, and a phase history has none; leave it out"
        )
    if settings.normal == "toeplitz" and settings.model in ("exact", "omega-k"):
        raise PlanError(
            f"{who}: `model: {settings.model}` goes forward and back and has no kernels; leave "
            "`normal: toeplitz` out"
        )
