"""The usual mistakes in trajectories, samples and coil maps, each with what would undo it.

Each is tried by itself. Where two have the same effect, such as maps that are mirrored and a
trajectory that is, one stands for both and its advice names them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.mistakes import Mistake

_COILS, _READOUTS = 4, 8
"""Of so many, one that does not fit the others can be told."""


@dataclass(frozen=True)
class Samples:
    """Whole readouts of one frame, and the coil maps on a coarse grid."""

    k: NDArray[np.floating]
    """``[readout, sample, axis]`` [rad/voxel]."""
    y: NDArray[np.complex64]
    """``[coil, readout, sample]``."""
    noise: NDArray[np.floating]
    """Standard deviation of the complex noise, ``[coil]``."""
    maps: NDArray[np.complex64] | None
    """``[coil, *grid]``; without them each coil has an image of its own."""
    complete: bool
    """Whether all readouts of the frame are there, in order."""
    frames: dict[int, NDArray[np.floating]]
    """Trajectories of other frames at the same readouts."""

    def of_coils(self, coils: NDArray[np.intp]) -> "Samples":
        """Return those of some coils."""
        maps = None if self.maps is None else self.maps[coils]
        return replace(self, y=self.y[coils], noise=self.noise[coils], maps=maps)

    def of_readouts(self, readouts: NDArray[np.intp]) -> "Samples":
        """Return those of some readouts."""
        return replace(self, k=self.k[readouts], y=self.y[:, readouts])


def mistakes(
    samples: Samples,
    dataset: str,
    coils: NDArray[np.floating],
    readouts: NDArray[np.floating],
) -> Iterator[Mistake[Samples]]:
    """Yield what can be tried on ``samples``, whose ``coils`` and ``readouts`` fit so badly.

    Without coil maps images are free to be mirrored, turned and conjugated, and coils to be in any
    order: then none of these can be told.
    """
    where = f"sources.{dataset}.arrays"
    axes = ("z", "y", "x")[-samples.k.shape[-1] :]
    if samples.maps is not None:
        yield from _orientations(axes, where)
        yield from _conjugates(where)
        yield from _coil_orders(len(samples.y))
    yield from _scales(axes, where)
    yield from _along_readouts()
    if samples.complete:
        yield from _readout_orders()
    for frame, k in samples.frames.items():
        yield Mistake(
            f"trajectory of frame {frame}",
            f"frame 0 was measured along the trajectory of frame {frame}",
            "put frames of trajectory and samples into the same order",
            lambda data, k=k: replace(data, k=k),  # type: ignore[misc]
        )
    yield from _outliers(samples, coils, readouts)


def _orientations(axes: tuple[str, ...], where: str) -> Iterator[Mistake[Samples]]:
    """Mirrored and swapped axes; in two dimensions both at once, too."""
    kept = tuple(range(len(axes)))
    for order in itertools.permutations(kept):
        for signs in itertools.product((1, -1), repeat=len(axes)):
            mirrored = [axis for axis, sign in zip(axes, signs, strict=True) if sign < 0]
            turned = order != kept
            if (turned and mirrored and len(axes) > 2) or not (turned or mirrored):
                continue
            found, advice, names = [], [], []
            if turned:
                instead = [
                    f"{axes[index]} for {axis}"
                    for axis, index in zip(axes, np.argsort(order), strict=True)
                    if axes[index] != axis
                ]
                names.append("axes " + " ".join(axes[index] for index in order))
                found.append("the trajectory's components are in another order")
                advice.append(
                    f"in {where}.trajectory.axis_order, [{', '.join(axes)}] if left out, write "
                    + " and ".join(instead)
                )
            if len(mirrored) == len(axes):
                names.append("all signs")
                found.append("the trajectory has the other sign")
                advice.append(f"give {where}.trajectory.scale the other sign")
            elif mirrored:
                names.append(f"sign of {' '.join(mirrored)}")
                found.append(f"the trajectory's component {', '.join(mirrored)} has the other sign")
                advice.append("change its sign in the source")
            yield Mistake(
                ", ".join(names),
                " and ".join(found) + ", or the coil maps are turned or mirrored so",
                " and ".join(advice) + ", or turn the maps",
                lambda data, order=order, signs=signs: replace(  # type: ignore[misc]
                    data, k=data.k[..., order] * signs
                ),
            )


def _conjugates(where: str) -> Iterator[Mistake[Samples]]:
    yield Mistake(
        "conjugated samples",
        "the samples have the other Fourier sign",
        f"set {where}.kspace.conjugate to true (to false, if it is)",
        lambda data: replace(data, y=data.y.conj()),
    )
    yield Mistake(
        "conjugated maps",
        "the coil maps are conjugated",
        f"set {where}.sensitivities.conjugate to true (to false, if it is)",
        lambda data: replace(data, maps=None if data.maps is None else data.maps.conj()),
    )


def _coil_orders(coils: int) -> Iterator[Mistake[Samples]]:
    orders = {"coils reversed": slice(None, None, -1)} if coils > 1 else {}
    indices = np.arange(coils)
    rolled = {"coils shifted by 1": 1, "coils shifted by -1": -1} if coils > 2 else {}
    for name, order in (
        *((name, indices[order]) for name, order in orders.items()),
        *((name, np.roll(indices, by)) for name, by in rolled.items()),
    ):
        yield Mistake(
            name,
            f"coils of samples and maps are in different orders ({name})",
            "put them into the same order in the source",
            lambda data, order=order: replace(  # type: ignore[misc]
                data, y=data.y[order], noise=data.noise[order]
            ),
        )


def _scales(axes: tuple[str, ...], where: str) -> Iterator[Mistake[Samples]]:
    for word, factor in (("half", 2.0), ("twice", 0.5)):
        for index, axis in enumerate(axes):
            by = np.ones(len(axes))
            by[index] = factor
            yield Mistake(
                f"{word} the scale of {axis}",
                f"the trajectory has {word} the scale along {axis} that it should have",
                f"multiply its component {axis} by {factor:g} in the source, or correct the image "
                "matrix",
                lambda data, by=by: replace(data, k=data.k * by),  # type: ignore[misc]
            )
        yield Mistake(
            f"{word} the scale",
            f"the trajectory has {word} the scale that it should have",
            f"correct {where}.trajectory.units or multiply its scale by {factor:g}, or correct the "
            "image matrix",
            lambda data, by=factor: replace(data, k=data.k * by),  # type: ignore[misc]
        )


def _along_readouts() -> Iterator[Mistake[Samples]]:
    yield Mistake(
        "a sample late",
        "each sample was taken at the trajectory's next point",
        "leave out the trajectory's first point and the last sample of each readout",
        lambda data: replace(data, k=data.k[:, 1:], y=data.y[..., :-1]),
    )
    yield Mistake(
        "a sample early",
        "each sample was taken at the trajectory's point before",
        "leave out the trajectory's last point and the first sample of each readout",
        lambda data: replace(data, k=data.k[:, :-1], y=data.y[..., 1:]),
    )
    yield Mistake(
        "readouts backwards",
        "the samples of each readout run against its trajectory",
        "reverse samples or trajectory along the readout in the source",
        lambda data: replace(data, y=data.y[..., ::-1]),
    )
    yield Mistake(
        "every second readout backwards",
        "every second readout runs against its trajectory",
        "reverse every second readout in the source",
        _every_second_reversed,
    )
    yield Mistake(
        "alternating samples",
        "every second sample has the other sign",
        "take the alternating sign, which shifts by half a field of view, from the samples",
        lambda data: replace(data, y=data.y * _alternating(data.y.shape[2])),
    )
    yield Mistake(
        "alternating readouts",
        "every second readout has the other sign",
        "take the alternating sign of the excitation from the samples",
        lambda data: replace(data, y=data.y * _alternating(data.y.shape[1])[:, None]),
    )


def _readout_orders() -> Iterator[Mistake[Samples]]:
    yield Mistake(
        "order of readouts reversed",
        "the readouts of samples and trajectory are in opposite orders",
        "reverse the order of either in the source",
        lambda data: replace(data, y=data.y[:, ::-1]),
    )
    for name, word, by in (("late", "next", -1), ("early", "last", 1)):
        yield Mistake(
            f"a readout {name}",
            f"each readout was measured along the trajectory of the {word} one",
            "shift the readouts of samples or trajectory by one in the source",
            lambda data, by=by: replace(data, k=np.roll(data.k, by, axis=0)),  # type: ignore[misc]
        )


def _alternating(count: int) -> NDArray[np.float32]:
    return np.where(np.arange(count) % 2, -1, 1).astype(np.float32)


def _every_second_reversed(data: Samples) -> Samples:
    y = data.y.copy()
    y[:, 1::2] = y[:, 1::2, ::-1]
    return replace(data, y=y)


def _outliers(
    samples: Samples, coils: NDArray[np.floating], readouts: NDArray[np.floating]
) -> Iterator[Mistake[Samples]]:
    """Parts of the data that do not fit the rest."""
    measured = np.any(samples.y, axis=(0, 2))
    if zeros := np.count_nonzero(~measured):
        yield Mistake(
            "readouts of zeros",
            f"{zeros} of {measured.size} readouts are zero",
            "leave out what was not measured",
            lambda data: data.of_readouts(np.flatnonzero(measured)),
        )
    if len(coils) >= _COILS:
        coil = int(np.argmax(coils))
        yield Mistake(
            f"coil {coil}",
            f"coil {coil} does not fit the others",
            "check its scale, sign and place among the coils, or leave it out",
            lambda data: data.of_coils(np.delete(np.arange(len(data.y)), coil)),
        )
    if len(readouts) >= _READOUTS:
        readout = int(np.argmax(readouts))
        yield Mistake(
            "a readout",
            "a single readout does not fit the others",
            "look for spikes in it, or leave it out",
            lambda data: data.of_readouts(np.delete(np.arange(len(data.k)), readout)),
        )
