"""The arrays of an RF acquisition: what is written, read, and taken from a source's files.

There are two layouts. Of **pairs** of antenna arrays every transmitter is heard by every receiver.
A **phase history** has one antenna position a pulse, anywhere.
"""

from dataclasses import replace

import numpy as np

from pipeline.storage.layout import ArrayField, ArrayTable

_BOTH = {
    "frequencies": ArrayField(("freq",), np.float64, "increasing", "Hz", optional=False),
    "noise_std": ArrayField(("pair",), np.float32, "deviation of the complex noise of `y`"),
    "weights": ArrayField(
        ("pair", "freq"), np.complex128, "path loss, gain and carrier phase of a pair"
    ),
    "reference": ArrayField(("frame", "z", "y", "x"), np.complex64, "the true image"),
    "targets": ArrayField(
        ("target", "coordinate"),
        np.float64,
        "where scatterers are known to be",
        "m",
        own=("target",),
    ),
}

_ELEMENTS = {
    **{
        name: ArrayField(
            ("element", "coordinate"), np.float64, f"positions of the {what}", "m", own=("element",)
        )
        for name, what in (("tx", "transmitters"), ("rx", "receivers"))
    },
    **{
        f"A{axis}": ArrayField(
            ("freq", f"m{axis}", f"n{axis}"), np.complex64, "Kronecker factor, without positions"
        )
        for axis in (1, 2, 3)
    },
    **{
        f"kappa{axis}": ArrayField(
            ("freq", f"m{axis}"), np.float64, "plane waves in place of a factor", "rad/m"
        )
        for axis in (1, 2, 3)
    },
    **{
        f"rowphase{axis}": ArrayField(
            ("freq", f"m{axis}"), np.float64, "phase of the plane waves", "rad"
        )
        for axis in (1, 2, 3)
    },
    **{
        name: ArrayField(
            ("element",), np.complex128, f"known gains of the {what}", own=("element",)
        )
        for name, what in (("gain_tx", "transmitters"), ("gain_rx", "receivers"))
    },
}

_MEASURED = ArrayField(
    ("frame", "pair", "freq", "m1", "m2", "m3"),
    np.complex64,
    "what pairs of equal size measured",
    measured=True,
    lacks=1,
    apart=("frame", "pair"),
    compressed=False,
)

PAIRS = ArrayTable(
    {
        **_BOTH,
        "phase": ArrayField(("frame", "pair"), np.float64, "known phase of a pair's clock", "rad"),
        "delay": ArrayField(("pair",), np.float64, "known delay of a pair's cables", "s"),
        **{f"pair/<p>/{name}": field for name, field in _ELEMENTS.items()},
        "y": _MEASURED,
        "pair/<p>/y": replace(
            _MEASURED,
            axes=("frame", "freq", "m1", "m2", "m3"),
            meaning="what a pair measured, where they differ in size",
        ),
    }
)
"""Arrays of `raw.zarr` with the layout ``pairs``."""

_POSITION = ArrayField(
    ("frame", "pulse", "coordinate"), np.float64, "position at each pulse", "m", optional=False
)
_PATHS = {
    "transmitter": _POSITION,
    "receiver": _POSITION,
    "reference_path": ArrayField(
        ("frame", "pulse"), np.float64, "path that phases are counted from", "m", optional=False
    ),
}

PATHS = tuple(_PATHS)
"""Arrays that place the pulses of a phase history."""

_OF_PULSES: dict[str, ArrayField] = {
    "frequency_scale": ArrayField(
        ("frame", "pulse"), np.float64, "of pulses with a band of their own: times `frequencies`"
    ),
    "frequency_shift": ArrayField(
        ("frame", "pulse"), np.float64, "of the same pulses: added to that", "Hz"
    ),
    "times": ArrayField(
        ("frame", "pulse"), np.float64, "middle between sending and receiving, from the start", "s"
    ),
}

OF_PULSES = tuple(_OF_PULSES)
"""Arrays that a phase history may have."""

BANDS = ("frequency_scale", "frequency_shift")
"""Arrays of the frequencies of pulses, where each has its own."""

PULSES = ArrayTable(
    {
        **_BOTH,
        **_PATHS,
        **_OF_PULSES,
        "y": replace(
            _MEASURED,
            axes=("frame", "pulse", "freq"),
            meaning="what each pulse measured",
            optional=False,
            lacks=0,
            apart=("frame",),
        ),
        "y_target": ArrayField(
            ("frame", "pulse", "freq"),
            np.complex64,
            "what each pulse measured of the reference target, where `y` does not hold it",
            apart=("frame",),
            compressed=False,
        ),
    }
)
"""Arrays of `raw.zarr` with the layout ``phase-history``."""

MEASURED_PULSES = ("y", "y_target")
"""Arrays of a phase history that are read piece by piece."""

PAIR_SOURCE = ArrayTable(
    {
        name.removeprefix("pair/<p>/"): (
            field if "pair/" not in name else replace(field, axes=("pair", *field.axes))
        )
        for name, field in PAIRS.fields.items()
        if name != "pair/<p>/y"
    }
)
"""Arrays of pairs in files of any layout, where each array holds all pairs."""

BY_ELEMENTS = replace(_MEASURED, axes=("frame", "pair", "freq", "tx", "rx"), lacks=0)
"""``y`` in files where transmitters and receivers have an axis each."""

PULSE_SOURCE = ArrayTable(
    {
        name: field
        for name, field in PULSES.fields.items()
        if "pair" not in field.axes or name == "noise_std"
    }
)
"""Arrays of a phase history in files of any layout."""

SHARED = ("weights", "noise_std", "reference", "targets")
"""Arrays of the whole dataset that are stored as they are."""

PHASES = "pulse_phase"
"""Array of a calibration: phases that are taken away, float64 ``[frame, pulse]`` [rad]."""

CLOCKS, GAINS = ("phase", "delay"), ("gain_tx", "gain_rx")
"""Arrays of what the instruments of pairs are known to add: of a pair, and of its elements."""
