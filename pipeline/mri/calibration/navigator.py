"""The breathing signal that a measurement holds: how its centre, or a projection, changes in time.

The centre of k-space is the sum over the image as each coil sees it, so it changes when what is
near a coil moves [1]_. The changes of all coils within the band of breathing have a principal
component [2]_; so do those of all samples of readouts that are repeated, which are projections. The
signal is this sum of coils and samples, less what is faster than breathing, and less a straight
line: that one breath is deeper than the next is slower than the band, and stays.

The heart is found likewise in its own band, in what is left of samples once all that goes with the
breath, as a polynomial of its signal, is taken away: harmonics of breathing lie within that band,
and may be the stronger ones.

References
----------
.. [1] A. C. Larson, R. D. White, G. Laub, E. R. McVeigh, D. Li, O. P. Simonetti, "Self-gated
   cardiac cine MRI", Magn. Reson. Med. 51, 93-102 (2004).
.. [2] L. Feng, L. Axel, H. Chandarana, K. T. Block, D. K. Sodickson, R. Otazo, "XD-GRASP:
   golden-angle radial MRI with reconstruction of extra motion-state dimensions using compressed
   sensing", Magn. Reson. Med. 75, 775-788 (2016).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config.binning import BinningSettings
from pipeline.errors import DataError
from pipeline.mri.corrected import CorrectedData, coil_pieces
from pipeline.mri.readouts import SAMPLES_AT_A_TIME
from pipeline.pieces import pieces
from pipeline.progress import track

MOST_WINDOWS = 2048
"""Moments that the signal is found at."""
FEATURES_AT_ONCE = 256
_WINDOWS_PER_CYCLE = 8
"""Of the highest frequency of the band; and what is still enough of a long measurement."""
_FEWEST_PER_CYCLE = 2.5
_FEWEST_CYCLES = 3
"""Of the lowest frequency of the band, in the whole measurement."""
_CENTRE = 0.5
"""Farthest from the centre of k-space [cycles per field of view]."""
_POWERS = 3
"""Of the signal of the breath, from the zeroth on, that go with it."""
_SAME = 1e-5
"""Readouts that are no farther apart repeat each other [rad/voxel]."""


@dataclass(frozen=True)
class Navigator:
    """What was found."""

    signal: NDArray[np.float64]
    """At each readout, ``(frame, readout)``; it rests longest where it is low."""
    spectrum: NDArray[np.float64]
    """Frequencies [Hz], and amplitudes of the component before it was filtered, ``(2, n)``."""
    frequency: float
    """Where the signal is strongest [Hz]."""
    explained: float
    """Part of all energy within the band that the component holds."""
    readouts: int
    """How many readouts told of it."""


def find_navigators(
    data: CorrectedData, settings: BinningSettings, repetition: float, who: str
) -> list[Navigator]:
    """Return the principal component of what changes within the band; then that of the heart.

    Parameters
    ----------
    repetition
        From a readout to the next, over all frames [s].

    Raises
    ------
    DataError
        If too few readouts tell of it, or the measurement is too short.
    """
    total = data.frames * data.readouts
    duration = total * repetition
    low, (name, high) = settings.band[0], settings.highest
    if duration * low < _FEWEST_CYCLES:
        raise DataError(
            f"{who}: {total} readouts of {repetition:.4g} s last {duration:.3g} s, fewer than "
            f"{_FEWEST_CYCLES} cycles of {low:g} Hz; check calibration.binning.repetition_time, or "
            "raise the first frequency of `band`"
        )
    windows = most_windows(total, repetition, high)
    if windows < duration * high * _FEWEST_PER_CYCLE:
        raise DataError(
            f"{who}: the navigator is found at {windows} moments of {duration:.4g} s, too few for "
            f"calibration.binning.{name} up to {high:g} Hz; lower its second frequency"
        )
    window = np.arange(total) * windows // total
    means, counts = _means(data, settings, window.reshape(data.frames, -1), windows, who)
    known = np.flatnonzero(counts)
    longest = np.diff(known, prepend=-1, append=windows).max() * duration / windows
    if longest * high * _FEWEST_PER_CYCLE > 1.001:
        do = "pass the centre" if settings.navigator == "centre" else "repeat the first"
        raise DataError(
            f"{who}: up to {longest:.3g} s pass between readouts that {do}, too long for "
            f"calibration.binning.{name} up to {high:g} Hz; choose another `navigator`, lower "
            "that, or give a `table`"
        )
    frequencies = np.fft.rfftfreq(windows, duration / windows)
    moments = np.bincount(window, np.arange(total)) / np.bincount(window)
    found: list[Navigator] = []
    breath: NDArray[np.float64] | None = None
    for band in [settings.band] + ([] if settings.heart is None else [settings.heart.band]):
        signal, raw, explained = _component(means, known, band, windows / duration, breath)
        amplitudes = np.abs(np.fft.rfft((raw - raw.mean()) * np.hanning(windows)))
        within = amplitudes * ((frequencies >= band[0]) & (frequencies <= band[1]))
        found.append(
            Navigator(
                np.interp(np.arange(total), moments, signal).reshape(data.frames, -1),
                np.stack([frequencies, amplitudes]),
                float(frequencies[within.argmax()]),
                explained,
                int(counts.sum()),
            )
        )
        breath = signal
    return found


def most_windows(readouts: int, repetition: float | None, highest: float) -> int:
    """Return at how many moments the signal of so many readouts is found, at most.

    ``repetition`` is the time from one to the next [s], where it is known.
    """
    enough = MOST_WINDOWS
    if repetition is not None:
        enough = int(readouts * repetition * highest * _WINDOWS_PER_CYCLE)
    return min(enough, readouts, MOST_WINDOWS)


def _means(
    data: CorrectedData,
    settings: BinningSettings,
    window: NDArray[np.intp],
    windows: int,
    who: str,
) -> tuple[NDArray[np.complex64], NDArray[np.intp]]:
    """Return means of samples, ``(window, coil * sample)``, and the readouts they are of."""
    centre = settings.navigator == "centre"
    width = 1 if centre else data.samples
    sums = np.zeros((windows, data.coils, width), np.complex64)
    counts = np.zeros(windows, np.intp)
    slabs = pieces(data.readouts, max(1, SAMPLES_AT_A_TIME // data.samples))
    first = data.trajectory(0, slice(0, 1))
    cycles = np.asarray(data.shape) / (2 * np.pi)
    with track(f"{who}: navigator", data.frames * len(slabs)) as advance:
        for frame in range(data.frames):
            for slab in slabs:
                trajectory = data.trajectory(frame, slab)
                if centre:
                    radius = np.linalg.norm(trajectory * cycles, axis=-1)
                    told = np.flatnonzero(radius.min(axis=1) <= _CENTRE)
                    places = radius[told].argmin(axis=1)[:, None]
                else:
                    told = np.flatnonzero(np.abs(trajectory - first).max(axis=(1, 2)) <= _SAME)
                    places = np.arange(data.samples)[None]
                when = window[frame, slab][told]
                counts += np.bincount(when, minlength=windows)
                for coils in coil_pieces(data) if len(told) else ():
                    samples = data.kspace(frame, coils, slab)[:, told[:, None], places]
                    np.add.at(sums[:, coils], when, samples.swapaxes(0, 1))
                advance()
    if not counts.any():
        raise DataError(
            f"{who}: no readout passes the centre of k-space, which the navigator is taken from; "
            "set calibration.binning.navigator to projections, or give a `table`"
        )
    sums /= np.maximum(counts, 1)[:, None, None]
    return sums.reshape(windows, -1), counts


def _component(
    means: NDArray[np.complex64],
    known: NDArray[np.intp],
    band: tuple[float, float],
    rate: float,
    breath: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the signal, the component that it is of before it was filtered, and its energy.

    This is relative to all energy within the band. Real and imaginary parts of all samples are
    features; ``rate`` is of the windows [Hz]. With the signal of the ``breath`` the component is of
    what does not go with it, and its signal stays within the band from below too.
    """
    from scipy.linalg import eigh
    from scipy.signal import butter, detrend, sosfiltfilt

    windows = len(means)
    inside = butter(3, band, "bandpass", fs=rate, output="sos")
    below = butter(3, band[1], "lowpass", fs=rate, output="sos")
    everywhere = np.arange(windows)
    goes_with_breath = None
    if breath is not None:
        goes_with_breath, _ = np.linalg.qr(np.vander(breath, _POWERS))

    def features(some: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        columns = np.ascontiguousarray(means[:, some]).view(np.float32).astype(np.float64)
        if len(known) < windows:
            columns = np.stack([np.interp(everywhere, known, each[known]) for each in columns.T], 1)
        if goes_with_breath is not None:
            columns -= goes_with_breath @ (goes_with_breath.T @ columns)
        return columns, sosfiltfilt(inside, columns, axis=0)

    some = pieces(means.shape[1], FEATURES_AT_ONCE // 2)
    gram = np.zeros((windows, windows))
    for part in some:
        _, filtered = features(part)
        gram += filtered @ filtered.T
    values, vectors = eigh(gram, subset_by_index=(windows - 1, windows - 1))
    raw = np.zeros(windows)
    for part in some:
        columns, filtered = features(part)
        raw += columns @ (filtered.T @ vectors[:, 0])
    signal = sosfiltfilt(below if breath is None else inside, detrend(raw))
    scale = 1 / (np.std(signal) or 1.0)
    # Breathing rests at the end of expiration, the heart in diastole; and so does the signal near
    # its median.
    if np.mean(signal) < np.median(signal):
        scale = -scale
    return signal * scale, raw * scale, float(values[0] / (gram.trace() or 1.0))
