"""The arrays of an MRI acquisition: what is written, read, and taken from a source's files."""

from functools import partial

import numpy as np

from pipeline.storage.layout import ArrayField, ArrayTable

# A chunk holds one frame of one coil.
_field = partial(ArrayField, apart=("frame", "coil"), even=False)

ARRAYS = ArrayTable(
    {
        # It is small and tells most mistakes, so it goes first.
        "trajectory": _field(
            ("frame", "readout", "sample", "axis"),
            np.float32,
            "where k-space was sampled, in [-π, π)",
            unit="rad/voxel",
            optional=False,
            compressed=False,
        ),
        "kspace": _field(
            ("frame", "coil", "readout", "sample"),
            np.complex64,
            "the samples",
            optional=False,
            measured=True,
            compressed=False,
        ),
        "weights": _field(
            ("frame", "readout", "sample"),
            np.float32,
            "density weights, none below 0",
            compressed=False,
        ),
        "times": _field(
            ("frame", "readout", "sample"),
            np.float32,
            "when each sample was taken, since voxels of different frequencies had one phase",
            unit="s",
            compressed=False,
        ),
        "noise": _field(
            ("coil", "sample"),
            np.complex64,
            "measured without signal, of any length",
            own=("sample",),
            compressed=False,
        ),
        "sensitivities": _field(
            ("coil", "z", "y", "x", "set"),
            np.complex64,
            "coil maps; in 2D z has length 1, or is that of the slices; several sets of them, as "
            "of soft SENSE, have an axis more",
            lacks=1,
            own=("z", "set"),
            apart=("coil", "set"),
        ),
        "field_map": _field(
            ("frame", "z", "y", "x"),
            np.float32,
            "off-resonance; voxels of a positive one turn as a positive k · r does",
            unit="Hz",
        ),
        "relaxation": _field(
            ("frame", "z", "y", "x"), np.float32, "R2*, how fast the signal decays", unit="1/s"
        ),
        "basis": _field(
            ("frame", "coefficient"),
            np.complex64,
            "temporal basis: each image of a series is such a sum of coefficients",
            own=("coefficient",),
            apart=(),
        ),
        "dictionary": _field(
            ("entry", "frame"),
            np.complex64,
            "signals over the images of a series, of which `series.basis: dictionary` is made",
            own=("entry",),
            apart=(),
        ),
        "parameters": _field(
            ("entry", "parameter"),
            np.float32,
            "of the dictionary's signals, such as T1 and T2, in the order of `series.parameters`",
            own=("entry", "parameter"),
            apart=(),
        ),
        "reference": _field(("frame", "z", "y", "x"), np.complex64, "true or good images"),
    }
)
"""Arrays of `raw.zarr`."""
