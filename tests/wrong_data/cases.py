"""Plausible but wrong datasets: what is wrong, what tells it, and what it is taken for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from wrong_data.datasets import Dataset, measure

ALL = slice(None)


@dataclass(frozen=True)
class Case:
    """One mistake in a dataset that is otherwise good."""

    wrong: Callable[[Dataset], Dataset]
    mistake: str | None
    """What it looks like, of what is tried; None where nothing explains it."""
    without_maps: str | bool | None = False
    """The same where coils have an image each; False where nothing is wrong then."""
    measured: dict[str, Any] = field(default_factory=dict)
    """Settings of `measure`."""


def k(change):
    return lambda data: data.but(k=change)


def y(change):
    return lambda data: data.but(y=change)


def maps(change):
    return lambda data: data.but(maps=change)


def scaled(factor, *, coil=ALL, readout=ALL, sample=ALL):
    """Return a change of some samples by a factor."""

    def change(values):
        values = values.copy()
        values[:, coil, readout, sample] *= factor
        return values

    return y(change)


def central_half_scaled(factors):
    """Return a change of the trajectory's inner half, which the rest of k-space leaves room for."""
    return lambda data: data.but(k=lambda k: k[:, :, 26:-26] * factors, y=lambda y: y[..., 26:-26])


def every_second_backwards(values):
    values = values.copy()
    values[:, :, 1::2] = values[:, :, 1::2, ::-1]
    return values


