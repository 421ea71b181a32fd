"""ISMRMRD files, written by the package of its makers."""

from pathlib import Path

import ismrmrd
import numpy as np

_HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>63870000</H1resonanceFrequency_Hz>
</experimentalConditions><encoding>{spaces}<encodingLimits>{limits}</encodingLimits>
<trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"""


def header(encoded, image=None, *, fov=None, image_fov=None, trajectory="other", centres=()):
    """Return an XML header; matrices are (z, y, x), fields of view too [mm]."""
    image = image or encoded
    fov = fov or encoded
    spaces = ""
    for name, matrix, view in (
        ("encodedSpace", encoded, fov),
        ("reconSpace", image, image_fov or fov),
    ):
        sizes, lengths = (
            "".join(f"<{axis}>{value}</{axis}>" for axis, value in zip("zyx", each, strict=True))
            for each in (matrix, view)
        )  # fmt: skip
        spaces += f"<{name}><matrixSize>{sizes}</matrixSize>"
        spaces += f"<fieldOfView_mm>{lengths}</fieldOfView_mm></{name}>"
    limits = "".join(
        f"<kspace_encoding_step_{n}><minimum>0</minimum><maximum>{2 * centre - 1}</maximum>"
        f"<center>{centre}</center></kspace_encoding_step_{n}>"
        for n, centre in enumerate(centres, start=1)
    )
    return _HEADER.format(spaces=spaces, limits=limits, trajectory=trajectory)


def readout(samples, trajectory=None, *, flags=(), discard=(0, 0), centre=None, dwell=0.0,
            position=(0, 0, 0), directions=None, **counters):  # fmt: skip
    """Return one readout of samples [coil, sample]; directions are those of z, y and x."""
    coils, count = samples.shape
    made = ismrmrd.Acquisition()
    made.resize(count, coils, 0 if trajectory is None else trajectory.shape[-1])
    made.data[:] = samples
    if trajectory is not None:
        made.traj[:] = trajectory
    for flag in flags:
        made.set_flag(flag)
    made.discard_pre, made.discard_post = discard
    made.center_sample = count // 2 if centre is None else centre
    made.sample_time_us = dwell
    made.position[:] = position
    along = np.eye(3)[::-1] if directions is None else directions
    made.slice_dir[:], made.phase_dir[:], made.read_dir[:] = along
    for name, value in counters.items():
        setattr(made.idx, name, value)
    return made


def write_mrd(path: Path, xml: str, readouts) -> Path:
    """Write a file."""
    file = ismrmrd.Dataset(path, create_if_needed=True)
    file.write_xml_header(xml.encode())
    for each in readouts:
        file.append_acquisition(each)
    file.close()
    return path
