"""Kronufft from Python: operators, solvers, and whole reconstructions; see docs/python.md.

What stands here is public: it changes by the rules of semantic versioning. Everything below
`pipeline` is ours to change. Names are loaded when they are first used, so that importing the
package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronufft.calibration import coil_maps as coil_maps
    from kronufft.calibration import density as density
    from kronufft.nufft import NUFFT as NUFFT
    from kronufft.reconstruction import estimate as estimate
    from kronufft.reconstruction import reconstruct as reconstruct
    from kronufft.reconstruction import run as run
    from pipeline import __version__ as __version__
    from pipeline.commands.estimate import Estimate as Estimate
    from pipeline.errors import KronufftError as KronufftError
    from pipeline.operators.base import Diagonal as Diagonal
    from pipeline.operators.base import LinearOperator as LinearOperator
    from pipeline.operators.kronecker import Kronecker as Kronecker
    from pipeline.operators.sense import SenseNormal as SenseNormal
    from pipeline.operators.toeplitz import Toeplitz as Toeplitz
    from pipeline.operators.toeplitz import toeplitz_spectrum as toeplitz_spectrum
    from pipeline.rf.geometry.antennas import Pair as Pair
    from pipeline.rf.geometry.scene import Scene as Scene
    from pipeline.rf.model.born import Born as Born
    from pipeline.solvers.admm import admm as admm
    from pipeline.solvers.cg import conjugate_gradient as conjugate_gradient
    from pipeline.solvers.fista import fista as fista
    from pipeline.solvers.normal import NormalEquations as NormalEquations
    from pipeline.solvers.penalties.l1 import L1 as L1
    from pipeline.solvers.penalties.l21 import GroupSparsity as GroupSparsity
    from pipeline.solvers.penalties.tgv import (
        TotalGeneralizedVariation as TotalGeneralizedVariation,
    )
    from pipeline.solvers.penalties.tv import TotalVariation as TotalVariation
    from pipeline.solvers.penalties.wavelet import WaveletSparsity as WaveletSparsity
    from pipeline.solvers.primal_dual import primal_dual as primal_dual
    from pipeline.solvers.solution import Solution as Solution

_PUBLIC = {
    "kronufft.calibration": ("coil_maps", "density"),
    "kronufft.nufft": ("NUFFT",),
    "kronufft.reconstruction": ("estimate", "reconstruct", "run"),
    "pipeline": ("__version__",),
    "pipeline.commands.estimate": ("Estimate",),
    "pipeline.errors": ("KronufftError",),
    "pipeline.operators.base": ("Diagonal", "LinearOperator"),
    "pipeline.operators.kronecker": ("Kronecker",),
    "pipeline.operators.sense": ("SenseNormal",),
    "pipeline.operators.toeplitz": ("Toeplitz", "toeplitz_spectrum"),
    "pipeline.rf.geometry.antennas": ("Pair",),
    "pipeline.rf.geometry.scene": ("Scene",),
    "pipeline.rf.model.born": ("Born",),
    "pipeline.solvers.admm": ("admm",),
    "pipeline.solvers.cg": ("conjugate_gradient",),
    "pipeline.solvers.fista": ("fista",),
    "pipeline.solvers.normal": ("NormalEquations",),
    "pipeline.solvers.penalties.l1": ("L1",),
    "pipeline.solvers.penalties.l21": ("GroupSparsity",),
    "pipeline.solvers.penalties.tgv": ("TotalGeneralizedVariation",),
    "pipeline.solvers.penalties.tv": ("TotalVariation",),
    "pipeline.solvers.penalties.wavelet": ("WaveletSparsity",),
    "pipeline.solvers.primal_dual": ("primal_dual",),
    "pipeline.solvers.solution": ("Solution",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"kronufft has no `{name}`; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
