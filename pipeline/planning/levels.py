"""Which approximation of the wavefronts a scene of antenna pairs allows. Pure."""

from collections.abc import Mapping
from typing import Literal, get_args

from pipeline.errors import DataError, PlanError

CollapsingLevel = Literal["W", "W+D(fc)"]

COLLAPSING: tuple[CollapsingLevel, ...] = get_args(CollapsingLevel)
"""Levels whose normal operator is Toeplitz: one kernel in all, or one a pair."""

_GOOD = 10 ** (-20 / 20)
_USABLE = 10 ** (-10 / 20)


def choose_level(
    errors: Mapping[str, float], wanted: str, *, force: bool, who: str
) -> CollapsingLevel:
    """Choose the cheapest level whose measured error is below -20 dB, or check the wanted one.

    Parameters
    ----------
    errors
        Relative error of each level, as `calibrate` measured it.
    wanted
        ``auto``, or a level.
    force
        Take a level whose error is above -10 dB all the same.
    who
        Dataset and reconstruction, for the message of an error.

    Raises
    ------
    PlanError
        If the error is above -10 dB and not forced: by how much, and which level would serve.
    DataError
        If the errors have not been measured.
    """
    missing = [level for level in COLLAPSING if level not in errors]
    if missing:
        raise DataError(
            f"{who}: the calibration lacks the model error of {', '.join(missing)}; run "
            "`calibrate` again"
        )
    best = min(COLLAPSING, key=lambda level: errors[level])
    good = [level for level in COLLAPSING if errors[level] <= _GOOD]
    chosen = (good[0] if good else best) if wanted == "auto" else wanted
    level = next((known for known in COLLAPSING if known == chosen), best)
    if errors[level] > _USABLE and not force:
        raise PlanError(
            f"{who}: the model {level} is wrong by {errors[level]:.2g} of the data (relative l2); "
            f"at most {_USABLE:.2g} (-10 dB) is allowed. The best there is, {best}, is wrong by "
            f"{errors[best]:.2g}: make the scene smaller, or set `force_model: true`"
        )
    return level
