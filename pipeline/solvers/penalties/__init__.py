"""Penalties that settings can name: a file each, whose name is the penalty's.

A file holds one subclass of `pipeline.solvers.penalty.Penalty` and calls it ``PENALTY``. It loads
torch only inside its methods, because settings are read without it.
"""

from importlib import import_module
from pathlib import Path

from pipeline.solvers.penalty import Penalty

PENALTIES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))
"""Their names."""


def penalty_module(name: str) -> str:
    """Return the module that holds a penalty."""
    return f"{__name__}.{name}"


def penalty_class(name: str) -> type[Penalty]:
    """Return a penalty by its name; its module is loaded only now."""
    found: type[Penalty] = import_module(penalty_module(name)).PENALTY
    return found