def zoomed(values):
    rows, columns = (np.arange(size) // 2 + size // 4 for size in values.shape[1:])
    return values[:, rows][:, :, columns]


SQUARE = {"shape": (48, 48)}
VOLUME = {
    "trajectory": "kooshball", "shape": (10, 13, 12), "readouts": 80, "samples": 26, "coils": 5
}  # fmt: skip
SPIRAL = {"trajectory": "spiral", "shape": (52, 48), "readouts": 6, "samples": 500}
SERIES = {"frames": 4}
FEW = {"readouts": 11}

CASES = {
    # Along which the samples were taken.
    "x mirrored": Case(k(lambda k: k * [1, -1]), "sign of x"),
    "y mirrored": Case(k(lambda k: k * [-1, 1]), "sign of y"),
    "other sign": Case(k(lambda k: -k), "all signs"),
    "transposed": Case(k(lambda k: k[..., ::-1]), "axes x y", measured=SQUARE),
    "turned": Case(k(lambda k: k[..., ::-1] * [1, -1]), "axes x y, sign of y"),
    "turned back": Case(k(lambda k: k[..., ::-1] * [-1, 1]), "axes x y, sign of x"),
    "half scale": Case(k(lambda k: k / 2), "half the scale", "half the scale"),
    "half scale along x": Case(
        k(lambda k: k * [1, 0.5]), "half the scale of x", "half the scale of x"
    ),
    "half scale along y": Case(
        k(lambda k: k * [0.5, 1]), "half the scale of y", "half the scale of y"
    ),
    "double scale": Case(central_half_scaled([2, 2]), "twice the scale"),
    "double scale along x": Case(central_half_scaled([1, 2]), "twice the scale of x"),
    "a sample late": Case(k(lambda k: np.roll(k, 1, 2)), "a sample late", "a sample late"),
    "a sample early": Case(k(lambda k: np.roll(k, -1, 2)), "a sample early", "a sample early"),
    "a readout late": Case(k(lambda k: np.roll(k, 1, 1)), "a readout late", "a readout late"),
    "a readout early": Case(k(lambda k: np.roll(k, -1, 1)), "a readout early", "a readout early"),
    "frames reversed": Case(y(lambda y: y[::-1]), "trajectory of frame 3", measured=SERIES),
    "frames shifted": Case(k(lambda k: np.roll(k, 1, 0)), "trajectory of frame 1", measured=SERIES),
    # Samples.
    "backwards": Case(y(lambda y: y[..., ::-1]), "readouts backwards", "readouts backwards"),
    "every second backwards": Case(
        y(every_second_backwards), "every second readout backwards",
        "every second readout backwards",
    ),
    "readouts reversed": Case(y(lambda y: y[:, :, ::-1]), "order of readouts reversed"),
    "halves swapped": Case(y(lambda y: np.roll(y, y.shape[2] // 2, 2)), None, None),
    "axes of samples swapped": Case(
        y(lambda y: np.swapaxes(y.reshape(*y.shape[:2], y.shape[3], y.shape[2]), 2, 3)), None, None
    ),
    "alternating samples": Case(
        scaled(-1, sample=slice(1, None, 2)), "alternating samples", "alternating samples"
    ),
    "alternating readouts": Case(
        scaled(-1, readout=slice(1, None, 2)), "alternating readouts", "alternating readouts"
    ),
    "conjugated": Case(y(np.conj), "conjugated samples"),
    "parts swapped": Case(y(lambda y: 1j * y.conj()), "conjugated samples"),
    "real part": Case(y(lambda y: y.real), None),
    "magnitude": Case(y(np.abs), None),
    "first half zero": Case(
        scaled(0, readout=slice(0, 10)), "readouts of zeros", "readouts of zeros"
    ),
    "every second zero": Case(
        scaled(0, readout=slice(0, None, 2)), "readouts of zeros", "readouts of zeros"
    ),
    "one readout repeated": Case(y(lambda y: np.repeat(y[:, :, :1], y.shape[2], 2)), None),
    "a spike": Case(
        y(lambda y: y + 1e6 * (np.indices(y.shape[2:]) == [[[9]], [[53]]]).all(0)),
        "a readout", "a readout",
    ),
    # Coils.
    "coils reversed": Case(y(lambda y: y[:, ::-1]), "coils reversed"),
    "coils shifted": Case(y(lambda y: np.roll(y, 1, 1)), "coils shifted by -1"),
    "two coils swapped": Case(y(lambda y: y[:, [0, 3, 2, 1, 4]]), None),
    "a coil of the other sign": Case(scaled(-1, coil=1), "coil 1"),
    "a coil x 1000": Case(scaled(1000, coil=1), "coil 1"),
    "a coil x 5": Case(scaled(5, coil=3), "coil 3"),
    "one coil in all": Case(y(lambda y: np.repeat(y[:, :1], y.shape[1], 1)), None),
    # Maps.
    "maps conjugated": Case(maps(np.conj), "conjugated maps"),
    "maps mirrored along x": Case(maps(lambda m: m[..., ::-1]), "sign of x"),
    "maps mirrored along y": Case(maps(lambda m: m[..., ::-1, :]), "sign of y"),
    "maps transposed": Case(maps(lambda m: m.swapaxes(1, 2)), "axes x y", measured=SQUARE),
    "maps shifted by half": Case(maps(lambda m: np.roll(m, (25, 26), (1, 2))), None),
    "maps without phase": Case(maps(np.abs), None),
    "maps of one coil": Case(maps(lambda m: np.repeat(m[:1], len(m), 0)), None),
    # Other measurements.
    "few spokes, x mirrored": Case(k(lambda k: k * [1, -1]), "sign of x", measured=FEW),
    "few spokes, coils reversed": Case(y(lambda y: y[:, ::-1]), "coils reversed", measured=FEW),
    "spiral, transposed": Case(k(lambda k: k[..., ::-1]), "axes x y", measured=SPIRAL),
    "spiral, backwards": Case(
        y(lambda y: y[..., ::-1]), "readouts backwards", "readouts backwards", measured=SPIRAL
    ),
    "volume, z mirrored": Case(k(lambda k: k * [-1, 1, 1]), "sign of z", measured=VOLUME),
    "volume, axes swapped": Case(k(lambda k: k[..., [0, 2, 1]]), "axes z x y", measured=VOLUME),
    "volume, axes cycled": Case(k(lambda k: k[..., [1, 2, 0]]), "axes x z y", measured=VOLUME),
    "volume, half scale along z": Case(
        k(lambda k: k * [0.5, 1, 1]), "half the scale of z", "half the scale of z", measured=VOLUME
    ),
    "volume, a sample late": Case(
        k(lambda k: np.roll(k, 1, 2)), "a sample late", "a sample late", measured=VOLUME
    ),
}  # fmt: skip


def dataset(case: Case) -> Dataset:
    """Return the wrong dataset."""
    return case.wrong(measure(**case.measured))
