"""Small Siemens raw data files, with as much of a header as is read."""

import struct
from pathlib import Path

import numpy as np

_SLICE = """sKSpace.lBaseResolution = {base}
sKSpace.lPhaseEncodingLines = {lines}
sKSpace.ucTrajectory = {kind}
sKSpace.dPhaseOversamplingForDialog = {phase_oversampling}
sSliceArray.asSlice[0].dThickness = {thickness}
sSliceArray.asSlice[0].dPhaseFOV = {phase_fov}
sSliceArray.asSlice[0].dReadoutFOV = {read_fov}
sRXSPEC.alDwellTime[0] = {dwell}
"""


def header(*, base, columns, lines, partitions=1, kind=1, phase_oversampling=0.0, thickness=4.0,
           phase_fov=200.0, read_fov=200.0, dwell=5000):  # fmt: skip
    """Return the bytes of a measurement's header; lengths in mm, dwell time in ns."""
    protocol = "### ASCCONV BEGIN ###\n" + _SLICE.format(**locals()) + " ### ASCCONV END ###"
    sizes = (("iRoFTLength", columns), ("iPEFTLength", lines), ("i3DFTLength", partitions))
    measured = "".join(f'<ParamLong."{name}"> {{ {size} }}\n' for name, size in sizes)
    buffers = b""
    for name, text in (("Meas", measured), ("MeasYaps", protocol)):
        buffers += name.encode() + b"\0" + struct.pack("<I", len(text)) + text.encode()
    # Older files are told from newer ones by headers of more than 10,000 bytes.
    buffers = buffers.ljust(10240 - 8, b"\0")
    return struct.pack("<II", len(buffers) + 8, 2) + buffers


def block(samples, *, flags=(), extended=True, cut=(0, 0), centre=None, line_centre=0,
          position=(0, 0, 0), quaternion=(1, 0, 0, 0), **counters):  # fmt: skip
    """Return the bytes of one readout of samples [coil, sample]."""
    from twixtools import mdh_def

    head = mdh_def.Scan_header() if extended else mdh_def.VB17_header()
    head.UsedChannels, head.SamplesInScan = samples.shape
    head.CenterCol = samples.shape[1] // 2 if centre is None else centre
    head.CenterLin = line_centre
    head.CutOff.Pre, head.CutOff.Post = cut
    place = head.SliceData
    place.SlicePos.Sag, place.SlicePos.Cor, place.SlicePos.Tra = position
    for index, value in enumerate(quaternion):
        place.Quaternion[index] = value
    for name, value in counters.items():
        setattr(head.Counter, name, value)
    for flag in flags:
        mdh_def.add_flag(head, flag)
    before = bytes(mdh_def.Channel_header()) if extended else bytes(head)
    content = b"".join(before + one.astype("<c8").tobytes() for one in samples)
    return (bytes(head) if extended else b"") + content


def end(*, extended=True):
    """Return the bytes of the block that ends a measurement."""
    from twixtools import mdh_def

    head = mdh_def.Scan_header() if extended else mdh_def.VB17_header()
    mdh_def.add_flag(head, "ACQEND")
    return bytes(head) + b"\0" * 160


def write_twix(path: Path, *measurements, extended=True) -> Path:
    """Write measurements, each a header and blocks; of VB there is one."""
    if not extended:
        path.write_bytes(b"".join(measurements[0]))
        return path
    from twixtools import hdr_def

    raid = np.zeros(1, hdr_def.MultiRaidFileHeader)
    raid["hdr"]["count_"] = len(measurements)
    content, begin = b"", 10240
    for number, measurement in enumerate(measurements):
        whole = b"".join(measurement)
        raid["entry"]["off_"][0, number] = begin + len(content)
        raid["entry"]["len_"][0, number] = len(whole)
        content += whole.ljust(-(-len(whole) // 512) * 512, b"\0")
    path.write_bytes(raid.tobytes().ljust(begin, b"\0") + content)
    return path
