"""The usual mistakes in positions, references and samples of radars, each with what undoes it.

Each is tried by itself. What leaves the image as sharp, such as a whole geometry that is mirrored
together with its scene, cannot be told.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.mistakes import Mistake
from pipeline.rf.geometry.antenna_paths import AntennaPaths
from pipeline.rf.geometry.scene import Scene

_ANTENNAS = ("transmitter", "receiver")


@dataclass(frozen=True)
class Pulses:
    """Some measurements of one frame: pulses, or transmitters and receivers of pairs."""

    scene: Scene
    paths: AntennaPaths
    k: NDArray[np.float64]
    """``[freq]`` [rad/m]."""
    y: NDArray[np.complex64]
    """``[pulse, freq]``, of phases that are referred to the paths' reference."""
    exchanged: AntennaPaths | None = None
    """Where antennas would be, had transmitters and receivers of pairs changed places."""


def mistakes(pulses: Pulses, dataset: str) -> Iterator[Mistake[Pulses]]:
    """Yield what can be tried on measurements."""
    where = f"sources.{dataset}.arrays"
    yield Mistake(
        "conjugated",
        "the measurements have the time dependence exp(-j w t)",
        f"set {where}.y.conjugate to true (to false, if it is)",
        lambda data: replace(data, y=data.y.conj()),
    )
    yield Mistake(
        "frequencies backwards",
        "the measurements run against their frequencies",
        "reverse y along its frequencies in the source",
        lambda data: replace(data, y=data.y[:, ::-1]),
    )
    if pulses.exchanged is None:
        yield Mistake(
            "pulses backwards",
            "the measurements run against their positions",
            "reverse y along its pulses in the source",
            lambda data: replace(data, y=data.y[::-1]),
        )
    else:
        exchanged = pulses.exchanged
        yield Mistake(
            "tx and rx exchanged",
            "transmitters and receivers have changed places",
            f"exchange the axes of {where}.y, or the positions tx and rx",
            lambda data: replace(data, paths=exchanged),
        )
    yield from _units(where, pairs=pulses.exchanged is not None)
    yield from _references(pulses, where)
    yield from _components(pulses)


def _units(where: str, *, pairs: bool) -> Iterator[Mistake[Pulses]]:
    names = "tx and rx" if pairs else "transmitter, receiver and reference_path"
    for unit, factor in (("millimetres", 1e-3), ("centimetres", 1e-2), ("kilometres", 1e3)):
        yield Mistake(
            f"positions in {unit}",
            f"positions are in {unit}",
            f"set `scale: {factor:g}` with {names}, in {where}",
            partial(_changed, (*_ANTENNAS, "reference_path"), partial(np.multiply, factor)),
        )


def _references(pulses: Pulses, where: str) -> Iterator[Mistake[Pulses]]:
    """Paths that phases are counted from: of the whole way, over the origin, or of one way."""
    given = pulses.paths.reference_path
    origin = pulses.paths.path_differences(pulses.scene.centre) + given
    one = f"{where}.reference_path"
    ways = {
        "whole way": (0 * given, f"leave {one} out"),
        "from the origin on": (origin, f"give {one}, which is the way over the scene's origin"),
        "reference of one way": (2 * given, f"set `scale: 2` with {one}, which counts both ways"),
        "reference of the other sign": (-given, f"give {one} the other sign"),
    }
    for name, (path, advice) in ways.items():
        if not np.allclose(path, given, atol=0, rtol=1e-6):
            yield Mistake(
                f"phases: {name}",
                f"phases are counted from another path ({name})",
                advice,
                partial(_changed, ("reference_path",), lambda given, path=path: path),  # type: ignore[misc]
            )


def _components(pulses: Pulses) -> Iterator[Mistake[Pulses]]:
    """Signs of components, of both antennas or one, and their order."""
    whose: dict[str, tuple[str, ...]] = {"positions": _ANTENNAS}
    if not np.array_equal(pulses.paths.transmitter, pulses.paths.receiver):
        whose |= {"transmitters": _ANTENNAS[:1], "receivers": _ANTENNAS[1:]}
    for (who, names), axis in itertools.product(whose.items(), range(3)):
        signs = np.ones(3)
        signs[axis] = -1
        yield Mistake(
            f"sign of {'xyz'[axis]} of {who}",
            f"the {who} have the other sign along {'xyz'[axis]}",
            "change it in the source",
            partial(_changed, names, partial(np.multiply, signs)),
        )
    orders = ([1, 0, 2], [2, 1, 0], [0, 2, 1])
    # Turned out of the plane of a scene of two axes, antennas resolve something else.
    for order in orders[: 3 if len(pulses.scene.shape) == 3 else 1]:
        first, second = ("xyz"[axis] for axis in range(3) if order[axis] != axis)
        yield Mistake(
            f"{first} and {second} exchanged",
            f"components {first} and {second} of the positions have changed places",
            "exchange them in the source",
            partial(_changed, _ANTENNAS, partial(np.take, indices=order, axis=1)),
        )


def _changed(
    names: Sequence[str], change: Callable[[NDArray[np.float64]], NDArray[np.float64]], data: Pulses
) -> Pulses:
    """Return measurements some arrays of whose paths are changed."""
    changed = {name: change(getattr(data.paths, name)) for name in names}
    return replace(data, paths=replace(data.paths, **changed))
