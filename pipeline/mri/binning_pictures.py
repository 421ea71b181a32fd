"""What binning has found, as pictures: the navigator in time and frequency, and the bins."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.mri.raw import RawData
from pipeline.report.charts import INK, SERIES, empty_figure, svg_source
from pipeline.report.pictures import Panel
from pipeline.storage.calibration import Calibration

_CYCLES = 42.0
"""Of the highest frequency that are shown: of breathing a minute."""
_POINTS = 600


def binning_panels(calibration: Calibration, raw: RawData) -> Iterator[tuple[Panel, str]]:
    """Yield panels with their captions; none where readouts are not sorted."""
    if not calibration.bins:
        return
    settings = calibration.settings["calibration"]["binning"]
    repetition = settings["repetition_time"] or (raw.frame_duration or 1.0) / raw.readouts
    yield from _navigator_panels(calibration, "navigator", "breathing", settings, repetition)
    if settings["heart"] is not None:
        heart = settings["heart"]
        yield from _navigator_panels(calibration, "navigator/heart", "the heart", heart, repetition)
    # One bin at a time: all together may be as large as the data.
    each = (calibration.bin(number) for number in range(calibration.bins))
    counts = np.array([weights.sum(dtype=np.float64) for weights in each])
    figure, axes = empty_figure(4.2, 2.9)
    axes.bar(np.arange(len(counts)), counts, color=SERIES[0])
    axes.set_xlabel("bin")
    axes.set_ylabel("readouts")
    axes.tick_params(colors=INK)
    axes.xaxis.get_major_locator().set_params(integer=True)
    yield (
        Panel(svg_source(figure), "readouts of bins"),
        f"{len(counts)} bins of {counts.min():.0f} to {counts.max():.0f} readouts, of "
        f"{raw.frames * raw.readouts} in all.",
    )


def _navigator_panels(
    calibration: Calibration, name: str, of: str, axis: Mapping[str, Any], repetition: float
) -> Iterator[tuple[Panel, str]]:
    """Yield the signal and the spectrum of what an axis of bins goes by, where it was found."""
    signal, spectrum = (calibration.array(f"{name}/{part}") for part in ("signal", "spectrum"))
    if signal is None or spectrum is None:
        return
    low, high = axis["band"]
    flat = signal.ravel()
    # As many cycles as are told apart.
    shown = flat[: max(2, int(_CYCLES / high / repetition))]
    rows = np.unique(np.linspace(0, len(shown) - 1, _POINTS).astype(int))
    figure, axes = empty_figure(4.2, 2.9)
    axes.plot(rows * repetition, shown[rows], color=SERIES[0], linewidth=1.0)
    # Each has as many readouts.
    first = np.ceil(np.arange(1, axis["bins"]) * flat.size / axis["bins"] - 0.5)
    for edge in np.sort(flat)[first.astype(int)]:
        axes.axhline(edge, color=SERIES[1], linewidth=0.5, alpha=0.7)
    axes.set_xlabel("time [s]")
    axes.set_ylabel("navigator")
    yield (
        Panel(svg_source(figure), f"navigator of {of}, and where bins begin"),
        f"Navigator of {of} in the first {rows[-1] * repetition:.3g} s; lines: where bins begin.",
    )
    figure, axes = empty_figure(4.2, 2.9)
    frequencies, amplitudes = spectrum
    wide = frequencies <= 3 * high
    axes.plot(frequencies[wide], amplitudes[wide], color=SERIES[0], linewidth=1.0)
    axes.axvspan(low, high, color=SERIES[1], alpha=0.15, linewidth=0)
    axes.set_xlabel("frequency [Hz]")
    axes.set_ylabel("amplitude")
    inside = (frequencies >= low) & (frequencies <= high)
    peak = frequencies[inside][amplitudes[inside].argmax()]
    yield (
        Panel(svg_source(figure), f"spectrum of the navigator, and the band of {of}"),
        f"Its spectrum, strongest at {peak:.3g} Hz within the band of {low:g} to {high:g} Hz.",
    )
