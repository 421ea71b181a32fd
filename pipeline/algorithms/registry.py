"""The algorithms that settings can name. A job imports the file of its own and no other."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from pipeline.algorithms.base import AlgorithmSettings
from pipeline.config.base import nearest
from pipeline.config.equations import KIND_OF
from pipeline.config.sources import Kind
from pipeline.errors import ConfigError

ALGORITHMS: Mapping[str, str] = {
    "gridding": "adjoint:GriddingSettings",
    "matched-filter": "adjoint:MatchedFilterSettings",
    "cg-sense": "least_squares:CgSenseSettings",
    "tikhonov": "least_squares:TikhonovSettings",
    "fista": "fista:FistaSettings",
    "admm": "admm:AdmmSettings",
    "primal-dual": "primal_dual:PrimalDualSettings",
    "omp": "omp:OmpSettings",
    "unrolled": "unrolled:UnrolledSettings",
}
"""Where the settings of each algorithm are: a module of this package, and a class of it."""


def settings_class(name: str) -> type[AlgorithmSettings]:
    """Return the class of an algorithm's settings; its module is loaded only now."""
    module, _, settings = ALGORITHMS[name].partition(":")
    found: type[AlgorithmSettings] = getattr(import_module(f"{__package__}.{module}"), settings)
    return found


def parse_algorithm(content: Any) -> Any:
    """Return settings of the class that ``algorithm`` names; leave what is no mapping as it is.

    Raises
    ------
    ValueError
        If no such algorithm is there, or it does not use one of the settings. pydantic makes a
        fault of it.
    """
    if not isinstance(content, Mapping):
        return content
    return check_settings(content).model_validate(content)


def check_settings(content: Mapping[str, Any]) -> type[AlgorithmSettings]:
    """Return the class of settings that ``algorithm`` names, which has all that are given.

    Raises
    ------
    ValueError
        If no such algorithm is there, or it does not use one of the settings.
    """
    name = content.get("algorithm")
    known = list(ALGORITHMS)
    if name is None:
        raise ValueError(f"`algorithm` is not given; there is {', '.join(known)}")
    if name not in known:
        raise ValueError(f"unknown algorithm `{name}`{nearest(str(name), known)}")
    chosen = settings_class(name)
    foreign = [key for key in content if key not in chosen.model_fields]
    if foreign:
        raise ValueError(_not_used(name, foreign))
    return chosen


def _not_used(name: str, foreign: Sequence[str]) -> str:
    """Return what is wrong with settings that an algorithm does not have."""
    users: dict[str, list[str]] = {}
    for other in ALGORITHMS:
        for key in settings_class(other).model_fields:
            users.setdefault(key, []).append(other)
    for key in foreign:
        if key not in users:
            return f"unknown key `{key}`{nearest(str(key), list(users))}"
    unused = ", ".join(f"`{key}`" for key in foreign)
    others = ", ".join(sorted({user for key in foreign for user in users[key]}))
    return f"{name} does not use {unused} (of {others}); leave it out"


ParsedAlgorithm = Annotated[SerializeAsAny[AlgorithmSettings], BeforeValidator(parse_algorithm)]
"""A field that holds the settings of any algorithm."""


def check_kind(settings: AlgorithmSettings, kind: Kind) -> None:
    """Refuse an algorithm and settings that are not for this kind of data.

    Raises
    ------
    ConfigError
        Naming them, and what there is.
    """
    if kind not in settings.kinds:
        there = [name for name in ALGORITHMS if kind in settings_class(name).kinds]
        raise ConfigError(
            f"{settings.algorithm} is not for {kind}, for which there is {', '.join(there)}"
        )
    forward_and_adjoint = {"mri": "explicit", "rf": "factors"}[kind]
    if settings.solves and settings.normal not in ("auto", "toeplitz", forward_and_adjoint):
        raise ConfigError(
            f"`normal: {settings.normal}` does not apply to {kind}, for which there is auto, "
            f"toeplitz and {forward_and_adjoint}"
        )
    if kind == "rf" and settings.uses_spectrum:
        raise ConfigError(
            "`preconditioner: spectrum` does not apply to rf, for which there is auto, none, "
            "circulant and kronecker"
        )
    given = [key for key in type(settings).model_fields if key in settings.model_fields_set]
    foreign = [key for key in given if KIND_OF.get(key, kind) != kind]
    if foreign:
        names = ", ".join(f"`{key}`" for key in foreign)
        raise ConfigError(f"{names} does not apply to {kind}; leave it out")
